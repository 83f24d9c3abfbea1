"""The events a `did` speaks of: those of its names, its `where`, its time of day and its interval."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import from_day
from bitseg.index.bitmaps import from_array, from_runs, to_array, union
from bitseg.index.context import Context
from bitseg.index.events import Event
from bitseg.index.operators import predicates
from bitseg.index.partitions import Content, Property, Rows
from bitseg.runtime import cancellation
from bitseg.segment.nodes import And, Comparison, Condition, IsSet, Not, Or, TimeOfDay, Weekday
from bitseg.segment.windows import Interval

Mask = NDArray[np.bool_]
# Rows by number, ascending; None stands for all.
Selection = NDArray[np.int64] | None

_WEEKDAYS = {day: number for number, day in enumerate(Weekday)}
_MINUTE_MS = 60_000
# From so many users on, every row is looked at rather than each user looked up.
_MANY = 10_000


@dataclass(frozen=True, slots=True)
class Block:
    """Events of one partition: all of its rows, or those selected."""

    event: Event
    day: int
    rows: Rows
    selection: Selection
    # The users of all the rows.
    partition_bitmap: BitMap

    def __len__(self) -> int:
        return len(self.rows) if self.selection is None else len(self.selection)

    @property
    def users(self) -> NDArray[np.uint32]:
        """Dense ids, ascending, one an event."""
        return self._selected(self.rows.users)

    @property
    def offsets_ms(self) -> NDArray[np.int32]:
        """Milliseconds after the day began, one an event."""
        return self._selected(self.rows.offsets_ms)

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """Instants, one an event."""
        return self.offsets_ms.astype(np.int64) + self.rows.start_ms

    def column(self, name: str) -> tuple[Property, NDArray[Any]] | None:
        """A property and its values, one an event; None where no event of the day has it."""
        packed = self.rows.columns.get(name)
        if packed is None:
            return None
        return self.event.properties[name], packed.values(slice(None) if self.selection is None else self.selection)

    def has_gaps(self, name: str) -> bool:
        """Whether some of the partition's events may lack a property that others have."""
        packed = self.rows.columns.get(name)
        return packed is None or packed.has_gaps

    def bitmap(self) -> BitMap:
        """The users, as a bitmap that must not be changed."""
        return self.partition_bitmap if self.selection is None else from_array(self.users)

    def narrowed(self, mask: Mask) -> "Block":
        """Those of the events that a mask, one item an event, selects."""
        places = np.flatnonzero(mask)
        return replace(self, selection=places if self.selection is None else self.selection[places])

    def _selected(self, data: NDArray[Any]) -> NDArray[Any]:
        return data if self.selection is None else data[self.selection]


@dataclass(frozen=True, slots=True)
class _Source:
    """A partition as it was when asked for."""

    event: Event
    day: int
    start_ms: int
    end_ms: int
    bitmap: BitMap
    content: Content
    whole: bool


class Among:
    """Some users: a bitmap, and a mask by dense id that is made when it is first asked for, once for all who ask."""

    def __init__(self, bitmap: BitMap) -> None:
        self.bitmap = bitmap
        self._mask: Mask | None = None

    def mask(self) -> Mask:
        """Which users are meant, up to the last of them."""
        if self._mask is None:
            self._mask = np.zeros(self.bitmap.max() + 1, bool)
            self._mask[to_array(self.bitmap)] = True
        return self._mask


