"""Events by name and day: sorted columns and the bitmap of users who did the event that day."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import FIRST_DAY, FIRST_INSTANT_MS, LAST_DAY, LAST_INSTANT_MS, Calendar
from bitseg.index.bitmaps import from_array, from_mask, size_bytes, to_array, union
from bitseg.index.changes import ChangeLog
from bitseg.index.dictionary import CapturedDictionary, Dictionary
from bitseg.index.packing import Packed, pack, unpacked
from bitseg.index.runs import grouped
from bitseg.segment.windows import Interval
from bitseg.storage.snapshot import Part
from bitseg.values import DICTIONARY_TYPES, Column, ValueType, empty

# Days that one rollup covers, longest first; each is a multiple of the next.
ROLLUP_DAYS = (32, 8)
# Appended events are merged by whoever reads them, or when they are so many and so many times what there was before.
_SMALLEST_MERGE = 16_384
_MERGE_RATIO = 4
# Smaller blocks of appended events are put together once there are so many.
_MOST_BLOCKS = 64
# Bits for milliseconds of a day, 25-hour days included, below the user in a sort key.
_OFFSET_BITS = np.uint64(27)


class Property:
    """One property of one event name: its type, fixed by a declaration or by its first value, and its dictionary."""

    def __init__(self, value_type: ValueType, *, declared: bool = False) -> None:
        self.type = value_type
        self.declared = declared
        self.dictionary = Dictionary() if value_type in DICTIONARY_TYPES else None


@dataclass(frozen=True, slots=True)
class Rows:
    """Events of one partition, sorted by user, then time, then arrival. The arrays are never changed.

    `users` are dense ids, `offsets_ms` milliseconds after the day began, both of shape (n,); `columns` holds a column
    per property that any of the events has.
    """

    start_ms: int
    users: NDArray[np.uint32]
    offsets_ms: NDArray[np.int32]
    columns: Mapping[str, Packed]

    def __len__(self) -> int:
        return len(self.users)

    def taken(self, places: NDArray[np.int64]) -> "Rows":
        """Some of the rows, by ascending place."""
        columns = {name: replace(each, data=each.data[places]) for name, each in self.columns.items()}
        return Rows(self.start_ms, self.users[places], self.offsets_ms[places], columns)

    @property
    def size_bytes(self) -> int:
        """What the arrays take in memory."""
        return self.users.nbytes + self.offsets_ms.nbytes + sum(each.data.nbytes for each in self.columns.values())


Block = tuple[NDArray[np.uint32], NDArray[np.int32], dict[str, NDArray[Any]]]


class Content:
    """What a partition holds at a moment: sorted rows and what was appended since. Neither is ever changed."""

    def __init__(self, partition: "Partition", rows: Rows, tail: tuple[Block, ...]) -> None:
        self._partition = partition
        self._sorted = rows
        self._tail = tail

    def rows(self) -> Rows:
        """All of it sorted; the partition takes the work over for others, whatever it got meanwhile."""
        if self._tail:
            merged = _merged(self._sorted, self._tail, self._partition.properties)
            self._partition.offer(self._sorted, len(self._tail), merged)
            self._sorted, self._tail = merged, ()
        return self._sorted

    def rows_of(self, users: NDArray[np.uint32]) -> Rows:
        """The events of a few users, given ascending; what was appended stays as it is, however much that is."""
        found = self._sorted.taken(_places(self._sorted.users, users))
        blocks: list[Block] = []
        for tail_users, offsets_ms, columns in self._tail:
            rows = np.flatnonzero(np.isin(tail_users, users))
            if len(rows):
                blocks.append(
                    (tail_users[rows], offsets_ms[rows], {name: each[rows] for name, each in columns.items()})
                )
        return _merged(found, blocks, self._partition.properties) if blocks else found

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        rows = self.rows()
        columns = {name: {"data": each.data, "scale": each.scale} for name, each in rows.columns.items()}
        return {"users": rows.users, "offsets_ms": rows.offsets_ms, "columns": columns}


class Partition:
    """The events of one name on one day.

    `content` has them and `bitmap` the users; what they return is never changed, so that whoever holds it may go on
    reading while others append.
    """

    def __init__(self, day: int, calendar: Calendar, properties: Mapping[str, Property]) -> None:
        self.day = day
        # Grows with every change.
        self.revision = 0
        self.start_ms = calendar.day_start_ms(day)
        self.end_ms = calendar.day_start_ms(day + 1)
        self.properties = properties
        # Bounds of the events there are, in milliseconds after the day began; both included.
        self._first_offset_ms = self.end_ms - self.start_ms
        self._last_offset_ms = -1
        self._rows = Rows(self.start_ms, np.empty(0, np.uint32), np.empty(0, np.int32), {})
        self._tail: list[Block] = []
        self._tail_length = 0
        self._bitmap = BitMap()
        # How many blocks of the tail the bitmap has.
        self._bitmap_blocks = 0
        self._offered: tuple[Rows, int, Rows] | None = None

    def __len__(self) -> int:
        """How many events there are."""
        self._adopt()
        return len(self._rows) + self._tail_length

    @property
    def size_bytes(self) -> int:
        """What the events take in memory, bitmap included."""
        return self.content().rows().size_bytes + size_bytes(self.bitmap)

    def content(self) -> Content:
        """The events as they are now; to be asked for while nobody appends."""
        self._adopt()
        return Content(self, self._rows, tuple(self._tail))

    @property
    def bitmap(self) -> BitMap:
        """The users; the bitmap must not be changed."""
        self._adopt()
        if self._bitmap_blocks < len(self._tail):
            fresh = self._tail[self._bitmap_blocks :]
            users = fresh[0][0] if len(fresh) == 1 else np.concatenate([block[0] for block in fresh])
            self._bitmap = union([self._bitmap, from_array(users)])
            self._bitmap_blocks = len(self._tail)
        return self._bitmap

    def append(
        self, users: NDArray[np.uint32], offsets_ms: NDArray[np.int32], columns: dict[str, NDArray[Any]]
    ) -> None:
        """Add events; the arrays have one item an event."""
        self._adopt()
        self.revision += 1
        self._tail.append((users, offsets_ms, columns))
        self._tail_length += len(users)
        self._note_bounds(offsets_ms)
        if self._tail_length >= max(_SMALLEST_MERGE, _MERGE_RATIO * len(self._rows)):
            self._merge()
        elif len(self._tail) > _MOST_BLOCKS:
            self._join_blocks()

    def offer(self, before: Rows, blocks: int, merged: Rows) -> None:
        """Offer what came of merging the first blocks of the tail into rows; taken over when it is safe."""
        self._offered = (before, blocks, merged)

    def lies_in(self, interval: Interval) -> bool:
        """Whether every event is in an interval."""
        first_ms, last_ms = self.start_ms + self._first_offset_ms, self.start_ms + self._last_offset_ms
        return interval.start_ms <= first_ms and last_ms < interval.end_ms

    def remove(self, users: BitMap) -> int:
        """Forget the events of users; how many there were."""
        gone = self.bitmap & users
        if not gone:
            return 0
        self._merge()
        self.revision += 1
        rows = self._rows
        keep = np.isin(rows.users, to_array(gone), invert=True)
        self._suspect(~keep)
        columns = {name: packed.values(keep) for name, packed in rows.columns.items()}
        self._rows = _packed(self.start_ms, rows.users[keep], rows.offsets_ms[keep], columns, self.properties)
        self._bitmap = self._bitmap - gone
        return len(keep) - len(self._rows)

    def leave(self) -> None:
        """Let go of the texts of a partition that goes away."""
        self._merge()
        self._suspect(slice(None))

    def _suspect(self, rows: Any) -> None:
        for name, packed in self._rows.columns.items():
            dictionary = self.properties[name].dictionary
            if dictionary is not None:
                dictionary.suspect(packed.data[rows])

    def prepare(self) -> None:
        """Do now what readers would do."""
        self._merge()
        # Made at once, its containers lie side by side, which what was put together bit by bit does not.
        self._bitmap = from_array(self._rows.users)

    def _adopt(self) -> None:
        """Take over what a reader has merged, if it is still what there is to merge."""
        if self._offered is None:
            return
        before, blocks, merged = self._offered
        self._offered = None
        if before is self._rows and blocks <= len(self._tail):
            held = self.bitmap
            self._rows = merged
            self._tail = self._tail[blocks:]
            self._tail_length = sum(len(block[0]) for block in self._tail)
            self._bitmap, self._bitmap_blocks = held, len(self._tail)

    def _merge(self) -> None:
        held = self.bitmap
        self._rows = self.content().rows()
        self._bitmap = held
        self._offered = None
        self._tail, self._tail_length, self._bitmap_blocks = [], 0, 0

    def _join_blocks(self) -> None:
        """Put the small blocks at the end of the tail together, so that small batches take no more than large ones."""
        held = self.bitmap
        place = len(self._tail)
        while place and len(self._tail[place - 1][0]) < _SMALLEST_MERGE:
            place -= 1
        if len(self._tail) - place > 1:
            self._tail[place:] = [_joined(self._tail[place:], self.properties)]
            # What a reader merges meanwhile has other blocks.
            self._rows = replace(self._rows)
        self._bitmap, self._bitmap_blocks = held, len(self._tail)

    def _note_bounds(self, offsets_ms: NDArray[np.int32]) -> None:
        self._first_offset_ms = min(self._first_offset_ms, int(offsets_ms.min(initial=self._first_offset_ms)))
        self._last_offset_ms = max(self._last_offset_ms, int(offsets_ms.max(initial=-1)))

    def restore(self, state: Mapping[str, Any], revision: int) -> None:
        """Take back what a snapshot has; ValueError where it cannot be."""
        users, offsets_ms = state["users"], state["offsets_ms"]
        if users.dtype != np.uint32 or offsets_ms.dtype != np.int32 or users.shape != offsets_ms.shape:
            raise ValueError("the events have no users or times")
        if len(users) and not 0 <= offsets_ms.min() <= offsets_ms.max() < self.end_ms - self.start_ms:
            raise ValueError("events are not of the day")
        keys = _keys(users, offsets_ms)
        if (keys[1:] < keys[:-1]).any():
            raise ValueError("the events are out of order")
        columns: dict[str, Packed] = {}
        for name, each in state["columns"].items():
            found = self.properties[name]
            columns[name] = unpacked(found.type, each["data"], each["scale"])
            if len(each["data"]) != len(users):
                raise ValueError(f"the property {name!r} has another length")
            low, high = each["data"].min(initial=-1), each["data"].max(initial=-1)
            if found.dictionary is not None and not -1 <= low <= high < len(found.dictionary):
                raise ValueError(f"values of {name!r} are not in its dictionary")
        self.revision = revision
        self._rows = Rows(self.start_ms, users, offsets_ms, columns)
        self._note_bounds(offsets_ms)
        self._bitmap = from_array(users)

    def faults(self, everyone: BitMap) -> list[str]:
        """What of the bitmap is not what the column of users says."""
        users = from_array(self.content().rows().users)
        found = [] if users == self.bitmap else [f"day {self.day}: {len(users ^ self.bitmap):,} users differ"]
        strangers = users - everyone
        return found + ([f"day {self.day}: {len(strangers):,} users do not exist"] if strangers else [])


def _merged(before: Rows, tail: Sequence[Block], properties: Mapping[str, Property]) -> Rows:
    """Rows and appended blocks in one, the blocks' events after those of equal user and time."""
    users, offsets_ms, columns = _joined(tail, properties)
    order = np.argsort(_keys(users, offsets_ms), kind="stable")
    users, offsets_ms = users[order], offsets_ms[order]
    columns = {name: data[order] for name, data in columns.items()}
    if len(before):
        keys = _keys(before.users, before.offsets_ms)
        places = np.searchsorted(keys, _keys(users, offsets_ms), side="right") + np.arange(len(users))
        is_tail = np.zeros(len(before) + len(users), bool)
        is_tail[places] = True
        for name in dict.fromkeys([*before.columns, *columns]):
            value_type = properties[name].type
            packed, data = before.columns.get(name), columns.get(name)
            columns[name] = _interleaved(
                empty(value_type, len(before)) if packed is None else packed.values(),
                empty(value_type, len(users)) if data is None else data,
                is_tail,
            )
        users = _interleaved(before.users, users, is_tail)
        offsets_ms = _interleaved(before.offsets_ms, offsets_ms, is_tail)
    return _packed(before.start_ms, users, offsets_ms, columns, properties)


