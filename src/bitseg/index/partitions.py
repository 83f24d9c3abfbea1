"""One day of one event: sorted rows, the events appended since they were sorted, and the bitmap of the users.

The state of a partition is one immutable object, replaced in a single assignment. So an interrupt at any point (Ctrl-C,
MemoryError) leaves either the state before a change or the state after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import Calendar
from bitseg.index.bitmaps import from_array, size_bytes, to_array, union
from bitseg.index.dictionary import Dictionary
from bitseg.index.packing import Packed, pack, unpacked
from bitseg.segment.windows import Interval
from bitseg.values import DICTIONARY_TYPES, ValueType, empty

# A writer merges the tail into the rows once the tail has this many events and `_MERGE_RATIO` times as many as the
# rows. Until then, readers merge it.
_SMALLEST_MERGE = 16_384
_MERGE_RATIO = 4
# Small blocks are joined when the tail has more blocks than this.
_MOST_BLOCKS = 64
# Bits for the milliseconds of a day, 25-hour days included, below the user in a sort key.
_OFFSET_BITS = np.uint64(27)


class Property:
    """One property of one event name: its type, fixed by a declaration or by its first value, and its dictionary."""

    def __init__(self, value_type: ValueType, *, declared: bool = False) -> None:
        self.type = value_type
        self.declared = declared
        self.dictionary = Dictionary() if value_type in DICTIONARY_TYPES else None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Events of one partition, sorted by user, then time, then arrival. The arrays are never changed.

    `users` are dense ids, `offsets_ms` milliseconds since the day began, both of shape (n,). `columns` has a column for
    every property that any of the events has.
    """

    start_ms: int
    users: NDArray[np.uint32]
    offsets_ms: NDArray[np.int32]
    columns: Mapping[str, Packed]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, places: NDArray[np.int64]) -> "Rows":
        """Some of the rows, by row number in ascending order."""
        columns = {name: replace(packed, data=packed.data[places]) for name, packed in self.columns.items()}
        return Rows(self.start_ms, self.users[places], self.offsets_ms[places], columns)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.users.nbytes + self.offsets_ms.nbytes + sum(packed.data.nbytes for packed in self.columns.values())


@dataclass(frozen=True, slots=True, eq=False)
class AppendedEvents:
    """Events of one partition in order of arrival, not sorted or packed yet. The arrays are never changed.

    `users`, `offsets_ms` and every column have one item an event; a column is laid out as its type says.
    """

    users: NDArray[np.uint32]
    offsets_ms: NDArray[np.int32]
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.users)

    def of_users(self, users: NDArray[np.uint32]) -> "AppendedEvents":
        """The events of some users."""
        places = np.flatnonzero(np.isin(self.users, users))
        columns = {name: data[places] for name, data in self.columns.items()}
        return AppendedEvents(self.users[places], self.offsets_ms[places], columns)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.users.nbytes + self.offsets_ms.nbytes + sum(data.nbytes for data in self.columns.values())


