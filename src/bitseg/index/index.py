"""The whole of a workspace in memory: what operations change and queries read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import Calendar
from bitseg.columns import Change, Columns, Deletion, Rejection
from bitseg.errors import InvalidArgumentError, TypeMismatchError
from bitseg.index.attributes import MAX_ATTRIBUTES, Attribute, CapturedAttribute
from bitseg.index.coerce import coerce
from bitseg.index.deduplication import Producers, SeenMessages
from bitseg.index.dictionary import CapturedDictionary, Dictionary
from bitseg.index.events import MAX_EVENT_NAMES, MAX_PROPERTIES, CapturedEvent, Event, Property
from bitseg.index.lists import UserList
from bitseg.index.users import CapturedIds, UserDirectory
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.storage.snapshot import Key, Part
from bitseg.values import Column, SparseValues, ValueType, empty, present

# Users in one block of an export.
_BLOCK_USERS = 2**16


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute (`event` None) or an event's property, its type, and whether that was declared."""

    event: str | None
    name: str
    type: ValueType
    declared: bool


class Index:
    """Users, attributes and events of one workspace. `version` grows with every change applied."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.users = UserDirectory()
        self.attributes: dict[str, Attribute] = {}
        self.events: dict[str, Event] = {}
        self.lists: dict[str, UserList] = {}
        self.messages = SeenMessages()
        self.producers = Producers()
        # Whether users were deleted whom the last snapshot has.
        self.has_deleted = False
        self.version = 0
        # Grows with every attribute, property, list and first event of a name: all that names are checked against.
        self.schema_revision = 0

    def apply(self, changes: Sequence[Change]) -> list[Rejection]:
        """Make changes in order; what of them was left out. Rows left out whole have no name in their rejection."""
        rejections: list[Rejection] = []
        for change in changes:
            if isinstance(change, Deletion):
                self._delete(change.user_ids)
            elif change.event is None:
                self._identify(change, rejections)
            else:
                self._track(change, change.event, rejections)
        if changes:
            self.version += 1
        return rejections

    def _delete(self, user_ids: Sequence[str]) -> None:
        self.has_deleted = True
        users = self.users.delete(user_ids)
        if len(users):
            for attribute in self.attributes.values():
                attribute.clear(users)
            for event in self.events.values():
                event.remove(users)
        for name, each in self.lists.items():
            self.lists[name] = each.without(user_ids, self.version + 1)

    def _identify(self, block: Columns, rejections: list[Rejection]) -> None:
        users = self.users.assign(block.user_ids)
        for name, values in block.values.items():
            attribute = self.attributes.get(name)
            if attribute is None:
                reason = malformed_text(name, "attribute name", MAX_NAME_BYTES)
                if reason is None and len(self.attributes) >= MAX_ATTRIBUTES:
                    reason = f"there are {MAX_ATTRIBUTES:,} attributes already, the limit"
                if reason is not None:
                    rejections += _all_refused(block, name, values, reason)
                    continue
            coerced = coerce(values, attribute.type if attribute else None, self.calendar)
            rejections += [Rejection(int(block.rows[row]), reason, name) for row, reason in coerced.refused]
            if coerced.column is None:
                continue
            if attribute is None:
                attribute = self.attributes[name] = Attribute(name, coerced.column.type)
                self.schema_revision += 1
            positions = coerced.positions
            if len(positions):
                attribute.write(users[positions], block.timestamps_ms[positions], coerced.column)

    def _track(self, block: Columns, name: str, rejections: list[Rejection]) -> None:
        event = self.events.get(name)
        if event is None:
            if len(self.events) >= MAX_EVENT_NAMES:
                reason = f"there are {MAX_EVENT_NAMES:,} event names already, the limit"
                rejections += [Rejection(int(row), reason) for row in block.rows]
                return
            event = self.events[name] = Event(name)
        users = self.users.assign(block.user_ids)
        columns: dict[str, NDArray[Any]] = {}
        for property_name, values in block.values.items():
            data = self._property_column(event, property_name, values, block, rejections)
            if data is not None:
                columns[property_name] = data
        self.schema_revision += not event.has_occurred
        event.append(users, block.timestamps_ms, columns, self.calendar)

    def _property_column(
        self, event: Event, name: str, values: Column | SparseValues, block: Columns, rejections: list[Rejection]
    ) -> NDArray[Any] | None:
        """The values of a property for all rows of a block, in the terms of the event's own dictionary."""
        found = event.properties.get(name)
        if found is None:
            reason = malformed_text(name, "property name", MAX_NAME_BYTES)
            if reason is None and len(event.properties) >= MAX_PROPERTIES:
                reason = f"the event {event.name!r} has {MAX_PROPERTIES:,} properties already, the limit"
            if reason is not None:
                rejections += _all_refused(block, name, values, reason)
                return None
        coerced = coerce(values, found.type if found else None, self.calendar)
        rejections += [Rejection(int(block.rows[row]), reason, name) for row, reason in coerced.refused]
        if coerced.column is None or not len(coerced.positions):
            return None
        if found is None:
            found = event.properties[name] = Property(coerced.column.type)
            self.schema_revision += 1
        data = coerced.column.data
        if found.dictionary is not None:
            data = found.dictionary.recode(data, coerced.column.entries)
        whole = empty(found.type, len(block.user_ids))
        whole[coerced.positions] = data
        return whole

    def prepare(self) -> None:
        """Build all that queries would build when they first ask: sorted partitions, rollups, bitmaps and bins."""
        for attribute in self.attributes.values():
            attribute.prepare()
        for event in self.events.values():
            event.prepare()

    def events_named(self, name: str | None) -> list[Event]:
        """The event of a name, if it is known; all events for None."""
        if name is None:
            return list(self.events.values())
        return [self.events[name]] if name in self.events else []

    def schema(self) -> list[Field]:
        """Every attribute, then every property by event."""
        attributes = [Field(None, each.name, each.type, each.declared) for each in self.attributes.values()]
        return attributes + [
            Field(event.name, name, each.type, each.declared)
            for event in self.events.values()
            for name, each in event.properties.items()
        ]

    def check_declaration(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Raise InvalidArgumentError for a bad name, TypeMismatchError where values have fixed another type."""
        what = "attribute name" if event is None else "property name"
        reason = malformed_text(name, what, MAX_NAME_BYTES)
        if event is not None:
            reason = reason or malformed_text(event, "event name", MAX_NAME_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
        found = self._typed(event).get(name)
        if found is not None and found.type is not value_type:
            subject = f'the attribute "{name}"' if event is None else f'the property "{name}" of "{event}"'
            raise TypeMismatchError(
                f"{subject} is a {found.type.value} already", hint="declare types before the first value arrives"
            )

    def declare(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Fix a type that was checked."""
        found = self._typed(event).get(name)
        if found is not None:
            found.declared = True
        elif event is None:
            self.attributes[name] = Attribute(name, value_type, declared=True)
        else:
            owner = self.events.setdefault(event, Event(event))
            owner.properties[name] = Property(value_type, declared=True)
        self.version += 1
        self.schema_revision += 1

    def change_lists(self, changed: Mapping[str, Sequence[str] | str | None]) -> None:
        """Keep user ids, which were checked, under names; None forgets a list.

        In place of ids, the name of a list stands for those it had before.
        """
        users = {name: self.lists[ids].user_ids if isinstance(ids, str) else ids for name, ids in changed.items()}
        for name, ids in users.items():
            self.version += 1
            if changed[name] == name:
                continue
            self.schema_revision += 1
            if ids is None:
                del self.lists[name]
            else:
                self.lists[name] = UserList(name, ids, self.version)

    def _typed(self, event: str | None) -> Mapping[str, Attribute | Property]:
        if event is None:
            return self.attributes
        return self.events[event].properties if event in self.events else {}

    def has_events_before(self, day: int) -> bool:
        """Whether there are events of days before `day`."""
        return any(next(iter(event.partitions), day) < day for event in self.events.values())

    def drop_events_before(self, day: int) -> int:
        """Forget all events of days before `day`; how many they were."""
        dropped = sum(event.drop_before(day) for event in self.events.values())
        if dropped:
            self.version += 1
        return dropped

    # Snapshots

    def capture(self, lock: AbstractContextManager[None]) -> "CapturedIndex":
        """All of it as it is, read under a lock that the caller holds; until `release`, changes cost a little more."""
        total = len(self.users)
        events = list(self.events.values())
        description = {
            "version": self.version,
            "attributes": [[each.name, each.type.value, each.declared] for each in self.attributes.values()],
            "events": [each.description() for each in events],
            "producers": self.producers.state(),
        }
        captured = CapturedIndex(
            [
                Part(("index",), self.version, lambda: description),
                *self.users.capture(),
                *(each.part() for each in self.lists.values()),
                *self.messages.capture(),
            ],
            [each.capture(total, lock) for each in self.attributes.values()],
            [each.capture() for each in events],
            self.users.ids(),
            self.has_deleted,
        )
        self.has_deleted = False
        return captured

    def release(self, captured: "CapturedIndex", *, is_stored: bool) -> None:
        """End a capture, of which a snapshot was made or not."""
        self.users.release()
        for attribute in self.attributes.values():
            attribute.release()
        if is_stored:
            for dictionary, unused in captured.unused:
                dictionary.forget(unused)
        else:
            self.has_deleted |= captured.has_deleted

    def restore(self, key: Key, state: Any, revision: int) -> None:
        """Take back one part of a snapshot, in the order they were captured in.

        What is not as it was captured raises ValueError, KeyError, TypeError, IndexError, AttributeError or
        OverflowError. `restored` comes after the last.
        """
        match key:
            case ("index",):
                self.version = state["version"]
                for name, value_type, declared in state["attributes"]:
                    self.attributes[name] = Attribute(name, ValueType(value_type), declared=declared)
                for description in state["events"]:
                    self.events[description["name"]] = Event.described(description)
                self.producers.restore(state["producers"])
            case ("users", _):
                self.users.restore(state)
            case ("list", str(name)):
                self.lists[name] = UserList(name, state, revision)
            case ("messages", int(generation), _):
                self.messages.restore(generation, state)
            case ("entries", event, str(name), _):
                owner = self.attributes[name] if event is None else self.events[str(event)].properties[name]
                assert owner.dictionary is not None
                owner.dictionary.restore(state, revision)
            case ("attribute", str(name), int(stretch)):
                self.attributes[name].restore(stretch, state, revision, len(self.users))
            case ("events", str(name), int(day)):
                self.events[name].restore(day, state, revision, self.calendar)
            case _:
                raise ValueError(f"there is no part {list(key)}")

    def restored(self) -> None:
        """Make what is not in snapshots."""
        for attribute in self.attributes.values():
            attribute.restored()

    def faults(self) -> list[str]:
        """What of the bitmaps, bins and tables is not what the columns say, one sentence each."""
        everyone = self.users.everyone
        found = self.users.faults()
        for attribute in self.attributes.values():
            found += attribute.faults(everyone)
        for event in self.events.values():
            found += event.faults(everyone)
        return found


@dataclass(slots=True)
class CapturedIndex:
    """What an index was at a moment. `parts` yields it and fills `unused`: codes of dictionaries that nobody has."""

    plain: list[Part]
    attributes: list[CapturedAttribute]
    events: list[CapturedEvent]
    ids: CapturedIds
    has_deleted: bool
    unused: list[tuple[Dictionary, BitMap]] = field(default_factory=list)

    def parts(self) -> Iterator[Part]:
        """The parts of a snapshot, each made when it is asked for, to keep memory bounded."""
        yield from self.plain
        for attribute in self.attributes:
            yield from attribute.parts(self._noted(attribute.dictionary, attribute.find_unused()))
        for event in self.events:
            unused = {name: self._noted(each, event.find_unused(name)) for name, each in event.dictionaries.items()}
            yield from event.parts(unused)

    def attribute_types(self) -> dict[str, ValueType]:
        """The type of every attribute."""
        return {each.attribute.name: each.attribute.type for each in self.attributes}

    def user_blocks(self) -> Iterator[Columns]:
        """All users with their values."""
        for first in range(0, self.ids.total, _BLOCK_USERS):
            last = min(first + _BLOCK_USERS, self.ids.total)
            users = self.ids.alive(first, last)
            values = {each.attribute.name: each.column(users, first, last) for each in self.attributes}
            rows = np.arange(len(users))
            yield Columns(None, self.ids.texts(users), np.zeros(len(users), np.int64), values, rows)

    def event_blocks(self, event: CapturedEvent) -> Iterator[Columns]:
        """All events of a name, day by day."""
        for users, times_ms, values in event.columns():
            yield Columns(event.name, self.ids.texts(users), times_ms, values, np.arange(len(users)))

    def _noted(self, dictionary: CapturedDictionary | None, unused: BitMap) -> BitMap:
        if dictionary is not None and unused:
            self.unused.append((dictionary.dictionary, unused))
        return unused


def _all_refused(block: Columns, name: str, values: Column | SparseValues, reason: str) -> list[Rejection]:
    if isinstance(values, Column):
        rows = np.flatnonzero(present(values.type, values.data)).tolist()
    else:
        rows = [row for row, value in zip(values.rows, values.values, strict=True) if value is not None]
    return [Rejection(int(block.rows[row]), reason, name) for row in rows]