def _joined(blocks: Sequence[Block], properties: Mapping[str, Property]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    names = dict.fromkeys(name for _, _, columns in blocks for name in columns)
    return (
        np.concatenate([users for users, _, _ in blocks]),
        np.concatenate([offsets_ms for _, offsets_ms, _ in blocks]),
        {
            name: np.concatenate(
                [
                    columns[name] if name in columns else empty(properties[name].type, len(users))
                    for users, _, columns in blocks
                ]
            )
            for name in names
        },
    )


def _packed(
    start_ms: int,
    users: NDArray[np.uint32],
    offsets_ms: NDArray[np.int32],
    columns: Mapping[str, NDArray[Any]],
    properties: Mapping[str, Property],
) -> Rows:
    packed = {name: pack(properties[name].type, data) for name, data in columns.items()}
    return Rows(start_ms, users, offsets_ms, packed)


def _places(users: NDArray[np.uint32], wanted: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The places, ascending, that some users have in an array of users; both ascend."""
    first = np.searchsorted(users, wanted, side="left")
    counts = np.searchsorted(users, wanted, side="right") - first
    if (counts == 1).all():
        return first
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())


def _keys(users: NDArray[np.uint32], offsets_ms: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Numbers in the order of users, then times."""
    return (users.astype(np.uint64) << _OFFSET_BITS) | offsets_ms.astype(np.uint64)


def _interleaved(before: NDArray[Any], tail: NDArray[Any], is_tail: NDArray[np.bool_]) -> NDArray[Any]:
    both = np.empty((len(is_tail), *before.shape[1:]), np.result_type(before, tail))
    both[is_tail] = tail
    both[~is_tail] = before
    return both


class Event:
    """All events of one name. `revision` grows with every change; the first and last instants bound what is held.

    `changes` tells who changed with which revision.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.revision = 0
        self.properties: dict[str, Property] = {}
        self.partitions: dict[int, Partition] = {}
        self.first_ms = LAST_INSTANT_MS
        self.last_ms = FIRST_INSTANT_MS
        self.total = 0
        self.changes = ChangeLog()
        # By length and first day: the days that have a part in it, and the users.
        self._rollups: dict[tuple[int, int], tuple[list[int], BitMap]] = {}

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
        first_ms, last_ms = int(timestamps_ms.min()), int(timestamps_ms.max())
        for day, rows in _by_day(calendar.days_of(timestamps_ms)):
            partition = self.partitions.get(day)
            if partition is None:
                partition = self.partitions[day] = Partition(day, calendar, self.properties)
                self.partitions = dict(sorted(self.partitions.items()))
            offsets_ms = (timestamps_ms[rows] - partition.start_ms).astype(np.int32)
            partition.append(users[rows], offsets_ms, {name: data[rows] for name, data in columns.items()})
            if day != next(reversed(self.partitions)):
                # The newest day is in no rollup.
                self._drop_rollups(day)
        self.first_ms = min(self.first_ms, first_ms)
        self.last_ms = max(self.last_ms, last_ms)
        self.total += len(users)
        self.revision += 1
        self.changes.add(self.revision, users, first_ms, last_ms, added_only=True)

    def remove(self, users: NDArray[np.uint32]) -> None:
        """Forget the events of users."""
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
        """Forget whole days before `day`; how many events went."""
        old = [each for each in self.partitions if each < day]
        dropped = 0
        for each in old:
            partition = self.partitions.pop(each)
            partition.leave()
            dropped += len(partition)
        if dropped:
            for each in old:
                self._drop_rollups(each)
            self.total -= dropped
            self.revision += 1
            self.changes.forget(self.revision)
        return dropped

    def within(self, interval: Interval) -> Iterator[tuple[Partition, bool]]:
        """The partitions that overlap an interval, in order of days, and whether each lies in it whole."""
        for partition in self.partitions.values():
            if partition.start_ms >= interval.end_ms:
                return
            if partition.end_ms > interval.start_ms:
                yield partition, partition.lies_in(interval)

    def bitmaps(self, days: list[int]) -> list[BitMap]:
        """Bitmaps that together have the users of some ascending days, as few as rollups allow."""
        found: list[BitMap] = []
        wanted = set(days)
        newest = next(reversed(self.partitions), 0)
        place = 0
        while place < len(days):
            day = days[place]
            for length in ROLLUP_DAYS:
                first = day - day % length
                # The newest day changes all the time, and is not worth rolling up.
                block = [each for each in range(first, min(first + length, newest)) if each in self.partitions]
                if len(block) < 2 or day != block[0] or not wanted.issuperset(block):
                    continue
                found.append(self._rollup(length, first, block))
                place += len(block)
                break
            else:
                found.append(self.partitions[day].bitmap)
                place += 1
        return found

    def _rollup(self, length: int, first: int, days: list[int]) -> BitMap:
        held, rollup = self._rollups.get((length, first), ([], BitMap()))
        if held != days:
            rollup = union([self.partitions[day].bitmap for day in days])
            self._rollups[length, first] = (days, rollup)
        return rollup

    def _drop_rollups(self, day: int) -> None:
        for length in ROLLUP_DAYS:
            self._rollups.pop((length, day - day % length), None)

    def prepare(self) -> None:
        """Merge all tails and build all rollups, which else happens when they are first asked for."""
        for partition in self.partitions.values():
            partition.prepare()
        self.bitmaps(list(self.partitions))
        for day in self.partitions:
            self.bitmaps([each for each in range(day - day % ROLLUP_DAYS[-1], day + 1) if each in self.partitions])

    @property
    def size_bytes(self) -> int:
        """What the events take in memory, bitmaps and rollups included, dictionaries apart."""
        return sum(each.size_bytes for each in self.partitions.values()) + sum(
            size_bytes(rollup) for _, rollup in self._rollups.values()
        )

    # Snapshots

    def description(self) -> dict[str, Any]:
        """The name, the bounds, and the properties with their types, as plain values."""
        return {
            "name": self.name,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "properties": [[name, each.type.value, each.declared] for name, each in self.properties.items()],
        }

    @classmethod
    def described(cls, state: Mapping[str, Any]) -> "Event":
        """The event of a description, before its dictionaries and days are restored."""
        event = cls(state["name"])
        event.first_ms, event.last_ms = state["first_ms"], state["last_ms"]
        for name, value_type, declared in state["properties"]:
            event.properties[name] = Property(ValueType(value_type), declared=declared)
        return event

    def capture(self) -> "CapturedEvent":
        """The events as they are."""
        dictionaries = {
            name: each.dictionary.capture() for name, each in self.properties.items() if each.dictionary is not None
        }
        days = {day: (each.revision, each.content()) for day, each in self.partitions.items()}
        types = {name: each.type for name, each in self.properties.items()}
        return CapturedEvent(self.name, types, dictionaries, days)

    def restore(self, day: int, state: Mapping[str, Any], revision: int, calendar: Calendar) -> None:
        """Take back one day of a snapshot."""
        if not FIRST_DAY <= day <= LAST_DAY or day in self.partitions:
            raise ValueError(f"there is no day {day}, or it was there before")
        partition = Partition(day, calendar, self.properties)
        partition.restore(state, revision)
        self.partitions[day] = partition
        self.total += len(partition)

    def faults(self, everyone: BitMap) -> list[str]:
        """What of the bitmaps is not what the columns say."""
        found = [f"event {self.name!r}, {each}" for day in self.partitions.values() for each in day.faults(everyone)]
        for (length, first), (days, rollup) in self._rollups.items():
            if rollup != union([self.partitions[day].bitmap for day in days]):
                found.append(f"event {self.name!r}: the rollup of {length} days from day {first} differs")
        return found


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """What an event was at a moment: types and dictionaries by property, and by day the revision and the events."""

    name: str
    types: Mapping[str, ValueType]
    dictionaries: Mapping[str, CapturedDictionary]
    days: Mapping[int, tuple[int, Content]]

    def find_unused(self, name: str) -> BitMap:
        """The suspects of a property's dictionary that no event has."""
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
        """Users, times and properties of all events, day by day, by user and time within."""
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
        """The parts for a snapshot, without the entries of codes that are unused, by property."""
        for name, dictionary in self.dictionaries.items():
            yield from dictionary.parts(("entries", self.name, name), unused[name])
        for day, (revision, content) in self.days.items():
            yield Part(("events", self.name, day), revision, content.state)


def _by_day(days: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each day and its rows, in order of arrival."""
    first, last = int(days.min()), int(days.max())
    rows = np.arange(len(days))
    if first == last:
        yield first, rows
        return
    keys = (days - first).astype(np.uint16) if last - first < 65_536 else days - first
    for key, found in grouped(keys, rows):
        yield first + key, found
