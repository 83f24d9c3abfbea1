"""The events that a `did` selects by name, `where`, time of day, weekday and interval."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from bitseg.index.partitions import Content, Partition, Property, Rows
from bitseg.runtime import cancellation
from bitseg.segment.nodes import And, Comparison, Condition, IsSet, Not, Or, TimeOfDay, Weekday
from bitseg.segment.windows import Interval

Mask = NDArray[np.bool_]
# Row numbers, ascending; None stands for all rows.
Selection = NDArray[np.int64] | None

_WEEKDAYS = {day: number for number, day in enumerate(Weekday)}
_MINUTE_MS = 60_000
# The events of fewer users than this are looked up; for more users, every row is tested.
_MANY_USERS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class MatchingEvents:
    """Events of one partition: all of its rows, or a selection."""

    event: Event
    day: int
    rows: Rows
    selection: Selection
    # The users of all the rows.
    rows_bitmap: BitMap

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
        """A property and its values, one an event; None where no event of the day has the property."""
        packed = self.rows.columns.get(name)
        if packed is None:
            return None
        return self.event.properties[name], packed.values(slice(None) if self.selection is None else self.selection)

    def has_gaps(self, name: str) -> bool:
        """Whether some events of the partition may lack a property."""
        packed = self.rows.columns.get(name)
        return packed is None or packed.has_gaps

    def bitmap(self) -> BitMap:
        """The users, as a bitmap that must not be changed."""
        return self.rows_bitmap if self.selection is None else from_array(self.users)

    def narrowed(self, mask: Mask) -> "MatchingEvents":
        """The events that a mask selects; it has one item an event."""
        places = np.flatnonzero(mask)
        return replace(self, selection=places if self.selection is None else self.selection[places])

    def _selected(self, data: NDArray[Any]) -> NDArray[Any]:
        return data if self.selection is None else data[self.selection]


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which events count: their names, interval, `where`, time of day and weekdays."""

    events: Sequence[Event]
    interval: Interval
    where: Condition | None = None
    time_of_day: TimeOfDay | None = None
    weekdays: tuple[Weekday, ...] = ()

    @property
    def is_timed(self) -> bool:
        """Whether weekdays or a time of day restrict the events, beside the interval."""
        return self.time_of_day is not None or bool(self.weekdays)

    @property
    def needs_rows(self) -> bool:
        """Whether a partition may have events that do not count although it lies in the interval."""
        return self.where is not None or self.time_of_day is not None

    def weekday_numbers(self) -> frozenset[int]:
        """The weekdays that count, Monday as 0; empty for all."""
        return frozenset(_WEEKDAYS[day] for day in self.weekdays)

    def partitions(self) -> Iterator[tuple[Event, Partition, bool]]:
        """The partitions that may have events that count, and whether all events of each lie in the interval."""
        weekdays = self.weekday_numbers()
        for event in self.events:
            for partition, is_whole in event.within(self.interval):
                if not weekdays or from_day(partition.day).weekday() in weekdays:
                    yield event, partition, is_whole

    def matches(self, times_ms: NDArray[np.int64], context: Context) -> Mask:
        """Which of some instants satisfy interval, weekdays and time of day; shape (n,)."""
        mask = (times_ms >= self.interval.start_ms) & (times_ms < self.interval.end_ms)
        if not self.is_timed:
            return mask
        days = context.calendar.days_of(times_ms)
        if self.weekdays:
            # 1970-01-01, day 0, was a Thursday.
            mask &= np.isin((days + 3) % 7, list(self.weekday_numbers()))
        if self.time_of_day is not None:
            for day in np.unique(days):
                rows = np.flatnonzero(days == day)
                clock_ms = context.calendar.time_of_day_ms(int(day), times_ms[rows])
                mask[rows] &= _within_clock(clock_ms, self.time_of_day)
        return mask


class Among:
    """Some users as a bitmap and as a mask by dense id, which is made on first use."""

    def __init__(self, bitmap: BitMap) -> None:
        self.bitmap = bitmap
        self._mask: Mask | None = None

    def mask(self) -> Mask:
        """A mask by dense id, which ends with the last user."""
        if self._mask is None:
            mask = np.zeros(self.bitmap.max() + 1, bool)
            mask[to_array(self.bitmap)] = True
            self._mask = mask
        return self._mask


