"""The questions that the query layer asks about a kind of leaf."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pyroaring import BitMap

from bitseg.index.changes import ChangeLog
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.results import UserEvent
from bitseg.segment.windows import Interval
from bitseg.values import Value

Work = Callable[[], BitMap]

# Warnings in the order they arose, without repeats.
Warnings = dict[str, None]

C = TypeVar("C")


class Source(Protocol):
    """A part of the index that a condition reads: its revision, and whom the latest revisions changed."""

    @property
    def revision(self) -> int: ...

    @property
    def changes(self) -> ChangeLog: ...


@dataclass(frozen=True, slots=True)
class Stale:
    """The users for whom a cached answer has to be worked out again.

    `added` is the interval of the events that arrived since, if nothing else happened; new events cannot take a user
    out of a plain `did`.
    """

    users: BitMap
    added: Interval | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why one user matches a condition or not; the fields are those of `results.Explanation`."""

    value: Value | None = None
    interval: Interval | None = None
    events: tuple[UserEvent, ...] = ()
    note: str = ""


class LeafKind(ABC, Generic[C]):
    """All that the query layer asks about one kind of leaf.

    Whether a user matches a leaf depends on that user's values and events alone, and on the moment. Every question is
    abstract, so that a kind without an answer fails when the program starts.
    """

    @abstractmethod
    def compile(self, condition: C, index: Index, context: Context, among: BitMap | None = None) -> Work:
        """A function that works out the users in the condition, or those of the users `among`, who are at least one.

        Call `compile` with the engine's lock held. The function keeps the data as they were and may run without the
        lock, with one exception: values of an attribute that are written meanwhile may be seen or not, and the
        attribute's `changes` name their users. The bitmap that it returns must not be changed.
        """

    @abstractmethod
    def is_quick(self, condition: C, index: Index, context: Context) -> bool:
        """Whether the work is short enough to be done with the engine's lock held."""

    @abstractmethod
    def stored(self, condition: C, index: Index) -> BitMap | None:
        """The bitmap of the members if the index has one, which must not be changed; else None."""

    @abstractmethod
    def estimate(self, condition: C, index: Index, context: Context) -> int:
        """An upper guess at the number of members, without evaluating. Only the order of work depends on it."""

    @abstractmethod
    def sources(self, condition: C, index: Index) -> Sequence[Source]:
        """The parts of the index that the answer depends on."""

    @abstractmethod
    def intervals(self, condition: C, index: Index, context: Context) -> tuple[Interval, ...]:
        """The intervals of events that count. If they alone changed, `moved` gives the users that this concerns."""

    @abstractmethod
    def inner_windows(self, condition: C, context: Context) -> Hashable:
        """What the windows within predicates mean. If they changed, any user's answer may have."""

    @abstractmethod
    def moved(self, condition: C, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        """The users with events that count at only one of two moments, `before_ms` and the context's."""

    @abstractmethod
    def valid_until_ms(self, condition: C, index: Index, context: Context) -> int:
        """The first instant after the context's at which the answer may differ though no data change."""

    @abstractmethod
    def check_names(self, condition: C, index: Index, warnings: Warnings) -> None:
        """Raise SegmentError for names or types that do not fit the data; add warnings for what has not arrived yet."""

    @abstractmethod
    def evidence(self, condition: C, user: int, index: Index, context: Context) -> Evidence:
        """The values and events of the user with a dense id that decide."""

    def refresh(self, condition: C, before: BitMap, stale: Stale, index: Index, context: Context) -> Work:
        """As `compile`, given the members before and the users, at least one, who may have changed."""
        again = self.compile(condition, index, context, stale.users)
        return lambda: (before - stale.users) | again()
