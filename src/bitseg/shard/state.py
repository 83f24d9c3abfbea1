"""The state that records change, and how each kind of record changes it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import Any

from pyroaring import BitMap

from bitseg.calendar import Calendar
from bitseg.catalog import Catalog
from bitseg.entries import LISTS
from bitseg.index import sections
from bitseg.index.bitmaps import from_array, union
from bitseg.index.capture import CapturedIndex
from bitseg.index.deduplication import Producers, SeenMessages, split
from bitseg.index.index import Index, Touched
from bitseg.records import Batch, EntriesChanged, EntryChange, EventsExpired, Record, TypeDeclared
from bitseg.storage import shapes
from bitseg.storage.shapes import PartShape
from bitseg.storage.snapshot import Key, Part

ENTRIES_SHAPE = shapes.by_name(shapes.each(shapes.of_type(str, int, dict, list, type(None))))
CATALOG_SHAPE = PartShape(((str,),), ENTRIES_SHAPE)
PRODUCERS_SHAPE = PartShape((), shapes.by_name(shapes.integer))
MESSAGES_SHAPE = PartShape(((int,), (int,)), shapes.of_type(bytes))


@dataclass(frozen=True)
class Commit:
    """The changes of one record. Observers get commits in the order of versions.

    `attributes` and `events` are the names of attributes and events with added or removed values. `entries` has the
    kinds and names of changed catalog entries.
    """

    version: int
    touched: Touched
    entries: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def users(self) -> BitMap:
        """The dense ids of users who may have changed, deleted users included."""
        return union([from_array(users) for users in self.touched.users])

    @property
    def attributes(self) -> frozenset[str]:
        """The names of attributes that may have changed."""
        return frozenset(self.touched.attributes)

    @property
    def events(self) -> frozenset[str]:
        """The names of events with added or removed occurrences."""
        return frozenset(self.touched.events)


class WorkspaceState:
    """The state of a workspace at a version: the number of the last record that was applied."""

    def __init__(self, calendar: Calendar) -> None:
        self.index = Index(calendar)
        self.catalog = Catalog()
        self.messages = SeenMessages()
        self.producers = Producers()
        self.sections = _sections(self)

    @property
    def version(self) -> int:
        """The number of the last record."""
        return self.index.version

    def apply(self, record: Record) -> Commit:
        """Apply a record; TypeError for an unknown type of record.

        After any other error the state is inconsistent and must not be used.
        """
        change = _APPLIERS.get(type(record))
        if change is None:
            raise TypeError(f"no applier for {type(record).__name__}")
        self.index.version += 1
        return change(self, record)

    # Snapshots

    def capture(self, lock: AbstractContextManager[None]) -> "CapturedState":
        """Capture the state. The caller holds `lock`; until `release`, changes cost a little more."""
        parts = [part for section in self.sections.values() if section.capture for part in section.capture()]
        return CapturedState(self.version, parts, self.index.capture(lock))

    def release(self, captured: "CapturedState", *, is_stored: bool) -> None:
        """End a capture; `is_stored` says whether a snapshot of it was published."""
        self.index.release(captured.index, is_stored=is_stored)

    def restore(self, key: Key, state: Any, revision: int) -> None:
        """Restore one part of a snapshot; ValueError for an unknown part or unexpected contents."""
        name = key[0] if key else None
        section = self.sections.get(name) if isinstance(name, str) else None
        if section is None:
            raise ValueError(f"unknown part {list(key)}")
        if section.shape is not None:
            section.shape.check(key, state)
        section.restore(key, state, revision)

    def restored(self) -> None:
        """Build what snapshots do not store, after the last part; ValueError if parts are missing."""
        self.index.restored()
        for name, user_list in self.index.lists.items():
            if name not in self.catalog.lists:
                raise ValueError(f"the list {name!r} has ids, but no entry")
            self.catalog.resize_list(name, len(user_list.user_ids), user_list.revision)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a snapshot: the shape of its parts, and the functions that restore and make them.

    The index checks and makes the parts of its own sections.
    """

    restore: Callable[[Key, Any, int], None]
    shape: PartShape | None = None
    capture: Callable[[], Iterable[Part]] | None = None