Tail = tuple[AppendedEvents, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """All events of a partition: the sorted `rows` and the unsorted `tail`.

    `bitmap` has the users of the rows and of the first `bitmap_blocks` blocks of the tail.
    """

    rows: Rows
    tail: Tail
    tail_length: int
    bitmap: BitMap
    bitmap_blocks: int
    # Measured on first use; -1 before. `replace` does not copy it.
    _size_bytes: int = field(init=False, default=-1)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that rows, tail and bitmap take."""
        if self._size_bytes < 0:
            tail_bytes = sum(block.size_bytes for block in self.tail)
            object.__setattr__(self, "_size_bytes", self.rows.size_bytes + tail_bytes + size_bytes(self.bitmap))
        return self._size_bytes

    def with_bitmap(self) -> "_State":
        """This state with all users in the bitmap."""
        missing = self.tail[self.bitmap_blocks :]
        if not missing:
            return self
        users = missing[0].users if len(missing) == 1 else np.concatenate([block.users for block in missing])
        tail_users = from_array(users)
        bitmap = union([self.bitmap, tail_users]) if self.bitmap else tail_users
        return replace(self, bitmap=bitmap, bitmap_blocks=len(self.tail))

    def with_rows(self, rows: Rows, merged: int) -> "_State":
        """This state with `rows` in place of its rows and the first `merged` blocks of its tail."""
        complete = self.with_bitmap()
        tail = self.tail[merged:]
        length = self.tail_length - sum(map(len, self.tail[:merged]))
        return _State(rows, tail, length, complete.bitmap, len(tail))

    def with_appended(self, block: AppendedEvents) -> "_State":
        """This state with a block of events appended to the tail."""
        return replace(self, tail=(*self.tail, block), tail_length=self.tail_length + len(block))

    def merged(self, properties: Mapping[str, Property]) -> "_State":
        """This state with its tail merged into the rows."""
        if not self.tail:
            return self
        return self.with_rows(_merged(self.rows, self.tail, properties), len(self.tail))

    def with_small_blocks_joined(self, properties: Mapping[str, Property]) -> "_State":
        """This state with the small blocks at the end of the tail joined into one.

        So many small batches take no more memory than a few large ones.
        """
        place = len(self.tail)
        while place and len(self.tail[place - 1]) < _SMALLEST_MERGE:
            place -= 1
        if len(self.tail) - place < 2:
            return self
        complete = self.with_bitmap()
        tail = (*self.tail[:place], _joined(self.tail[place:], properties))
        return replace(complete, tail=tail, bitmap_blocks=len(tail))


class Content:
    """The events of a partition at one moment; later changes do not affect it."""

    def __init__(self, partition: "Partition", rows: Rows, tail: Tail) -> None:
        self._partition = partition
        # One attribute, so that an interrupt cannot leave merged rows beside a tail that they already contain.
        self._events = (rows, tail)

    def rows(self) -> Rows:
        """All the events, sorted. Merged rows are offered to the partition, so that later readers need not merge."""
        rows, tail = self._events
        if not tail:
            return rows
        merged = _merged(rows, tail, self._partition.properties)
        self._partition.offer(rows, tail, merged)
        self._events = (merged, ())
        return merged

    def rows_of(self, users: NDArray[np.uint32]) -> Rows:
        """The sorted events of a few users, given in ascending order. The tail is searched, not merged."""
        rows, tail = self._events
        rows = rows.take(_places(rows.users, users))
        blocks = [block for block in (block.of_users(users) for block in tail) if len(block)]
        return _merged(rows, blocks, self._partition.properties) if blocks else rows

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        rows = self.rows()
        columns = {name: {"data": packed.data, "scale": packed.scale} for name, packed in rows.columns.items()}
        return {"users": rows.users, "offsets_ms": rows.offsets_ms, "columns": columns}


class Partition:
    """The events of one name on one day.

    Call everything but `offer` with the engine's lock held. The results of `content` and `bitmap` never change, so a
    reader may use them after the lock is released. `revision` grows with every change.
    """

    def __init__(self, day: int, calendar: Calendar, properties: Mapping[str, Property]) -> None:
        self.day = day
        self.revision = 0
        self.start_ms = calendar.day_start_ms(day)
        self.end_ms = calendar.day_start_ms(day + 1)
        self.properties = properties
        # Bounds of the offsets of all events, both included.
        self._first_offset_ms = self.end_ms - self.start_ms
        self._last_offset_ms = -1
        rows = Rows(self.start_ms, np.empty(0, np.uint32), np.empty(0, np.int32), {})
        self._state = _State(rows, (), 0, BitMap(), 0)
        # The rows and blocks that a reader merged, and the merged rows.
        self._offered: tuple[Rows, Tail, Rows] | None = None

    def __len__(self) -> int:
        """How many events there are."""
        return len(self._state.rows) + self._state.tail_length

    @property
    def size_bytes(self) -> int:
        """Bytes of memory, with tail and bitmap. Measuring merges and builds nothing."""
        return self._state.size_bytes

    def content(self) -> Content:
        """A view of the present events."""
        state = self._current()
        return Content(self, state.rows, state.tail)

    @property
    def bitmap(self) -> BitMap:
        """The users; the bitmap must not be changed."""
        self._state = self._current().with_bitmap()
        return self._state.bitmap

    def append(self, block: AppendedEvents) -> None:
        """Add events."""
        first_ms = min(self._first_offset_ms, int(block.offsets_ms.min(initial=self._first_offset_ms)))
        last_ms = max(self._last_offset_ms, int(block.offsets_ms.max(initial=-1)))
        state = self._current().with_appended(block)
        if state.tail_length >= max(_SMALLEST_MERGE, _MERGE_RATIO * len(state.rows)):
            state = state.merged(self.properties)
        elif len(state.tail) > _MOST_BLOCKS:
            state = state.with_small_blocks_joined(self.properties)
        self._first_offset_ms, self._last_offset_ms = first_ms, last_ms
        self._state, self.revision = state, self.revision + 1

    def offer(self, rows: Rows, tail: Tail, merged: Rows) -> None:
        """Offer rows that were merged from `rows` and the blocks `tail`; needs no lock, may be called in any thread."""
        self._offered = (rows, tail, merged)

    def lies_in(self, interval: Interval) -> bool:
        """Whether every event is in an interval."""
        first_ms, last_ms = self.start_ms + self._first_offset_ms, self.start_ms + self._last_offset_ms
        return interval.start_ms <= first_ms and last_ms < interval.end_ms

    def remove(self, users: BitMap) -> int:
        """Remove the events of users; returns the number of events."""
        gone = self.bitmap & users
        if not gone:
            return 0
        state = self._state.merged(self.properties)
        rows = state.rows
        is_remaining = np.isin(rows.users, to_array(gone), invert=True)
        for name, packed in rows.columns.items():
            self._suspect(name, packed.data[~is_remaining])
        columns = {name: packed.values(is_remaining) for name, packed in rows.columns.items()}
        remaining = _packed(
            self.start_ms, rows.users[is_remaining], rows.offsets_ms[is_remaining], columns, self.properties
        )
        state = _State(remaining, (), 0, state.bitmap - gone, 0)
        self._state, self.revision = state, self.revision + 1
        return len(rows) - len(remaining)

    def leave(self) -> None:
        """Mark the dictionary codes that this partition uses as suspects; call it before the partition is dropped."""
        for name, packed in self._state.rows.columns.items():
            self._suspect(name, packed.data)
        for block in self._state.tail:
            for name, data in block.columns.items():
                self._suspect(name, data)

    def _suspect(self, name: str, data: NDArray[Any]) -> None:
        dictionary = self.properties[name].dictionary
        if dictionary is not None:
            dictionary.suspect(data)

    def prepare(self) -> None:
        """Merge the tail and build the bitmap now, so that no reader has to."""
        rows = self.content().rows()
        # The containers of a bitmap built in one go lie side by side in memory, which queries read faster.
        state = _State(rows, (), 0, from_array(rows.users), 0)
        self._state, self._offered = state, None

    def _current(self) -> _State:
        """The present state; it adopts rows that a reader merged if they still fit."""
        state, offered = self._state, self._offered
        if offered is not None:
            rows, tail, merged = offered
            # Blocks and rows are compared by identity.
            if rows is state.rows and tail == state.tail[: len(tail)]:
                state = state.with_rows(merged, len(tail))
            self._state, self._offered = state, None
        return state

    def restore(self, state: Any, revision: int, total: int) -> None:
        """Take back what a snapshot has, of a directory of `total` users; ValueError where it cannot be."""
        match state:
            case {"users": np.ndarray() as users, "offsets_ms": np.ndarray() as offsets_ms, "columns": dict(stored)}:
                pass
            case _:
                raise ValueError("the events are not users, times and columns")
        if (
            users.dtype != np.uint32
            or offsets_ms.dtype != np.int32
            or not users.shape == offsets_ms.shape == (users.size,)
        ):
            raise ValueError("the events have no users or times")
        if len(users) and int(users.max()) >= total:
            raise ValueError("there are events of users beyond the last")
        if len(users) and not 0 <= offsets_ms.min() <= offsets_ms.max() < self.end_ms - self.start_ms:
            raise ValueError("events lie outside the day")
        keys = _keys(users, offsets_ms)
        if (keys[1:] < keys[:-1]).any():
            raise ValueError("the events are out of order")
        columns = {name: self._restored_column(name, column, len(users)) for name, column in stored.items()}
        rows = Rows(self.start_ms, users, offsets_ms, columns)
        self._first_offset_ms = int(offsets_ms.min(initial=self._first_offset_ms))
        self._last_offset_ms = int(offsets_ms.max(initial=-1))
        self._state, self.revision = _State(rows, (), 0, from_array(users), 0), revision

    def _restored_column(self, name: str, column: Any, length: int) -> Packed:
        """The column of a property out of a snapshot; ValueError where it fits neither type nor dictionary."""
        definition = self.properties.get(name)
        if definition is None:
            raise ValueError(f"the event has no property {name!r}")
        packed = unpacked(definition.type, column)
        data = packed.data
        if len(data) != length:
            raise ValueError(f"the column of the property {name!r} has another length than the users")
        low, high = data.min(initial=-1), data.max(initial=-1)
        if definition.dictionary is not None and not -1 <= low <= high < len(definition.dictionary):
            raise ValueError(f"values of {name!r} are not in its dictionary")
        return packed

    def faults(self, everyone: BitMap) -> list[str]:
        """Differences between the bitmap and the column of users, one sentence each."""
        users = from_array(self.content().rows().users)
        faults = [] if users == self.bitmap else [f"day {self.day}: {len(users ^ self.bitmap):,} users differ"]
        strangers = users - everyone
        return faults + ([f"day {self.day}: {len(strangers):,} users do not exist"] if strangers else [])


def _merged(rows: Rows, tail: Sequence[AppendedEvents], properties: Mapping[str, Property]) -> Rows:
    """Rows and appended blocks merged; among equal users and times, the rows come before the blocks."""
    appended = _joined(tail, properties)
    order = np.argsort(_keys(appended.users, appended.offsets_ms), kind="stable")
    users, offsets_ms = appended.users[order], appended.offsets_ms[order]
    columns = {name: data[order] for name, data in appended.columns.items()}
    if len(rows):
        keys = _keys(rows.users, rows.offsets_ms)
        places = np.searchsorted(keys, _keys(users, offsets_ms), side="right") + np.arange(len(users))
        is_tail = np.zeros(len(rows) + len(users), bool)
        is_tail[places] = True
        for name in dict.fromkeys([*rows.columns, *columns]):
            value_type = properties[name].type
            packed, data = rows.columns.get(name), columns.get(name)
            columns[name] = _interleaved(
                empty(value_type, len(rows)) if packed is None else packed.values(),
                empty(value_type, len(users)) if data is None else data,
                is_tail,
            )
        users = _interleaved(rows.users, users, is_tail)
        offsets_ms = _interleaved(rows.offsets_ms, offsets_ms, is_tail)
    return _packed(rows.start_ms, users, offsets_ms, columns, properties)


def _joined(blocks: Sequence[AppendedEvents], properties: Mapping[str, Property]) -> AppendedEvents:
    """Several blocks as one, in order. A block that lacks a property has gaps in its column."""
    if len(blocks) == 1:
        return blocks[0]
    names = dict.fromkeys(name for block in blocks for name in block.columns)
    columns = {
        name: np.concatenate(
            [
                block.columns[name] if name in block.columns else empty(properties[name].type, len(block))
                for block in blocks
            ]
        )
        for name in names
    }
    users = np.concatenate([block.users for block in blocks])
    return AppendedEvents(users, np.concatenate([block.offsets_ms for block in blocks]), columns)


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
    """The places, ascending, of some users in an array of users; both arrays are ascending."""
    first = np.searchsorted(users, wanted, side="left")
    counts = np.searchsorted(users, wanted, side="right") - first
    if (counts == 1).all():
        return first
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())


def _keys(users: NDArray[np.uint32], offsets_ms: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Sort keys: numbers in the order of users, then times; shape (n,)."""
    return (users.astype(np.uint64) << _OFFSET_BITS) | offsets_ms.astype(np.uint64)


def _interleaved(rows: NDArray[Any], tail: NDArray[Any], is_tail: NDArray[np.bool_]) -> NDArray[Any]:
    both = np.empty((len(is_tail), *rows.shape[1:]), np.result_type(rows, tail))
    both[is_tail] = tail
    both[~is_tail] = rows
    return both
