"""Events by name and day: sorted columns and the bitmap of users who did the event that day."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar
from bitseg.index.attributes import entries_from_state
from bitseg.index.bitmaps import from_array, to_array
from bitseg.index.dictionary import Dictionary
from bitseg.segment.windows import Interval
from bitseg.values import DICTIONARY_TYPES, ValueType, empty

MAX_EVENT_NAMES = 5_000
MAX_PROPERTIES = 500


class Property:
    """One property of one event name: its type, fixed by a declaration or by its first value, and its dictionary."""

    def __init__(self, value_type: ValueType, *, declared: bool = False) -> None:
        self.type = value_type
        self.declared = declared
        self.dictionary = Dictionary() if value_type in DICTIONARY_TYPES else None


class Partition:
    """The events of one name on one day.

    Arrays have one item an event, sorted by user, then time, then arrival: `users` dense ids, `offsets_ms`
    milliseconds after the day began, and a column per property that any of them has. Appended events wait in a tail
    that the next reader merges. `bitmap` holds the users; each change puts a fresh one in its place.
    """

    def __init__(self, day: int, calendar: Calendar, properties: Mapping[str, Property]) -> None:
        self.day = day
        self.start_ms = calendar.day_start_ms(day)
        self.end_ms = calendar.day_start_ms(day + 1)
        self.bitmap = BitMap()
        self._users = np.empty(0, np.uint32)
        self._offsets_ms = np.empty(0, np.int32)
        self._columns: dict[str, NDArray[Any]] = {}
        self._properties = properties
        self._tail: list[tuple[NDArray[np.uint32], NDArray[np.int32], dict[str, NDArray[Any]]]] = []

    def append(
        self, users: NDArray[np.uint32], offsets_ms: NDArray[np.int32], columns: dict[str, NDArray[Any]]
    ) -> None:
        """Add events; the arrays have one item an event."""
        self._tail.append((users, offsets_ms, columns))
        self.bitmap = self.bitmap | from_array(users)

    def remove(self, users: BitMap) -> int:
        """Forget the events of users; how many there were."""
        gone = self.bitmap & users
        if not gone:
            return 0
        self._merge()
        keep = np.isin(self._users, to_array(gone), invert=True)
        removed = len(keep) - int(np.count_nonzero(keep))
        self._take(keep)
        self.bitmap = self.bitmap - gone
        return removed

    @property
    def users(self) -> NDArray[np.uint32]:
        self._merge()
        return self._users

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """Instants of the events."""
        self._merge()
        return self._offsets_ms.astype(np.int64) + self.start_ms

    def column(self, name: str) -> NDArray[Any] | None:
        """Values of a property, or None where no event of the day has it."""
        self._merge()
        return self._columns.get(name)

    def _merge(self) -> None:
        if not self._tail:
            return
        blocks = [(self._users, self._offsets_ms, self._columns), *self._tail]
        self._tail = []
        self._users = np.concatenate([block[0] for block in blocks])
        self._offsets_ms = np.concatenate([block[1] for block in blocks])
        self._columns = {
            name: np.concatenate([self._padded(name, columns, len(users)) for users, _, columns in blocks])
            for name in dict.fromkeys(name for block in blocks for name in block[2])
        }
        self._take(np.lexsort((self._offsets_ms, self._users)))

    def _padded(self, name: str, columns: Mapping[str, NDArray[Any]], length: int) -> NDArray[Any]:
        data = columns.get(name)
        return empty(self._properties[name].type, length) if data is None else data

    def _take(self, rows: NDArray[Any]) -> None:
        self._users = self._users[rows]
        self._offsets_ms = self._offsets_ms[rows]
        self._columns = {name: data[rows] for name, data in self._columns.items()}

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        self._merge()
        return {
            "day": self.day,
            "users": self._users,
            "offsets_ms": self._offsets_ms,
            "columns": self._columns,
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], calendar: Calendar, properties: Mapping[str, Property]
    ) -> "Partition":
        partition = cls(state["day"], calendar, properties)
        partition._users = state["users"]
        partition._offsets_ms = state["offsets_ms"]
        partition._columns = dict(state["columns"])
        partition.bitmap = from_array(partition._users)
        return partition


class Event:
    """All events of one name. `revision` grows with every change; the first and last instants bound what is held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.revision = 0
        self.properties: dict[str, Property] = {}
        self.partitions: dict[int, Partition] = {}
        self.first_ms = LAST_INSTANT_MS
        self.last_ms = FIRST_INSTANT_MS
        self.total = 0

    @property
    def has_occurred(self) -> bool:
        """Whether any event of the name has ever arrived."""
        return self.first_ms <= self.last_ms

    def append(
        self,
        users: NDArray[np.uint32],
        timestamps_ms: NDArray[np.int64],
        columns: dict[str, NDArray[Any]],
        calendar: Calendar,
    ) -> None:
        """Add events, in order of arrival; every array has one item an event."""
        if not len(users):
            return
        days = calendar.days_of(timestamps_ms)
        order = np.argsort(days, kind="stable")
        ordered = days[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        for rows in np.split(order, starts[1:]):
            day = int(days[rows[0]])
            partition = self.partitions.get(day)
            if partition is None:
                partition = self.partitions[day] = Partition(day, calendar, self.properties)
                self.partitions = dict(sorted(self.partitions.items()))
            offsets_ms = (timestamps_ms[rows] - partition.start_ms).astype(np.int32)
            partition.append(users[rows], offsets_ms, {name: data[rows] for name, data in columns.items()})
        self.first_ms = min(self.first_ms, int(timestamps_ms.min()))
        self.last_ms = max(self.last_ms, int(timestamps_ms.max()))
        self.total += len(users)
        self.revision += 1

    def remove(self, users: NDArray[np.uint32]) -> None:
        """Forget the events of users."""
        gone = from_array(users)
        removed = sum(partition.remove(gone) for partition in self.partitions.values())
        if removed:
            self.total -= removed
            self.revision += 1

    def drop_before(self, day: int) -> int:
        """Forget whole days before `day`; how many events went."""
        old = [each for each in self.partitions if each < day]
        dropped = sum(len(self.partitions.pop(each).users) for each in old)
        if dropped:
            self.total -= dropped
            self.revision += 1
        return dropped

    def within(self, interval: Interval) -> Iterator[tuple[Partition, bool]]:
        """The partitions that overlap an interval, in order of days, and whether each lies in it whole."""
        for partition in self.partitions.values():
            if partition.start_ms >= interval.end_ms:
                return
            if partition.end_ms > interval.start_ms:
                yield partition, partition.start_ms >= interval.start_ms and partition.end_ms <= interval.end_ms

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        return {
            "name": self.name,
            "properties": {
                name: {
                    "type": each.type.value,
                    "declared": each.declared,
                    "entries": each.dictionary.entries if each.dictionary else [],
                }
                for name, each in self.properties.items()
            },
            "partitions": [partition.state() for partition in self.partitions.values()],
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], calendar: Calendar) -> "Event":
        event = cls(state["name"])
        for name, each in state["properties"].items():
            found = event.properties[name] = Property(ValueType(each["type"]), declared=each["declared"])
            if found.dictionary is not None:
                found.dictionary = Dictionary(entries_from_state(found.type, each["entries"]))
        for each in state["partitions"]:
            partition = Partition.from_state(each, calendar, event.properties)
            event.partitions[partition.day] = partition
            event.total += len(partition.users)
        event.first_ms, event.last_ms = state["first_ms"], state["last_ms"]
        return event