class Occurrences:
    """The events of some names that lie in an interval and satisfy what else is asked of each.

    It holds the partitions as they are when it is made, and goes on telling of those whatever is ingested meanwhile.
    `among` leaves out all other users. `users_only` promises that nobody asks for `blocks`, so that whole days need
    no more than their bitmaps.
    """

    def __init__(
        self,
        events: Sequence[Event],
        interval: Interval,
        context: Context,
        where: Condition | None = None,
        time_of_day: TimeOfDay | None = None,
        weekdays: tuple[Weekday, ...] = (),
        among: BitMap | None = None,
        *,
        users_only: bool = False,
    ) -> None:
        self.events = events
        self.interval = interval
        self.context = context
        self._where = where
        self._time_of_day = time_of_day
        self._weekdays = frozenset(_WEEKDAYS[day] for day in weekdays)
        # Whether days or times of day are asked for, beside the interval.
        self.is_timed = time_of_day is not None or bool(weekdays)
        self._among = None if among is None else Among(among)
        self._by_rows = where is not None or time_of_day is not None
        # Of whole days where only users matter: their bitmaps, rolled up.
        self._whole_days: list[BitMap] = []
        self._sources: list[_Source] = []
        for event in events:
            self._add(event, among, users_only and not self._by_rows)

    def _add(self, event: Event, among: BitMap | None, users_only: bool) -> None:
        whole_days: list[int] = []
        for partition, whole in event.within(self.interval):
            if self._weekdays and from_day(partition.day).weekday() not in self._weekdays:
                continue
            if whole and users_only:
                whole_days.append(partition.day)
                continue
            bitmap = partition.bitmap
            if among is not None and not bitmap.intersect(among):
                continue
            self._sources.append(
                _Source(event, partition.day, partition.start_ms, partition.end_ms, bitmap, partition.content(), whole)
            )
        if users_only:
            self._whole_days += event.bitmaps(whole_days)

    def until(self, instant_ms: int) -> "Occurrences":
        """The same without what came after an instant; not for `users_only`."""
        cut = copy.copy(self)
        end_ms = min(self.interval.end_ms, instant_ms + 1)
        cut.interval = Interval(self.interval.start_ms, end_ms)
        cut._sources = [
            replace(source, whole=source.whole and source.end_ms <= end_ms)
            for source in self._sources
            if source.start_ms < end_ms
        ]
        return cut

    def after(self, instant_ms: int) -> "Occurrences":
        """The same without what came up to an instant; not for `users_only`."""
        cut = copy.copy(self)
        start_ms = max(self.interval.start_ms, instant_ms + 1)
        cut.interval = Interval(start_ms, self.interval.end_ms)
        cut._sources = [
            replace(source, whole=source.whole and source.start_ms >= start_ms)
            for source in self._sources
            if source.end_ms > start_ms
        ]
        return cut

    def only(self, users: Among) -> "Occurrences":
        """The same without all other users."""
        narrowed = copy.copy(self)
        narrowed._among = users if self._among is None else Among(self._among.bitmap & users.bitmap)
        return narrowed

    @property
    def is_any(self) -> bool:
        """Whether nothing but the interval is asked of the events."""
        return not self._by_rows and not self.is_timed

    def blocks(self) -> Iterator[Block]:
        """The events partition by partition, those of one name in order of days; empty blocks are left out."""
        return filter(len, map(self._block, self._sources))

    def users(self) -> BitMap:
        """The users who did any of the events; the bitmap must not be changed."""
        bitmaps = list(self._whole_days)
        found: list[NDArray[np.uint32]] = []
        for source in self._sources:
            if source.whole and not self._by_rows:
                bitmaps.append(source.bitmap)
            else:
                found.append(self._block(source).users)
        if self._among is not None:
            bitmaps = [bitmap & self._among.bitmap for bitmap in bitmaps]
        return union([*bitmaps, from_runs(found)] if found else bitmaps)

    def gather(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Users and instants of all the events, by user, then time; two arrays of shape (n,)."""
        blocks = list(self.blocks())
        if not blocks:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        users = np.concatenate([block.users for block in blocks])
        times_ms = np.concatenate([block.times_ms for block in blocks])
        order = np.argsort(sort_keys(users, times_ms), kind="stable")
        return users[order], times_ms[order]

    def matches(self, times_ms: NDArray[np.int64]) -> Mask:
        """Which of these instants satisfy time of day, weekdays and interval."""
        mask = (times_ms >= self.interval.start_ms) & (times_ms < self.interval.end_ms)
        if not self.is_timed:
            return mask
        days = self.context.calendar.days_of(times_ms)
        if self._weekdays:
            # 1970-01-01, day 0, was a Thursday.
            mask &= np.isin((days + 3) % 7, list(self._weekdays))
        if self._time_of_day is not None:
            for day in np.unique(days):
                rows = np.flatnonzero(days == day)
                clock_ms = self.context.calendar.time_of_day_ms(int(day), times_ms[rows])
                mask[rows] &= _within_clock(clock_ms, self._time_of_day)
        return mask

    def _block(self, source: _Source) -> Block:
        """The events of a partition that satisfy all there is, the cheapest test first."""
        cancellation.check()
        if self._among is not None and len(self._among.bitmap) < _MANY:
            asked = source.bitmap & self._among.bitmap
            block = Block(source.event, source.day, source.content.rows_of(to_array(asked)), None, asked)
        else:
            block = Block(source.event, source.day, source.content.rows(), None, source.bitmap)
            if self._among is not None:
                block = replace(block, selection=_rows_among(block.rows.users, self._among.mask()))
        if not source.whole:
            block = block.narrowed(self._in_interval(block))
        if self._time_of_day is not None:
            clock_ms = self.context.calendar.time_of_day_ms(block.day, block.times_ms)
            block = block.narrowed(_within_clock(clock_ms, self._time_of_day))
        if self._where is not None and len(block):
            block = block.narrowed(_where_mask(self._where, block, self.context))
        return block

    def _in_interval(self, block: Block) -> Mask:
        start_ms = block.rows.start_ms
        # A day has few enough milliseconds for 32 bits, which instants need not.
        first = min(max(self.interval.start_ms - start_ms, 0), 2**31 - 1)
        end = min(max(self.interval.end_ms - start_ms, 0), 2**31 - 1)
        offsets_ms = block.offsets_ms
        return (offsets_ms >= first) & (offsets_ms < end)


def _rows_among(users: NDArray[np.uint32], is_among: Mask) -> NDArray[np.int64]:
    """The rows of the users that are asked about, given the users of all rows, ascending."""
    known = np.searchsorted(users, len(is_among))
    return np.flatnonzero(is_among[users[:known]])


def sort_keys(users: NDArray[np.uint32], times_ms: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers in the order of users, then times; shape (n,).

    One number is sorted much faster than a pair. Ten million users leave 40 bits, 34 years of milliseconds, for the
    times; where instants lie further apart, their ranks stand for them.
    """
    if not len(users):
        return np.empty(0, np.uint64)
    times_ms = times_ms - times_ms.min()
    if _bits(users) + _bits(times_ms) > 64:
        times_ms = np.unique(times_ms, return_inverse=True)[1]
    return (users.astype(np.uint64) << np.uint64(_bits(times_ms))) | times_ms.astype(np.uint64)


def _bits(numbers: NDArray[Any]) -> int:
    return int(numbers.max()).bit_length()


def _within_clock(clock_ms: NDArray[Any], time_of_day: TimeOfDay) -> Mask:
    start_ms, end_ms = time_of_day.start_minute * _MINUTE_MS, time_of_day.end_minute * _MINUTE_MS
    return (clock_ms >= start_ms) & (clock_ms < end_ms)


def _where_mask(where: Condition, block: Block, context: Context) -> Mask:
    """Which events of a block satisfy a `where`."""
    match where:
        case And(conditions):
            return reduce(np.logical_and, (_where_mask(each, block, context) for each in conditions))
        case Or(conditions):
            return reduce(np.logical_or, (_where_mask(each, block, context) for each in conditions))
        case Not(condition):
            return ~_where_mask(condition, block, context)
        case Comparison(name, predicate):
            column = block.column(name)
            if column is None:
                absent = isinstance(predicate, IsSet) and predicate.negated
                return np.full(len(block), absent)
            found, data = column
            if found.type not in predicates.fitting_types(predicate):
                return np.zeros(len(data), bool)
            return predicates.test(predicate, found.type, data, found.dictionary, context)
    raise TypeError(f"a where does not hold {type(where).__name__}")
