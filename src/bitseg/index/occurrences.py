"""Which events a `did` speaks of: those of its names, its `where`, its time of day and its interval."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import from_day
from bitseg.index import predicates
from bitseg.index.bitmaps import from_array
from bitseg.index.context import Context
from bitseg.index.events import Event, Partition, Property
from bitseg.segment.nodes import And, Comparison, Condition, IsSet, Not, Or, TimeOfDay, Weekday
from bitseg.segment.windows import Interval

Mask = NDArray[np.bool_]

_WEEKDAYS = {day: number for number, day in enumerate(Weekday)}
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Block:
    """Events of one partition: all of its rows, or those that `mask` selects."""

    event: Event
    partition: Partition
    mask: Mask | None

    @property
    def users(self) -> NDArray[np.uint32]:
        """Dense ids, ascending, one an event."""
        return self._selected(self.partition.users)

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """Instants, one an event."""
        return self._selected(self.partition.times_ms)

    def column(self, name: str) -> tuple[Property, NDArray[Any]] | None:
        """A property and its values, one an event; None where no event of the day has it."""
        data = self.partition.column(name)
        return None if data is None else (self.event.properties[name], self._selected(data))

    def bitmap(self) -> BitMap:
        """The users, as a bitmap that must not be changed."""
        return self.partition.bitmap if self.mask is None else from_array(self.users)

    def _selected(self, data: NDArray[Any]) -> NDArray[Any]:
        return data if self.mask is None else data[self.mask]


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The events of some names that lie in an interval and satisfy what else is asked of each."""

    events: Sequence[Event]
    interval: Interval
    context: Context
    where: Condition | None = None
    time_of_day: TimeOfDay | None = None
    weekdays: tuple[Weekday, ...] = ()

    def blocks(self) -> Iterator[Block]:
        """The events partition by partition, those of one name in order of days; empty blocks are left out."""
        weekdays = {_WEEKDAYS[day] for day in self.weekdays}
        for event in self.events:
            for partition, whole in event.within(self.interval):
                if weekdays and from_day(partition.day).weekday() not in weekdays:
                    continue
                mask = None if whole else self._in_interval(partition.times_ms)
                if self.time_of_day is not None:
                    mask = _both(mask, self._in_time_of_day(partition, self.time_of_day))
                if self.where is not None:
                    mask = _both(mask, _where_mask(self.where, event, partition, self.context))
                if mask is None or mask.any():
                    yield Block(event, partition, mask)

    def users(self) -> BitMap:
        """The users who did any of the events."""
        found = [block.bitmap() for block in self.blocks()]
        return BitMap.union(*found) if found else BitMap()

    def gather(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Users and instants of all the events, by user, then time; two arrays of shape (n,)."""
        blocks = list(self.blocks())
        if not blocks:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        users = np.concatenate([block.users for block in blocks])
        times_ms = np.concatenate([block.times_ms for block in blocks])
        order = np.lexsort((times_ms, users))
        return users[order], times_ms[order]

    def matches(self, times_ms: NDArray[np.int64]) -> Mask:
        """Which of these instants satisfy time of day, weekdays and interval."""
        mask = self._in_interval(times_ms)
        if self.time_of_day is None and not self.weekdays:
            return mask
        days = self.context.calendar.days_of(times_ms)
        if self.weekdays:
            # 1970-01-01, day 0, was a Thursday.
            mask &= np.isin((days + 3) % 7, [_WEEKDAYS[day] for day in self.weekdays])
        if self.time_of_day is not None:
            for day in np.unique(days):
                rows = np.flatnonzero(days == day)
                clock_ms = self.context.calendar.time_of_day_ms(int(day), times_ms[rows])
                mask[rows] &= _within_clock(clock_ms, self.time_of_day)
        return mask

    def _in_interval(self, times_ms: NDArray[np.int64]) -> Mask:
        return (times_ms >= self.interval.start_ms) & (times_ms < self.interval.end_ms)

    def _in_time_of_day(self, partition: Partition, time_of_day: TimeOfDay) -> Mask:
        clock_ms = self.context.calendar.time_of_day_ms(partition.day, partition.times_ms)
        return _within_clock(clock_ms, time_of_day)


def _within_clock(clock_ms: NDArray[np.int64], time_of_day: TimeOfDay) -> Mask:
    start_ms, end_ms = time_of_day.start_minute * _MINUTE_MS, time_of_day.end_minute * _MINUTE_MS
    return (clock_ms >= start_ms) & (clock_ms < end_ms)


def _both(mask: Mask | None, other: Mask) -> Mask:
    return other if mask is None else mask & other


def _where_mask(where: Condition, event: Event, partition: Partition, context: Context) -> Mask:
    """Which rows of a partition satisfy a `where`."""
    match where:
        case And(conditions):
            return reduce(np.logical_and, (_where_mask(each, event, partition, context) for each in conditions))
        case Or(conditions):
            return reduce(np.logical_or, (_where_mask(each, event, partition, context) for each in conditions))
        case Not(condition):
            return ~_where_mask(condition, event, partition, context)
        case Comparison(name, predicate):
            data = partition.column(name)
            if data is None:
                absent = isinstance(predicate, IsSet) and predicate.negated
                return np.full(len(partition.users), absent)
            found = event.properties[name]
            if found.type not in predicates.fitting_types(predicate):
                return np.zeros(len(data), bool)
            return predicates.test(predicate, found.type, data, found.dictionary, context)
    raise TypeError(f"a where does not hold {type(where).__name__}")
