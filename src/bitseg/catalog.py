"""What a workspace keeps by name, in memory: a collection for each kind, and how entries refer to each other."""

from collections.abc import Container, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any, Generic, TypeVar, cast

from bitseg.entries import ENTRY_KINDS, LISTS, SEGMENTS, Entry, EntryKind, SavedSegment, StaticList, entry_kind, leaves
from bitseg.entries import references as segments_in
from bitseg.errors import InUseError, InvalidSegmentError, NotFoundError
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.records import EntryChange
from bitseg.segment.nodes import Condition, InList, InSegment, children

# Levels of a segment and of those it refers to, taken together; explanations carry as many nested messages, of which
# protobuf runtimes read 100.
MAX_NESTED_DEPTH = 90

# Name, description and definition. They hold whatever the events of a workspace are called.
DEFAULT_SEGMENTS = (
    ("Active today", "Did anything today.", "did any event today"),
    ("Active this week", "Did anything in the last 7 days.", "did any event in last 7 days"),
    (
        "New this week",
        "Did something for the first time in the last 7 days.",
        "did any event for the first time in last 7 days",
    ),
    (
        "Regulars",
        "Did something on at least 4 of the last 28 days.",
        "did any event on at least 4 days in last 28 days",
    ),
    (
        "Have not logged in recently",
        "Did something once, but nothing in the last 30 days.",
        "did any event more than 30 days ago and did not any event in last 30 days",
    ),
    ("Have never done anything", "Is known, but has no event.", "did not any event"),
)

T = TypeVar("T", bound=Entry)