@dataclass(frozen=True, slots=True)
class CapturedState:
    """A state at a version, which later changes do not affect."""

    version: int
    plain: list[Part]
    index: CapturedIndex

    def parts(self) -> Iterator[Part]:
        """The parts of a snapshot, made lazily to bound the memory."""
        return chain(self.plain, self.index.parts())


def _sections(state: WorkspaceState) -> Mapping[str, Section]:
    """Every section by the first item in the keys of its parts."""
    index, catalog, messages, producers = state.index, state.catalog, state.messages, state.producers

    def catalog_parts() -> Iterator[Part]:
        for name, collection in catalog.collections.items():
            plain = collection.state()
            yield Part(("catalog", name), collection.revision, lambda plain=plain: plain)  # type: ignore[misc]

    def restore_catalog(key: Key, plain: Any, revision: int) -> None:
        _, kind = key
        collection = catalog.collections.get(str(kind))
        if collection is None:
            raise ValueError(f"unknown kind of entry {kind!r}")
        collection.restore(plain)
        collection.revision = revision
        catalog.revision += 1

    def producer_parts() -> Iterator[Part]:
        last = producers.state()
        yield Part(("producers",), sum(last.values()), lambda: last)

    return {
        "catalog": Section(restore_catalog, CATALOG_SHAPE, catalog_parts),
        "producers": Section(lambda key, last, revision: producers.restore(last), PRODUCERS_SHAPE, producer_parts),
        "messages": Section(
            lambda key, digests, revision: messages.restore(int(str(key[1])), digests), MESSAGES_SHAPE, messages.capture
        ),
        **{name: Section(partial(sections.restore, index)) for name in sections.INDEX_SECTIONS},
    }


def _apply_batch(state: WorkspaceState, batch: Batch) -> Commit:
    touched = Touched()
    state.index.apply(batch, touched)
    for name in touched.lists:
        user_list = state.index.lists[name]
        state.catalog.resize_list(name, len(user_list.user_ids), user_list.revision)
    if batch.message_ids:
        state.messages.add(split(batch.message_ids))
    if batch.producer is not None:
        state.producers.advance(batch.producer, batch.sequence)
    return Commit(state.version, touched, frozenset((LISTS.name, name) for name in touched.lists))


def _apply_entries(state: WorkspaceState, record: EntriesChanged) -> Commit:
    index, catalog = state.index, state.catalog
    lists = [change for change in record.entries if change.kind == LISTS.name]
    user_ids = {change.name: _ids_of(index, change) for change in lists}
    catalog.change(record.entries)
    for change in lists:
        # A list that names itself as the source keeps its ids.
        if change.payload is None or change.payload[0] != change.name:
            index.change_list(change.name, user_ids[change.name])
        if change.payload is not None:
            user_list = index.lists[change.name]
            catalog.resize_list(change.name, len(user_list.user_ids), user_list.revision)
    return Commit(state.version, Touched(), frozenset((change.kind, change.name) for change in record.entries))


def _ids_of(index: Index, change: EntryChange) -> Iterable[str] | None:
    """The user ids of a list: from its payload, or from the list that the payload names; None if it is deleted."""
    if change.payload is None:
        return None
    contents = change.payload[0]
    return index.lists[contents].user_ids if isinstance(contents, str) else contents


def _apply_type(state: WorkspaceState, record: TypeDeclared) -> Commit:
    state.index.declare(record.name, record.type, record.event)
    return Commit(state.version, Touched())


def _apply_expiry(state: WorkspaceState, record: EventsExpired) -> Commit:
    touched = Touched()
    state.index.drop_events_before(record.oldest_day, touched)
    return Commit(state.version, touched)


_APPLIERS: Mapping[type[Record], Callable[[WorkspaceState, Any], Commit]] = {
    Batch: _apply_batch,
    EntriesChanged: _apply_entries,
    TypeDeclared: _apply_type,
    EventsExpired: _apply_expiry,
}