@dataclass(frozen=True, slots=True, eq=False)
class _CapturedDay:
    """A partition at one moment, and whether all of it lies in the interval of the criteria."""

    event: Event
    day: int
    start_ms: int
    end_ms: int
    bitmap: BitMap
    content: Content
    is_whole: bool

    @classmethod
    def of(cls, event: Event, partition: Partition, is_whole: bool) -> "_CapturedDay":
        """A view of the present partition."""
        return cls(
            event,
            partition.day,
            partition.start_ms,
            partition.end_ms,
            partition.bitmap,
            partition.content(),
            is_whole,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Occurrences:
    """The events that meet some criteria, of all users or of the users in `among`.

    Call `of` with the engine's lock held. Its result has the events of that moment and needs no lock.
    """

    criteria: Criteria
    context: Context
    among: Among | None
    _days: tuple[_CapturedDay, ...] = field(repr=False)

    @classmethod
    def of(cls, criteria: Criteria, context: Context, among: BitMap | None = None) -> "Occurrences":
        """The events that meet the criteria now."""
        days = (
            _CapturedDay.of(event, partition, is_whole)
            for event, partition, is_whole in criteria.partitions()
            if among is None or partition.bitmap.intersect(among)
        )
        return cls(criteria, context, None if among is None else Among(among), tuple(days))

    @property
    def events(self) -> Sequence[Event]:
        """The events of the names that count."""
        return self.criteria.events

    @property
    def interval(self) -> Interval:
        """The interval that all the events lie in."""
        return self.criteria.interval

    @property
    def is_any(self) -> bool:
        """Whether every event in the interval counts."""
        return not self.criteria.needs_rows and not self.criteria.is_timed

    def until(self, instant_ms: int) -> "Occurrences":
        """The occurrences up to and including an instant."""
        end_ms = min(self.interval.end_ms, instant_ms + 1)
        days = (
            replace(day, is_whole=day.is_whole and day.end_ms <= end_ms) for day in self._days if day.start_ms < end_ms
        )
        return self._within(Interval(self.interval.start_ms, end_ms), days)

    def after(self, instant_ms: int) -> "Occurrences":
        """The occurrences after an instant."""
        start_ms = max(self.interval.start_ms, instant_ms + 1)
        days = (
            replace(day, is_whole=day.is_whole and day.start_ms >= start_ms)
            for day in self._days
            if day.end_ms > start_ms
        )
        return self._within(Interval(start_ms, self.interval.end_ms), days)

    def _within(self, interval: Interval, days: Iterable[_CapturedDay]) -> "Occurrences":
        return replace(self, criteria=replace(self.criteria, interval=interval), _days=tuple(days))

    def only(self, users: Among) -> "Occurrences":
        """The occurrences of some users only."""
        return replace(self, among=users if self.among is None else Among(self.among.bitmap & users.bitmap))

    def blocks(self) -> Iterator[MatchingEvents]:
        """The events partition by partition, those of one name in order of days; empty blocks are left out."""
        return filter(len, map(self._matching, self._days))

    def users(self) -> BitMap:
        """The users who did any of the events; the bitmap must not be changed."""
        return self.users_with(())

    def users_with(self, others: Iterable[BitMap]) -> BitMap:
        """The users who did any of the events or are in one of `others`, restricted to `among`."""
        bitmaps = list(others)
        runs: list[NDArray[np.uint32]] = []
        for day in self._days:
            if day.is_whole and not self.criteria.needs_rows:
                bitmaps.append(day.bitmap)
            else:
                runs.append(self._matching(day).users)
        if self.among is not None:
            bitmaps = [bitmap & self.among.bitmap for bitmap in bitmaps]
        return union([*bitmaps, from_runs(runs)] if runs else bitmaps)

    def gather(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Users and instants of all the events, sorted by user, then time; two arrays of shape (n,)."""
        blocks = list(self.blocks())
        if not blocks:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        users = np.concatenate([block.users for block in blocks])
        times_ms = np.concatenate([block.times_ms for block in blocks])
        order = np.argsort(sort_keys(users, times_ms), kind="stable")
        return users[order], times_ms[order]

    def _matching(self, day: _CapturedDay) -> MatchingEvents:
        """The events of a day that meet the criteria, the cheapest test first."""
        cancellation.check()
        criteria, among = self.criteria, self.among
        if among is not None and len(among.bitmap) < _MANY_USERS:
            users = day.bitmap & among.bitmap
            block = MatchingEvents(day.event, day.day, day.content.rows_of(to_array(users)), None, users)
        else:
            rows = day.content.rows()
            selection = None if among is None else _rows_among(rows.users, among.mask())
            block = MatchingEvents(day.event, day.day, rows, selection, day.bitmap)
        if not day.is_whole:
            block = block.narrowed(_within_interval(block, criteria.interval))
        if criteria.time_of_day is not None:
            clock_ms = self.context.calendar.time_of_day_ms(block.day, block.times_ms)
            block = block.narrowed(_within_clock(clock_ms, criteria.time_of_day))
        if criteria.where is not None and len(block):
            block = block.narrowed(_where_mask(criteria.where, block, self.context))
        return block


@dataclass(frozen=True, slots=True, eq=False)
class OccurrenceUsers:
    """The users who did any event that meets some criteria. Days that count whole are answered from their bitmaps.

    Call `of` with the engine's lock held; `users` needs no lock.
    """

    # Users of the days that count whole; a rollup stands for several days.
    _whole_days: tuple[BitMap, ...]
    # The other days, whose rows have to be tested.
    _others: Occurrences

    @classmethod
    def of(cls, criteria: Criteria, context: Context, among: BitMap | None = None) -> "OccurrenceUsers":
        """The users who did an event that meets the criteria; `among` restricts the users."""
        if criteria.needs_rows:
            return cls((), Occurrences.of(criteria, context, among))
        whole_days: dict[str, list[int]] = {event.name: [] for event in criteria.events}
        others: list[_CapturedDay] = []
        for event, partition, is_whole in criteria.partitions():
            if is_whole:
                whole_days[event.name].append(partition.day)
            elif among is None or partition.bitmap.intersect(among):
                others.append(_CapturedDay.of(event, partition, is_whole))
        bitmaps = (bitmap for event in criteria.events for bitmap in event.bitmaps(whole_days[event.name]))
        occurrences = Occurrences(criteria, context, None if among is None else Among(among), tuple(others))
        return cls(tuple(bitmaps), occurrences)

    def users(self) -> BitMap:
        """The users; the bitmap must not be changed."""
        return self._others.users_with(self._whole_days)


def _within_interval(block: MatchingEvents, interval: Interval) -> Mask:
    """Which events of a block lie in an interval."""
    start_ms = block.rows.start_ms
    # Offsets fit 32 bits, but an interval may begin or end far from the day.
    first = min(max(interval.start_ms - start_ms, 0), 2**31 - 1)
    end = min(max(interval.end_ms - start_ms, 0), 2**31 - 1)
    offsets_ms = block.offsets_ms
    return (offsets_ms >= first) & (offsets_ms < end)


def _rows_among(users: NDArray[np.uint32], is_among: Mask) -> NDArray[np.int64]:
    """The rows whose user is in a mask by dense id; `users` are the users of all rows, ascending."""
    end = np.searchsorted(users, len(is_among))
    return np.flatnonzero(is_among[users[:end]])


def sort_keys(users: NDArray[np.uint32], times_ms: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers in the order of users, then times; shape (n,).

    Sorting one number is much faster than sorting a pair. Ten million users leave 40 bits for the times, which is 34
    years of milliseconds; ranks replace instants that lie further apart.
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


def _where_mask(where: Condition, block: MatchingEvents, context: Context) -> Mask:
    """Which events of a block satisfy a `where`."""
    match where:
        case And(conditions):
            return reduce(np.logical_and, (_where_mask(part, block, context) for part in conditions))
        case Or(conditions):
            return reduce(np.logical_or, (_where_mask(part, block, context) for part in conditions))
        case Not(condition):
            return ~_where_mask(condition, block, context)
        case Comparison(name, predicate):
            column = block.column(name)
            if column is None:
                absent = isinstance(predicate, IsSet) and predicate.negated
                return np.full(len(block), absent)
            definition, data = column
            if definition.type not in predicates.fitting_types(predicate):
                return np.zeros(len(data), bool)
            return predicates.test(predicate, definition.type, data, definition.dictionary, context)
    raise TypeError(f"a `where` cannot contain {type(where).__name__}")