class Collection(Mapping[str, T], Generic[T]):
    """The entries of one kind by name. `revision` grows with every change; the mapping itself is never changed."""

    def __init__(self, kind: EntryKind[T]) -> None:
        self.kind = kind
        self.revision = 0
        self.entries: Mapping[str, T] = {}

    def __getitem__(self, name: str) -> T:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def named(self, name: str) -> T:
        """The entry of a name; NotFoundError."""
        entry = self.entries.get(name)
        if entry is None:
            raise NotFoundError(f'there is no {self.kind.name} "{name}"')
        return entry

    def change(self, changes: Mapping[str, T | None]) -> None:
        """Put entries under their names; None takes one away."""
        entries = {**self.entries, **changes}
        self.entries = {name: entry for name, entry in entries.items() if entry is not None}
        self.revision += 1

    def state(self) -> dict[str, list[Any]]:
        """Plain values for a snapshot."""
        return {name: self.kind.pack(entry) for name, entry in self.entries.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; ValueError for anything else."""
        if not isinstance(state, dict):
            raise ValueError(f"the {self.kind.name}s are not entries by name")
        for name in state:
            reason = malformed_text(name, f"{self.kind.name} name", MAX_NAME_BYTES)
            if reason is not None:
                raise ValueError(reason)
        self.entries = {name: self.kind.unpack(name, payload) for name, payload in state.items()}
        self.revision += 1


class Catalog(Mapping[str, Condition]):
    """All collections. As a mapping, it has the conditions of saved segments by name.

    References never form a cycle, and what is referred to is there. `revision` grows with every change.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.collections: dict[str, Collection[Any]] = {name: Collection(kind) for name, kind in ENTRY_KINDS.items()}
        self.segments = cast(Collection[SavedSegment], self.collections[SEGMENTS.name])
        self.lists = cast(Collection[StaticList], self.collections[LISTS.name])

    def __getitem__(self, name: str) -> Condition:
        return self.segments[name].definition

    def __iter__(self) -> Iterator[str]:
        return iter(self.segments)

    def __len__(self) -> int:
        return len(self.segments)

    def check_name(self, kind: EntryKind[Any], name: str) -> str | None:
        """Why an entry cannot have a name, or None."""
        reason = malformed_text(name, f"{kind.name} name", MAX_NAME_BYTES)
        collection = self.collections[kind.name]
        if reason is None and name not in collection and len(collection) >= kind.limit:
            reason = f"there are {kind.limit:,} {kind.name}s already, the limit"
        return reason

    def check_segments(self, changed: Mapping[str, Condition | None], lists: Container[str]) -> None:
        """Raise InvalidSegmentError where segments cannot be saved together; None stands for a deleted one.

        That is a bad name, a reference to a segment or a list that is not there, and one that leads back to the segment
        itself.
        """
        wanted = {name: condition for name, condition in {**self, **changed}.items() if condition is not None}
        for name, condition in changed.items():
            if condition is not None:
                self._check_segment(name, condition, wanted, lists)
        # Also those that refer to a segment grow with it.
        depths: dict[str, int] = {}
        if any(_depth(InSegment(name), wanted, depths) > MAX_NESTED_DEPTH + 1 for name in wanted):
            raise InvalidSegmentError(
                f"a segment and those it refers to would be nested more than {MAX_NESTED_DEPTH} levels deep"
            )

    def require_whole(self) -> None:
        """Raise ValueError where a segment refers to what is not there, or to itself, directly or through others."""
        for name, condition in self.items():
            for leaf in leaves(condition):
                if (isinstance(leaf, InSegment) and leaf.name not in self) or (
                    isinstance(leaf, InList) and leaf.name not in self.lists
                ):
                    raise ValueError(f"the segment {name!r} refers to {leaf.name!r}, which is not there")
        # CycleError is a ValueError.
        TopologicalSorter({name: segments_in(condition) for name, condition in self.items()}).prepare()

    def _check_segment(
        self, name: str, condition: Condition, wanted: Mapping[str, Condition], lists: Container[str]
    ) -> None:
        reason = self.check_name(SEGMENTS, name)
        if reason is not None:
            raise InvalidSegmentError(reason)
        self._require_references(name, condition, wanted, lists)

    def require_references(
        self, changed: Mapping[str, Condition | None], wanted: Mapping[str, Condition], lists: Container[str]
    ) -> None:
        """Raise InvalidSegmentError where a segment that changes refers to what is not there, or to itself.

        `wanted` are all segments, and `lists` all lists, as they will be.
        """
        for name, condition in changed.items():
            if condition is not None:
                self._require_references(name, condition, wanted, lists)

    def _require_references(
        self, name: str, condition: Condition, wanted: Mapping[str, Condition], lists: Container[str]
    ) -> None:
        for reference in sorted(segments_in(condition)):
            if reference not in wanted:
                raise InvalidSegmentError(f'there is no segment "{reference}"', hint="save it first")
            path = _path(reference, name, wanted)
            if path is not None:
                round_trip = " → ".join(f'"{step}"' for step in (name, *path))
                raise InvalidSegmentError(f"the segment would refer to itself: {round_trip}")
        for leaf in leaves(condition):
            if isinstance(leaf, InList) and leaf.name not in lists:
                raise InvalidSegmentError(f'there is no list "{leaf.name}"', hint="save it first")

    def referrers(self, kind: EntryKind[Any], name: str) -> list[tuple[EntryKind[Any], Any]]:
        """The entries that refer to an entry themselves, with their kinds, by kind and name."""
        if kind.reference is None:
            return []
        reference = kind.reference(name)
        return [
            (collection.kind, entry)
            for collection in self.collections.values()
            for _, entry in sorted(collection.items())
            if any(reference in leaves(condition) for condition in collection.kind.conditions(entry))
        ]

    def require_unused(self, kind: EntryKind[Any], name: str) -> None:
        """Raise InUseError, naming them, while entries refer to an entry."""
        referrers = self.referrers(kind, name)
        if referrers:
            named = ", ".join(f'"{entry.name}"' for _, entry in referrers)
            raise InUseError(f'the {kind.name} "{name}" is used by {named}', hint="change or delete those first")

    def change(self, changes: Sequence[EntryChange]) -> None:
        """Make changes that were checked, apart from the ids of lists; ValueError for a kind that is not known."""
        by_kind: dict[str, dict[str, Any]] = {}
        for change in changes:
            kind = entry_kind(change.kind)
            entry = change.entry
            if entry is None and change.payload is not None:
                entry = kind.unpack(change.name, change.payload)
            by_kind.setdefault(change.kind, {})[change.name] = entry
        for name, entries in by_kind.items():
            self.collections[name].change(entries)
        self.revision += 1

    def resize_list(self, name: str, size: int, revision: int) -> None:
        """Note how many ids a list has, and the revision of its ids."""
        details = self.lists[name].details
        self.lists.change({name: StaticList.of(name, size, details, revision)})
        self.revision += 1


def _path(start: str, goal: str, segments: Mapping[str, Condition]) -> tuple[str, ...] | None:
    """Names that lead from a segment to another by reference, both included; None if nothing does."""
    paths: dict[str, tuple[str, ...]] = {start: (start,)}
    pending = [start]
    while pending:
        name = pending.pop()
        if name == goal:
            return paths[name]
        # A segment that is not there is told where it is referred to.
        for reference in sorted(segments_in(segments[name]) & segments.keys() - paths.keys()):
            paths[reference] = (*paths[name], reference)
            pending.append(reference)
    return None


def _depth(condition: Condition, segments: Mapping[str, Condition], known: dict[str, int]) -> int:
    """Levels of a condition and of what it refers to; `known` has those of segments already measured."""
    if isinstance(condition, InSegment):
        if condition.name not in known:
            known[condition.name] = _depth(segments[condition.name], segments, known)
        return 1 + known[condition.name]
    return 1 + max((_depth(child, segments, known) for child in children(condition)), default=0)
