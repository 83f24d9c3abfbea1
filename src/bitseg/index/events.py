"""Events by name: a partition per day, and rollups, bitmaps of the users of several days."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import FIRST_DAY, FIRST_INSTANT_MS, LAST_DAY, LAST_INSTANT_MS, Calendar
from bitseg.index.bitmaps import from_array, from_mask, size_bytes, union
from bitseg.index.changes import ChangeLog
from bitseg.index.dictionary import CapturedDictionary
from bitseg.index.partitions import AppendedEvents, Content, Partition
from bitseg.index.partitions import Property as Property
from bitseg.index.runs import grouped
from bitseg.segment.windows import Interval
from bitseg.storage.snapshot import Part
from bitseg.values import Column, ValueType

# Days in one rollup, longest first; each number is a multiple of the next.
ROLLUP_DAYS = (32, 8)


class Days(Mapping[int, Partition]):
    """Partitions by day, in order of days. A day may be added before others at no extra cost."""

    def __init__(self) -> None:
        self._partitions: dict[int, Partition] = {}
        self._ordered: list[int] = []

    def __getitem__(self, day: int) -> Partition:
        return self._partitions[day]

    def __contains__(self, day: object) -> bool:
        return day in self._partitions

    def __iter__(self) -> Iterator[int]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)

    @property
    def newest(self) -> int | None:
        """The last day; None where there are no days."""
        return self._ordered[-1] if self._ordered else None

    def add(self, partition: Partition) -> None:
        """Add the partition of a day that has no partition yet."""
        self._partitions[partition.day] = partition
        insort(self._ordered, partition.day)

    def pop_before(self, day: int) -> list[Partition]:
        """Remove and return the partitions of all days before `day`."""
        old = self._ordered[: bisect_left(self._ordered, day)]
        self._ordered = self._ordered[len(old) :]
        return [self._partitions.pop(old_day) for old_day in old]

    def between(self, start: int, end: int) -> list[int]:
        """The days from `start` to before `end` that have a partition."""
        return self._ordered[bisect_left(self._ordered, start) : bisect_left(self._ordered, end)]

    def overlapping(self, interval: Interval) -> list[Partition]:
        """The partitions that have an instant of the interval, in order of days."""
        by_day = self._partitions
        first = bisect_right(self._ordered, interval.start_ms, key=lambda day: by_day[day].end_ms)
        last = bisect_left(self._ordered, interval.end_ms, key=lambda day: by_day[day].start_ms)
        return [by_day[day] for day in self._ordered[first:last]]


class Event:
    """All events of one name, by day.

    `revision` grows with every change, and `changes` has the users that each revision changed. All events lie between
    `first_ms` and `last_ms`, both included; `first_ms` is the larger before the first event.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.revision = 0
        self.properties: dict[str, Property] = {}
        self.partitions = Days()
        self.first_ms = LAST_INSTANT_MS
        self.last_ms = FIRST_INSTANT_MS
        self.total = 0
        self.changes = ChangeLog()
        # The highest revision of a day that was dropped: one that comes again has others, which no snapshot knows.
        self._dropped_revision = 0
        # By length and first day: the days that were united, and their users.
        self._rollups: dict[tuple[int, int], tuple[list[int], BitMap]] = {}

    @property
    def has_occurred(self) -> bool:
        """Whether any event of this name has ever arrived."""
        return self.first_ms <= self.last_ms

    def append(
        self,
        users: NDArray[np.uint32],
        timestamps_ms: NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
        calendar: Calendar,
    ) -> None:
        """Add events in order of arrival; all arrays have shape (n,), or (n, 2) for a geo property."""
        if not len(users):
            return
        first_ms, last_ms = int(timestamps_ms.min()), int(timestamps_ms.max())
        for day, rows in _by_day(calendar.days_of(timestamps_ms)):
            partition = self.partitions.get(day)
            if partition is None:
                partition = Partition(day, calendar, self.properties)
                partition.revision = self._dropped_revision
                self.partitions.add(partition)
            if day != self.partitions.newest:
                # The newest day is in no rollup.
                self._drop_rollups(day)
            offsets_ms = (timestamps_ms[rows] - partition.start_ms).astype(np.int32)
            appended = AppendedEvents(users[rows], offsets_ms, {name: data[rows] for name, data in columns.items()})
            partition.append(appended)
        self.first_ms = min(self.first_ms, first_ms)
        self.last_ms = max(self.last_ms, last_ms)
        self.total += len(users)
        self.revision += 1
        self.changes.add(self.revision, users, first_ms, last_ms, added_only=True)

    def remove(self, users: NDArray[np.uint32]) -> None:
        """Remove all events of some users."""
        gone = from_array(users)
        removed = 0
        for day, partition in self.partitions.items():
            count = partition.remove(gone)
            if count:
                removed += count
                self._drop_rollups(day)
        if removed:
            self.total -= removed
            self.revision += 1
            self.changes.add(self.revision, users, FIRST_INSTANT_MS, LAST_INSTANT_MS)

    def drop_before(self, day: int) -> int:
        """Remove all days before `day`; returns the number of events removed."""
        dropped = 0
        for partition in self.partitions.pop_before(day):
            self._drop_rollups(partition.day)
            self._dropped_revision = max(self._dropped_revision, partition.revision)
            partition.leave()
            dropped += len(partition)
        if dropped:
            self.total -= dropped
            self.revision += 1
            self.changes.forget(self.revision)
        return dropped

    def within(self, interval: Interval) -> Iterator[tuple[Partition, bool]]:
        """The partitions that overlap an interval, in order of days, and whether all events of each lie in it."""
        for partition in self.partitions.overlapping(interval):
            yield partition, partition.lies_in(interval)

    def bitmaps(self, days: list[int]) -> list[BitMap]:
        """As few bitmaps as rollups allow that together have the users of some days, given in ascending order.

        The bitmaps must not be changed. Call with the engine's lock held.
        """
        bitmaps: list[BitMap] = []
        wanted = set(days)
        # The newest day changes all the time, so a rollup of it would never last.
        newest = self.partitions.newest or 0
        place = 0
        while place < len(days):
            day = days[place]
            for length in ROLLUP_DAYS:
                first = day - day % length
                united = self.partitions.between(first, min(first + length, newest))
                if len(united) < 2 or day != united[0] or not wanted.issuperset(united):
                    continue
                bitmaps.append(self._rollup(length, first, united))
                place += len(united)
                break
            else:
                bitmaps.append(self.partitions[day].bitmap)
                place += 1
        return bitmaps

    def _rollup(self, length: int, first: int, days: list[int]) -> BitMap:
        """The rollup of the `length` days from day `first` that have events; rebuilt if a day was added."""
        united, rollup = self._rollups.get((length, first), ([], BitMap()))
        if united != days:
            rollup = union([self.partitions[day].bitmap for day in days])
            self._rollups[length, first] = (days, rollup)
        return rollup

    def _drop_rollups(self, day: int) -> None:
        for length in ROLLUP_DAYS:
            self._rollups.pop((length, day - day % length), None)

    def prepare(self) -> None:
        """Merge all tails and build all rollups, so that no query has to."""
        for partition in self.partitions.values():
            partition.prepare()
        self.bitmaps(list(self.partitions))
        for day in self.partitions:
            self.bitmaps(self.partitions.between(day - day % ROLLUP_DAYS[-1], day + 1))

    @property
    def size_bytes(self) -> int:
        """Bytes of memory, with bitmaps and rollups and without dictionaries."""
        return sum(partition.size_bytes for partition in self.partitions.values()) + sum(
            size_bytes(rollup) for _, rollup in self._rollups.values()
        )

    # Snapshots

    def description(self) -> dict[str, Any]:
        """The name, the bounds, and the properties with their types, as plain values for a snapshot."""
        return {
            "name": self.name,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "properties": [
                [name, definition.type.value, definition.declared] for name, definition in self.properties.items()
            ],
        }

    @classmethod
    def described(cls, state: Any) -> "Event":
        """The event of a description, before its dictionaries and days are restored; ValueError for anything else."""
        match state:
            case {
                "name": str(name),
                "first_ms": int(first_ms),
                "last_ms": int(last_ms),
                "properties": list(properties),
            }:
                event = cls(name)
            case _:
                raise ValueError("an event is not a name, bounds and properties")
        event.first_ms, event.last_ms = first_ms, last_ms
        for each in properties:
            match each:
                case [str(name), str(type_name), bool(declared)]:
                    event.properties[name] = Property(ValueType(type_name), declared=declared)
                case _:
                    raise ValueError("a property is not a name, a type and whether it was declared")
        return event

    def capture(self) -> "CapturedEvent":
        """A view of the events that later changes do not affect."""
        dictionaries = {
            name: definition.dictionary.capture()
            for name, definition in self.properties.items()
            if definition.dictionary is not None
        }
        days = {day: (partition.revision, partition.content()) for day, partition in self.partitions.items()}
        types = {name: definition.type for name, definition in self.properties.items()}
        return CapturedEvent(self.name, types, dictionaries, days)

    def restore(self, day: int, state: Any, revision: int, calendar: Calendar, total: int) -> None:
        """Take back one day of a snapshot, of a directory of `total` users; ValueError for anything else."""
        if not FIRST_DAY <= day <= LAST_DAY or day in self.partitions:
            raise ValueError(f"day {day} is out of range or appears twice")
        partition = Partition(day, calendar, self.properties)
        partition.restore(state, revision, total)
        self.partitions.add(partition)
        self.total += len(partition)

    def faults(self, everyone: BitMap) -> list[str]:
        """Differences between the bitmaps and the columns, one sentence each."""
        faults = [
            f"event {self.name!r}, {fault}"
            for partition in self.partitions.values()
            for fault in partition.faults(everyone)
        ]
        for (length, first), (days, rollup) in self._rollups.items():
            if rollup != union([self.partitions[day].bitmap for day in days]):
                faults.append(f"event {self.name!r}: the rollup of {length} days from day {first} differs")
        return faults


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """An event at one moment: types and dictionaries by property, revisions and contents by day."""

    name: str
    types: Mapping[str, ValueType]
    dictionaries: Mapping[str, CapturedDictionary]
    days: Mapping[int, tuple[int, Content]]

    def find_unused(self, name: str) -> BitMap:
        """The suspect codes of a property's dictionary that no event has."""
        dictionary = self.dictionaries[name]
        if not dictionary.suspects:
            return BitMap()
        is_used = np.zeros(dictionary.length, bool)
        for _, content in self.days.values():
            column = content.rows().columns.get(name)
            if column is not None:
                is_used[column.data[column.data >= 0]] = True
        return dictionary.suspects - from_mask(is_used)

    def columns(self) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64], dict[str, Column]]]:
        """Users, times and properties of all events, day by day, sorted by user and time within each day."""
        for _, content in self.days.values():
            rows = content.rows()
            values = {
                name: Column(
                    self.types[name],
                    packed.values(),
                    self.dictionaries[name].dictionary.entries if name in self.dictionaries else (),
                )
                for name, packed in rows.columns.items()
            }
            yield rows.users, rows.start_ms + rows.offsets_ms.astype(np.int64), values

    def parts(self, unused: Mapping[str, BitMap]) -> Iterator[Part]:
        """The parts for a snapshot, without the dictionary entries of `unused` codes by property."""
        for name, dictionary in self.dictionaries.items():
            yield from dictionary.parts(("entries", self.name, name), unused[name])
        for day, (revision, content) in self.days.items():
            yield Part(("events", self.name, day), revision, content.state)


def _by_day(days: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The days, ascending, with the rows of each day in order of arrival."""
    first, last = int(days.min()), int(days.max())
    rows = np.arange(len(days))
    if first == last:
        yield first, rows
        return
    keys = (days - first).astype(np.uint16) if last - first < 65_536 else days - first
    for key, rows_of_day in grouped(keys, rows):
        yield first + key, rows_of_day
