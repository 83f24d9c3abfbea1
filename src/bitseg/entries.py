"""Segments and static lists that a workspace keeps by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xxhash import xxh3_128_hexdigest

from bitseg.segment.nodes import And, Condition, InList, InSegment, Not, Or, children
from bitseg.segment.parse import parse

# Of `in segment` and `in list`: the kind of reference, the name before and the name after.
Renaming = tuple[type[InSegment] | type[InList], str, str]


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of a saved segment or list beside its contents. Instants are 0 where they are not known."""

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    updated_ms: int = 0


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
    def of(cls, name: str, text: str, details: Details) -> "SavedSegment":
        """The segment of a canonical text."""
        return cls(name, parse(text), text, details, _etag((name, text), details))

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
