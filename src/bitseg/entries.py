"""What a workspace keeps by name: saved segments and static lists, as they are in records and in snapshots.

`ENTRY_KINDS` lists every kind. A kind says how an entry becomes plain values and back, and which conditions it has, by
which it refers to segments and lists; the rest is the same for all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from xxhash import xxh3_128_hexdigest

from bitseg.errors import SegmentError
from bitseg.segment import format
from bitseg.segment.nodes import And, Condition, InList, InSegment, Not, Or, children
from bitseg.segment.parse import parse

# Of `in segment` and `in list`: the kind of reference, the name before and the name after.
Renaming = tuple[type[InSegment] | type[InList], str, str]


@dataclass(frozen=True, slots=True)
class Details:
    """What an entry has beside its contents. Instants are 0 where they are not known."""

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    updated_ms: int = 0

    def plain(self) -> list[Any]:
        """Plain values, for records and snapshots."""
        return [self.description, dict(self.labels), self.created_ms, self.updated_ms]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> "Details":
        """The details of plain values; ValueError for anything else."""
        match plain:
            case [str(description), dict(labels), int(created_ms), int(updated_ms)]:
                is_labelled = all(isinstance(text, str) for label in labels.items() for text in label)
                if is_labelled and bool not in (type(created_ms), type(updated_ms)):
                    return cls(description, labels, created_ms, updated_ms)
        raise ValueError("the details of an entry are not a description, labels and two instants")


@dataclass(frozen=True, slots=True)
class SavedSegment:
    """A segment with its name, for use as `in segment "name"`; `text` is its definition in canonical form.

    The etag stands for all the rest: another one after every change.
    """

    name: str
    definition: Condition
    text: str
    details: Details
    etag: str

    @classmethod
    def of(cls, name: str, definition: Condition, text: str, details: Details) -> "SavedSegment":
        """The segment of a definition and its canonical text."""
        return cls(name, definition, text, details, _etag((name, text), details))

    @property
    def characters(self) -> int:
        """How much text there is of it."""
        return len(self.name) + len(self.text) + _characters(self.details)


@dataclass(frozen=True, slots=True)
class StaticList:
    """A list of user ids with its name, for use as `in list "name"`; `size` counts the ids.

    The etag stands for the ids and all the rest: another one after every change.
    """

    name: str
    size: int
    details: Details
    etag: str

    @classmethod
    def of(cls, name: str, size: int, details: Details, revision: int) -> "StaticList":
        """The list whose ids have a revision, which no others of that name have."""
        return cls(name, size, details, _etag((name, revision), details))

    @property
    def characters(self) -> int:
        """How much text there is of it, apart from its ids."""
        return len(self.name) + _characters(self.details)


def _characters(details: Details) -> int:
    return len(details.description) + sum(len(key) + len(value) for key, value in details.labels.items())


def _etag(contents: Iterable[object], details: Details) -> str:
    parts = (*contents, details.description, *sorted(details.labels.items()), details.created_ms, details.updated_ms)
    return xxh3_128_hexdigest(repr(parts).encode(errors="surrogatepass"))


def leaves(condition: Condition) -> set[Condition]:
    """The conditions of a tree that have none below them."""
    below = children(condition)
    return set().union(*map(leaves, below)) if below else {condition}


def references(condition: Condition) -> set[str]:
    """The names of the segments that a condition refers to itself."""
    return {leaf.name for leaf in leaves(condition) if isinstance(leaf, InSegment)}


def renamed(condition: Condition, renaming: Renaming) -> Condition:
    """The condition with a reference by another name."""
    kind, before, after = renaming
    match condition:
        case And(conditions) | Or(conditions):
            return type(condition)(tuple(renamed(each, renaming) for each in conditions))
        case Not(below):
            return Not(renamed(below, renaming))
        case InSegment(name) | InList(name) if isinstance(condition, kind) and name == before:
            return kind(after)
    return condition


class Entry(Protocol):
    """Something kept by name. The etag stands for all the rest: another one after every change."""

    @property
    def name(self) -> str: ...
    @property
    def details(self) -> Details: ...
    @property
    def etag(self) -> str: ...
    @property
    def characters(self) -> int: ...


T = TypeVar("T", bound=Entry)


@dataclass(frozen=True, slots=True)
class EntryKind(Generic[T]):
    """One kind of entries.

    `pack` makes the payload of an entry, and `unpack` the entry of a name and a payload; it raises ValueError for a
    payload that is not one. `replaced` is the entry under another name and with other details. `conditions` are those
    that the entry has, and `renamed` is the entry with a reference in them by another name. `reference` makes the
    condition that refers to an entry by its name; None for a kind that no condition refers to. `limit` is how many
    entries there may be.
    """

    name: str
    limit: int
    pack: Callable[[T], list[Any]]
    unpack: Callable[[str, Sequence[Any]], T]
    replaced: Callable[[T, str, Details], T]
    conditions: Callable[[T], Sequence[Condition]]
    renamed: Callable[[T, Renaming], T]
    reference: type[InSegment] | type[InList] | None


def _segment(name: str, payload: Sequence[Any]) -> SavedSegment:
    match payload:
        case [str(text), *details]:
            try:
                return SavedSegment.of(name, parse(text), text, Details.of(details))
            except SegmentError as error:
                raise ValueError(f"the segment {name!r} cannot be read: {error}") from error
    raise ValueError("a saved segment is not a text and details")


def _list(name: str, payload: Sequence[Any]) -> StaticList:
    """The list without its ids, which the index has."""
    match payload:
        case [_, *details]:
            return StaticList.of(name, 0, Details.of(details), 0)
    raise ValueError("a list is not user ids and details")


def segment_of(name: str, definition: Condition, details: Details) -> SavedSegment:
    """The segment of a definition, which is formatted."""
    return SavedSegment.of(name, definition, format(definition), details)


SEGMENTS: EntryKind[SavedSegment] = EntryKind(
    name="segment",
    limit=10_000,
    pack=lambda segment: [segment.text, *segment.details.plain()],
    unpack=_segment,
    replaced=lambda segment, name, details: SavedSegment.of(name, segment.definition, segment.text, details),
    conditions=lambda segment: (segment.definition,),
    renamed=lambda segment, renaming: segment_of(segment.name, renamed(segment.definition, renaming), segment.details),
    reference=InSegment,
)
# The payload of a list begins with its user ids, or with the name of the list whose ids, as they were before, it takes.
LISTS: EntryKind[StaticList] = EntryKind(
    name="list",
    limit=10_000,
    pack=lambda user_list: [user_list.name, *user_list.details.plain()],
    unpack=_list,
    replaced=lambda user_list, name, details: StaticList.of(name, user_list.size, details, 0),
    conditions=lambda user_list: (),
    renamed=lambda user_list, renaming: user_list,
    reference=InList,
)
ENTRY_KINDS: Mapping[str, EntryKind[Any]] = {kind.name: kind for kind in (SEGMENTS, LISTS)}


def entry_kind(name: str) -> EntryKind[Any]:
    """The kind of a name; ValueError for one that is not known."""
    kind = ENTRY_KINDS.get(name)
    if kind is None:
        raise ValueError(f"entries of kind {name!r} are not known")
    return kind
