"""The user directory: external user ids to dense ids and back."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_array, to_array
from bitseg.index.changes import ChangeLog
from bitseg.index.runs import first_of_runs
from bitseg.storage.snapshot import Part
from bitseg.strings import PADDING_BYTES, StringArray, require_texts

_SMALLEST_BITS = 10
_LARGEST_LOAD = 0.7
# A free slot is 0. A used slot has 32 bits of the id's hash in its upper half and the dense id plus one in its lower.
_DENSE = np.uint64(0xFFFF_FFFF)
_DELETED = np.uint64(0xFFFF_FFFF)
# Users in one part of a snapshot.
_PART_USERS = 2**20


class UserDirectory:
    """Gives users the dense ids 0, 1, 2, … in order of arrival. The dense id of a deleted user is never reused.

    External ids lie end to end in one buffer. A hash table with open addressing and linear probing looks up whole
    batches of ids. The hash says where to look; the bytes of two ids decide whether they are equal.

    `everyone` is the bitmap of users who are not deleted; callers must not change it. `revision` grows when users are
    added or deleted, and `changes` names those users.
    """

    def __init__(self) -> None:
        self._count = 0
        self._data = np.zeros(PADDING_BYTES, np.uint8)
        # The end of each id in the buffer. An id starts where the previous one ends.
        self._ends = np.zeros(0, np.int64)
        self._bits = _SMALLEST_BITS
        self._table = np.zeros(1 << self._bits, np.uint64)
        self._used_slots = 0
        # The seed is secret, so that nobody can choose ids that collide.
        self._seed = secrets.randbits(63)
        self._stable_hashes = np.empty(0, np.uint64)
        self.everyone = BitMap()
        self.revision = 0
        self.changes = ChangeLog()
        # While a snapshot is taken: start and end of the ids of users deleted since it began.
        self._to_blank: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        """The number of dense ids, those of deleted users included."""
        return self._count

    def find(self, user_id: str) -> int | None:
        """The dense id of a user, or None."""
        dense = int(self.find_all([user_id])[0])
        return None if dense < 0 else dense

    def find_all(self, user_ids: Sequence[str]) -> NDArray[np.int64]:
        """The dense id of each user, -1 for unknown users; shape (n,)."""
        texts = StringArray.of(user_ids)
        return self._find(texts, texts.hashes(self._seed))

    def assign(self, user_ids: Sequence[str]) -> NDArray[np.uint32]:
        """The dense id of each user; unknown users are added. Shape (n,)."""
        texts = StringArray.of(user_ids)
        hashes = texts.hashes(self._seed)
        dense = self._find(texts, hashes)
        missing = np.flatnonzero(dense < 0)
        if len(missing):
            dense[missing] = self._add(texts.take(missing), hashes[missing])
        return dense.astype(np.uint32)

    def delete(self, user_ids: Sequence[str]) -> NDArray[np.uint32]:
        """Delete users; returns the dense ids of those who were known, shape (n,)."""
        texts = StringArray.of(user_ids)
        hashes = texts.hashes(self._seed)
        dense = self._find(texts, hashes)
        known = np.flatnonzero(dense >= 0)
        gone, first = np.unique(dense[known], return_index=True)
        if not len(gone):
            return np.empty(0, np.uint32)
        self._bury(gone, hashes[known][first])
        ends = self._ends[gone]
        starts = np.where(gone > 0, self._ends[gone - 1], 0)
        places = list(zip(starts.tolist(), ends.tolist(), strict=True))
        if self._to_blank is None:
            self._blank(places)
        else:
            self._to_blank += places
        self.everyone = self.everyone - from_array(gone)
        self._changed(gone.astype(np.uint32))
        return gone.astype(np.uint32)

    def external(self, dense_ids: NDArray[np.integer[Any]]) -> list[str]:
        """The external ids of users, in the order given; deleted users are left out."""
        dense = dense_ids.astype(np.int64)
        if len(self.everyone) < self._count:
            alive = from_array(dense) & self.everyone
            if len(alive) < len(dense):
                dense = dense[np.isin(dense, to_array(alive))]
        return self._texts(dense).strings()

    def hashes(self) -> NDArray[np.uint64]:
        """xxh3_64 of every external id, by dense id; the hashes of deleted users are meaningless."""
        known = len(self._stable_hashes)
        if known < self._count:
            added = self._texts(np.arange(known, self._count))
            buffer = self._data.data
            digest = xxhash.xxh3_64_intdigest
            places = zip(added.starts.tolist(), added.ends.tolist(), strict=True)
            digests = np.fromiter((digest(buffer[start:end]) for start, end in places), np.uint64, len(added))
            self._stable_hashes = np.concatenate([self._stable_hashes, digests])
        return self._stable_hashes

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the directory takes."""
        return self._data.nbytes + self._ends.nbytes + self._table.nbytes + self._stable_hashes.nbytes

    def _texts(self, dense: NDArray[np.int64]) -> StringArray:
        return _texts(self._data, self._ends, dense)

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (hashes >> np.uint64(64 - self._bits)).astype(np.int64)

    def _find(self, texts: StringArray, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        dense_ids = np.full(len(texts), -1, np.int64)
        pending = np.arange(len(texts))
        slots, last_slot = self._slots(hashes), len(self._table) - 1
        tags = hashes & ~_DENSE
        while len(pending):
            entries = self._table[slots]
            used = np.flatnonzero(entries)
            if len(used) < len(entries):
                pending, slots, tags, entries = pending[used], slots[used], tags[used], entries[used]
            dense = entries & _DENSE
            alike = np.flatnonzero(((entries & ~_DENSE) == tags) & (dense != _DELETED))
            if len(alike):
                rows, numbers = pending[alike], dense[alike].astype(np.int64) - 1
                same = self._texts(numbers).equal(texts.take(rows))
                dense_ids[rows[same]] = numbers[same]
                is_pending = np.ones(len(pending), bool)
                is_pending[alike[same]] = False
                pending, slots, tags = pending[is_pending], slots[is_pending], tags[is_pending]
            slots = (slots + 1) & last_slot
        return dense_ids

    def _add(self, texts: StringArray, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Add unknown users in order of first appearance; returns the dense id of each row. Repeats share one."""
        distinct, representative = _first_of_equals(texts, hashes)
        added = texts.take(distinct).compact()
        first = self._count
        self._append(added)
        self._insert(np.arange(first, self._count), hashes[distinct])
        arrived = BitMap()
        arrived.add_range(first, self._count)
        self.everyone = self.everyone | arrived
        self._changed(np.arange(first, self._count, dtype=np.uint32))
        return first + np.searchsorted(distinct, representative)

    def _append(self, texts: StringArray) -> None:
        used = int(self._ends[self._count - 1]) if self._count else 0
        count, total = self._count + len(texts), used + int(texts.ends[-1])
        if count > len(self._ends):
            self._ends = _grown(self._ends, self._count, count)
        if total + PADDING_BYTES > len(self._data):
            self._data = _grown(self._data, used, total + PADDING_BYTES)
        self._ends[self._count : count] = texts.ends + used
        self._data[used:total] = texts.data[:-PADDING_BYTES]
        self._count = count

    def _insert(self, dense: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        """Put users who are not in the table into it."""
        self._used_slots += len(dense)
        if self._used_slots > _LARGEST_LOAD * len(self._table):
            self._rebuild()
        self._place((hashes & ~_DENSE) | (dense.astype(np.uint64) + np.uint64(1)))

    def _rebuild(self) -> None:
        """Make a table with enough room and no deleted entries. Slots derive from the entries; no id is read."""
        entries = self._table[self._table != 0]
        entries = entries[(entries & _DENSE) != _DELETED]
        pending = self._used_slots - int(np.count_nonzero(self._table))
        self._used_slots = len(entries) + pending
        while self._used_slots > _LARGEST_LOAD * (1 << self._bits):
            self._bits += 1
        self._table = np.zeros(1 << self._bits, np.uint64)
        self._place(entries)

    def _place(self, entries: NDArray[np.uint64]) -> None:
        slots, last_slot = self._slots(entries), len(self._table) - 1
        while len(entries):
            free = self._table[slots] == 0
            self._table[slots[free]] = entries[free]
            # Several entries may have been written to one slot, of which the last stays; the others move on.
            lost = np.flatnonzero(self._table[slots] != entries)
            entries, slots = entries[lost], (slots[lost] + 1) & last_slot

    def _bury(self, dense: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        """Mark the slots of users as deleted; look-ups continue past such slots."""
        entries = (hashes & ~_DENSE) | (dense.astype(np.uint64) + np.uint64(1))
        slots, last_slot = self._slots(hashes), len(self._table) - 1
        while len(entries):
            here = self._table[slots] == entries
            self._table[slots[here]] |= _DELETED
            elsewhere = ~here
            entries, slots = entries[elsewhere], (slots[elsewhere] + 1) & last_slot

    def _changed(self, users: NDArray[np.uint32]) -> None:
        self.revision += 1
        self.changes.add(self.revision, users)

    def _blank(self, places: Sequence[tuple[int, int]]) -> None:
        for start, end in places:
            self._data[start:end] = 0

    # Snapshots

    def capture(self) -> list[Part]:
        """The parts for a snapshot. Until `release`, the ids of deleted users stay in the buffer."""
        self._to_blank = []
        parts: list[Part] = []
        for place, first in enumerate(range(0, self._count, _PART_USERS)):
            last = min(first + _PART_USERS, self._count)
            # A user is added once and deleted once, so this number grows with every change.
            revision = 2 * (last - first) - self.everyone.range_cardinality(first, last)
            state = partial(_state, self._data, self._ends, self.everyone, first, last)
            parts.append(Part(("users", place), revision, state))
        return parts

    def ids(self) -> "CapturedIds":
        """A view of the present ids; valid between `capture` and `release`."""
        return CapturedIds(self._data, self._ends, self.everyone, self._count)

    def release(self) -> None:
        """End a capture."""
        self._blank(self._to_blank or ())
        self._to_blank = None

    def restore(self, state: Any) -> None:
        """Take back the next part of a snapshot; ValueError for anything else."""
        match state:
            case {"lengths": np.ndarray() as lengths, "data": np.ndarray() as data, "alive": bytes(serialized)}:
                if lengths.dtype != np.uint16 or lengths.ndim != 1 or data.dtype != np.uint8 or data.ndim != 1:
                    raise ValueError("the user ids are not bytes and lengths")
            case _:
                raise ValueError("the user ids are not bytes, lengths and who is there")
        lengths = lengths.astype(np.int64)
        ends = np.cumsum(lengths)
        if not len(ends) or ends[-1] != len(data):
            raise ValueError("the user ids have other lengths than they say")
        require_texts(data.tobytes(), ends)
        first = self._count
        self._append(StringArray(np.concatenate([data, np.zeros(PADDING_BYTES, np.uint8)]), ends - lengths, ends))
        alive = BitMap.deserialize(serialized)
        if alive and not first <= alive.min() <= alive.max() < self._count:
            raise ValueError("users without an id are marked as alive")
        self.everyone = self.everyone | alive
        dense = to_array(alive).astype(np.int64)
        self._insert(dense, self._texts(dense).hashes(self._seed))

    def faults(self) -> list[str]:
        """A sentence that counts the users whom look-ups by id miss; empty if there are no such users."""
        dense = to_array(self.everyone).astype(np.int64)
        texts = self._texts(dense)
        lost = int((self._find(texts, texts.hashes(self._seed)) != dense).sum())
        return [f"{lost:,} users cannot be looked up by their ids"] if lost else []


@dataclass(frozen=True, slots=True)
class CapturedIds:
    """The ids of all users at a moment."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    everyone: BitMap
    total: int

    def alive(self, first: int, last: int) -> NDArray[np.int64]:
        """The users from `first` to before `last` who are not deleted."""
        users = BitMap()
        users.add_range(first, last)
        return to_array(self.everyone & users).astype(np.int64)

    def texts(self, dense: NDArray[np.integer[Any]]) -> StringArray:
        """The ids of users, given by dense id."""
        return _texts(self.data, self.ends, dense.astype(np.int64))


def _texts(data: NDArray[np.uint8], ends: NDArray[np.int64], dense: NDArray[np.int64]) -> StringArray:
    starts = ends[dense - 1]
    starts[dense == 0] = 0
    return StringArray(data, starts, ends[dense])


def _state(data: NDArray[np.uint8], ends: NDArray[np.int64], everyone: BitMap, first: int, last: int) -> dict[str, Any]:
    """Plain values for a snapshot: the users from `first` to before `last`."""
    start = int(ends[first - 1]) if first else 0
    users = BitMap()
    users.add_range(first, last)
    return {
        "data": data[start : ends[last - 1]],
        "lengths": np.diff(ends[first:last], prepend=start).astype(np.uint16),
        "alive": (everyone & users).serialize(),
    }


def _first_of_equals(texts: StringArray, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first place of every distinct text, ascending, and for every text the first place of an equal text."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = first_of_runs(ordered)
    representative = np.empty(len(order), np.int64)
    representative[order] = order[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    repeats = np.flatnonzero(representative != np.arange(len(order)))
    strangers = repeats[~texts.take(repeats).equal(texts.take(representative[repeats]))]
    if len(strangers):
        # Different texts with the same hash are rare enough to handle one by one.
        first: dict[str, int] = {}
        for place in strangers.tolist():
            representative[place] = first.setdefault(texts[place], place)
    return np.unique(representative), representative


def _grown(array: NDArray[Any], used: int, needed: int) -> NDArray[Any]:
    larger = np.zeros(max(needed, len(array) * 5 // 4, 1024), array.dtype)
    larger[:used] = array[:used]
    return larger
