"""The interface of a kind of leaf towards the query layer."""

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
    """A part of the index that a condition reads: its revision, and the users changed by the latest revisions."""

    @property
    def revision(self) -> int: ...

    @property
    def changes(self) -> ChangeLog: ...


@dataclass(frozen=True, slots=True)
class Stale:
    """The users for whom a cached answer is stale.

    `added` is the interval of the events that have arrived since; None if data changed in any other way. Added events
    cannot take a user out of a plain `did`.
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
    """What the query layer needs to know about one kind of leaf.

    Whether a user matches a leaf depends only on that user's values and events, and on the moment. All methods but
    `refresh` are abstract, so that an incomplete kind fails when the program starts.
    """

    @abstractmethod
    def compile(self, condition: C, index: Index, context: Context, among: BitMap | None = None) -> Work:
        """A function that computes the users in the condition; `among`, not empty, restricts the users.

        Call `compile` with the engine's lock held. The function has a consistent view of the data and may run without
        the lock, with one exception: it may or may not see values of an attribute that are written meanwhile, and the
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
        """An upper estimate of the number of members, without evaluation. Only the order of work depends on it."""

    @abstractmethod
    def sources(self, condition: C, index: Index) -> Sequence[Source]:
        """The parts of the index that the answer depends on."""

    @abstractmethod
    def intervals(self, condition: C, index: Index, context: Context) -> tuple[Interval, ...]:
        """The intervals of the events that count. If only they change, `moved` gives the users concerned."""

    @abstractmethod
    def inner_windows(self, condition: C, context: Context) -> Hashable:
        """The intervals of the windows in predicates. If they change, the answer for any user may change."""

    @abstractmethod
    def moved(self, condition: C, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        """The users with events that count at `before_ms` or at the context's moment, but not at both."""

    @abstractmethod
    def valid_until_ms(self, condition: C, index: Index, context: Context) -> int:
        """The first instant after the context's at which the answer may differ even if no data changes."""

    @abstractmethod
    def check_names(self, condition: C, index: Index, warnings: Warnings) -> None:
        """Raise SegmentError for names or types that do not fit the data; add warnings about data not yet arrived."""

    @abstractmethod
    def evidence(self, condition: C, user: int, index: Index, context: Context) -> Evidence:
        """The values and events that decide for one user, given by dense id."""

    def refresh(self, condition: C, before: BitMap, stale: Stale, index: Index, context: Context) -> Work:
        """As `compile`, given the earlier members and the stale users, at least one."""
        again = self.compile(condition, index, context, stale.users)
        return lambda: (before - stale.users) | again()
