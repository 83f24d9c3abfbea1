"""Attributes of users: one column per attribute, with a bitmap per value or bins over ordered values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.columns import misfit
from bitseg.index.bitmaps import from_array, from_mask, from_sorted, size_bytes, to_array, union
from bitseg.index.changes import ChangeLog
from bitseg.index.context import Context
from bitseg.index.dictionary import CapturedDictionary, Dictionary
from bitseg.index.operators import predicates
from bitseg.index.packing import compress, decompress
from bitseg.index.ranges import SMALLEST, RangeIndex
from bitseg.index.runs import grouped
from bitseg.segment.nodes import Boolean, Compare, IsSet, Operator, Predicate, Text
from bitseg.storage.snapshot import Part
from bitseg.values import DICTIONARY_TYPES, Column, Entry, Value, ValueType, decode, empty, present

# Columns with more distinct values than this (emails, names) are scanned; they have no bitmap per value.
MAX_VALUE_BITMAPS = 1_024

# Bitmaps and bins are rebuilt after a batch that changes more than one value in this many.
_LARGE_DIVISOR = 8

# log2 of the number of users in one part of a snapshot.
_STRETCH_BITS = 18

_NOBODY = BitMap()
_NEVER = np.iinfo(np.int64).min

Stretch = tuple[NDArray[Any], NDArray[np.int64]]


class Attribute:
    """One attribute of all users. `revision` grows with every write that changes a value; `changes` names the users.

    Its type is fixed: by a declaration, or by its first value.
    """

    def __init__(self, name: str, value_type: ValueType, *, declared: bool = False) -> None:
        self.name = name
        self.type = value_type
        self.declared = declared
        self.revision = 0
        self.changes = ChangeLog()
        self.dictionary = Dictionary() if value_type in DICTIONARY_TYPES else None
        self._data = empty(value_type, 0)
        self._written_ms = np.empty(0, np.int64)
        self._set = BitMap()
        self._value_bitmaps: dict[int, BitMap] | None = None
        self._ranges: RangeIndex | None = None
        # The size of bitmaps and bins in bytes, and the state of the attribute when it was measured.
        self._measured: tuple[tuple[int, bool, bool] | None, int] = (None, 0)
        # The number of changes in each stretch of users.
        self._revisions: dict[int, int] = {}
        # While a snapshot is taken: for each change, its users with their earlier values and times of writing.
        self._undo: list[tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int64]]] | None = None

    def write(self, users: NDArray[np.uint32], timestamps_ms: NDArray[np.int64], column: Column) -> bool:
        """Store values and return whether any value changed. A gap unsets; the latest write of a user wins.

        All arrays have shape (n,) and are in order of arrival, which decides between equal timestamps.
        """
        self._grow(int(users.max(initial=0)) + 1)
        winners = _last_writes(users, timestamps_ms)
        winners = winners[timestamps_ms[winners] >= self._written_ms[users[winners]]]
        users, data = users[winners], column.data[winners]
        if self.dictionary is not None:
            entries = column.entries
            if len(data) < len(column.data):
                # The dictionary takes only values that are stored.
                data, entries = _only_used(data, entries)
            data = self.dictionary.recode(data, entries)
        before = self._data[users]
        self._note(users, before)
        self._written_ms[users] = timestamps_ms[winners]
        changed = _differs(before, data)
        if not changed.any():
            return False
        self._replace(users[changed], before[changed], data[changed])
        return True

    def clear(self, users: NDArray[np.uint32]) -> None:
        """Remove the values of users. `users` has no repeats."""
        users = users[users < len(self._data)]
        before = self._data[users]
        self._note(users, before)
        self._written_ms[users] = _NEVER
        is_set = present(self.type, before)
        if is_set.any():
            users = users[is_set]
            self._replace(users, before[is_set], empty(self.type, len(users)))

    def stored(self, predicate: Predicate) -> BitMap | None:
        """The bitmap of the members if the attribute stores one, which must not be changed; else None."""
        if isinstance(predicate, IsSet):
            return self._set
        if not isinstance(predicate, Compare) or predicate.operator is not Operator.EQUAL:
            return None
        if not isinstance(predicate.value, Text | Boolean) or not self._may_have_value_bitmaps():
            return None
        value = predicate.value.value
        code = int(bool(value)) if self.dictionary is None else self.dictionary.find(str(value))
        return _NOBODY if code is None else self._bitmaps_by_value().get(code, _NOBODY)

    def is_quick(self, predicate: Predicate, context: Context) -> bool:
        """Whether `members` answers without a scan of the whole column."""
        if isinstance(predicate, IsSet) or self._may_have_value_bitmaps():
            return True
        return self._has_ranges() and predicates.ranges(predicate, self.type, context) is not None

    def members(self, predicate: Predicate, context: Context, among: BitMap | None = None) -> BitMap:
        """The users whose value satisfies a predicate that fits the type; `among` restricts the answer to some users.

        The bitmap must not be changed.
        """
        if among is not None:
            return self._members_among(predicate, context, among)
        stored = self.stored(predicate)
        if stored is not None:
            return stored
        if self._may_have_value_bitmaps():
            bitmaps = self._bitmaps_by_value()
            codes = self._matching_codes(predicate, context)
            return union([bitmaps[code] for code in codes if code in bitmaps])
        wanted = predicates.ranges(predicate, self.type, context)
        if wanted is None or not self._has_ranges():
            return self.scan(predicate, context)
        return self._members_in(wanted)

    def scan(self, predicate: Predicate, context: Context) -> BitMap:
        """The members, by a scan of the column without the lock; `changes` names users written during the scan."""
        # A copy: later writes may add codes for entries that the mask of the dictionary does not cover.
        data = self._data.copy()
        return from_mask(predicates.test(predicate, self.type, data, self.dictionary, context))

    def _members_among(self, predicate: Predicate, context: Context, among: BitMap) -> BitMap:
        users = to_array(among & self._set)
        mask = predicates.test(predicate, self.type, self._data[users], self.dictionary, context)
        return from_sorted(users[mask])

    def _members_in(self, wanted: predicates.Ranges) -> BitMap:
        assert self._ranges is not None
        members = BitMap()
        for low, high in wanted.ranges:
            if low is None:
                members |= self._ranges.below(high, self._data)
            elif high is None:
                members |= self._set - self._ranges.below(low, self._data)
            else:
                members |= self._ranges.between(low, high, self._data)
        return self._set - members if wanted.negated else members

    def estimate(self, predicate: Predicate, context: Context) -> int:
        """About how many users satisfy the predicate, without evaluating it."""
        total = len(self._set)
        if self.dictionary is not None and self._value_bitmaps is not None:
            codes = predicates.exact_codes(predicate, self.dictionary)
            if codes is not None:
                return sum(len(self._value_bitmaps[code]) for code in codes if code in self._value_bitmaps)
        if self._ranges is not None:
            wanted = predicates.ranges(predicate, self.type, context)
            if wanted is not None and all(low is not None and high is not None for low, high in wanted.ranges):
                estimated = min(sum(self._ranges.estimate(low, high) for low, high in wanted.ranges), total)
                return total - estimated if wanted.negated else estimated
        return total

    def prepare(self) -> None:
        """Build bitmaps and bins now, so that no query has to."""
        if self._may_have_value_bitmaps():
            self._bitmaps_by_value()
        self._has_ranges()

    @property
    def capacity(self) -> int:
        """The number of users that the column has room for."""
        return len(self._data)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory, without the dictionary. Measuring builds no bitmap."""
        # Bitmaps and bins change with the revision, or when a query builds them.
        at = (self.revision, self._value_bitmaps is not None, self._ranges is not None)
        if self._measured[0] != at:
            bitmaps = [self._set, *(self._value_bitmaps or {}).values()]
            ranges = self._ranges.size_bytes if self._ranges else 0
            self._measured = (at, ranges + sum(map(size_bytes, bitmaps)))
        return self._data.nbytes + self._written_ms.nbytes + self._measured[1]

    def value(self, user: int) -> Value | None:
        """The value of one user, by dense id; None where it is unset."""
        if user >= len(self._data):
            return None
        return decode(self.type, self._data[user], self.dictionary.entries if self.dictionary else ())

    def _grow(self, length: int) -> None:
        if length <= len(self._data):
            return
        capacity = max(length, len(self._data) * 3 // 2, 1024)
        for name, larger in (
            ("_data", empty(self.type, capacity)),
            ("_written_ms", np.full(capacity, _NEVER, np.int64)),
        ):
            before = getattr(self, name)
            larger[: len(before)] = before
            setattr(self, name, larger)

    def _replace(self, users: NDArray[np.uint32], before: NDArray[Any], after: NDArray[Any]) -> None:
        """Store values of distinct users and update the bitmaps."""
        self.revision += 1
        self.changes.add(self.revision, users)
        self._data[users] = after
        if self.dictionary is not None:
            self.dictionary.suspect(before)
        is_set = present(self.type, after)
        # Bitmaps that `members` returned must not change, so each update makes copies.
        self._set = (self._set | from_array(users[is_set])) - from_array(users[~is_set])
        if len(users) > len(self._set) // _LARGE_DIVISOR:
            # Rebuilding them costs less than updating them.
            self._value_bitmaps = self._ranges = None
        if self._ranges is not None:
            self._ranges.move(users, before, after, lambda values: ~present(self.type, values))
            if self._ranges.is_skewed:
                self._ranges = None
        if self._value_bitmaps is None:
            return
        if not self._may_have_value_bitmaps():
            self._value_bitmaps = None
            return
        for code, members in _by_code(before, users):
            self._value_bitmaps[code] = self._value_bitmaps[code] - members
        for code, members in _by_code(after, users):
            self._value_bitmaps[code] = self._value_bitmaps.get(code, BitMap()) | members

    def _may_have_value_bitmaps(self) -> bool:
        if self.type is ValueType.BOOLEAN:
            return True
        return self.dictionary is not None and len(self.dictionary) <= MAX_VALUE_BITMAPS

    def _bitmaps_by_value(self) -> dict[int, BitMap]:
        if self._value_bitmaps is None:
            users = np.flatnonzero(present(self.type, self._data))
            self._value_bitmaps = dict(_by_code(self._data[users], users))
        return self._value_bitmaps

    def _has_ranges(self) -> bool:
        """Whether there are bins; builds them on first use if there are enough users."""
        if self._ranges is None and self.type in predicates.ORDERED_TYPES and len(self._set) >= SMALLEST:
            users = np.flatnonzero(present(self.type, self._data))
            self._ranges = RangeIndex(users.astype(np.uint32), self._data[users])
        return self._ranges is not None

    def _matching_codes(self, predicate: Predicate, context: Context) -> list[int]:
        if self.dictionary is None:
            codes = np.arange(2, dtype=np.int8)
            return np.flatnonzero(predicates.test(predicate, self.type, codes, None, context)).tolist()
        exact = predicates.exact_codes(predicate, self.dictionary)
        if exact is not None:
            return exact
        return np.flatnonzero(predicates.entry_mask(predicate, self.dictionary, context)).tolist()

    def _note(self, users: NDArray[np.uint32], before: NDArray[Any]) -> None:
        """Record the state of users before they change; call it before times of writing are updated."""
        for stretch in np.flatnonzero(np.bincount(users >> _STRETCH_BITS)).tolist():
            self._revisions[stretch] = self._revisions.get(stretch, 0) + 1
        if self._undo is not None:
            self._undo.append((users, before, self._written_ms[users]))

    # Snapshots

    def capture(self, total: int, lock: AbstractContextManager[None]) -> "CapturedAttribute":
        """A consistent view of users below `total`. Until `release`, every change is recorded for undoing."""
        self._undo = []
        unused = None
        dictionary = None if self.dictionary is None else self.dictionary.capture()
        if dictionary is not None and self._value_bitmaps is not None:
            bitmaps = self._value_bitmaps
            unused = BitMap([code for code in dictionary.suspects if not bitmaps.get(code)])
        return CapturedAttribute(self, min(total, len(self._data)), dict(self._revisions), dictionary, unused, lock)

    def release(self) -> None:
        """End a capture."""
        self._undo = None

    def stretch(self, first: int, last: int, lock: AbstractContextManager[None]) -> Stretch:
        """Values and times of writing of users from `first` to before `last`, as captured."""
        with lock:
            data, written_ms = self._data[first:last].copy(), self._written_ms[first:last].copy()
            undo = list(self._undo or ())
        for users, before, before_written_ms in reversed(undo):
            rows = (users >= first) & (users < last)
            places = users[rows] - first
            data[places] = before[rows]
            written_ms[places] = before_written_ms[rows]
        return data, written_ms

    def restore(self, stretch: int, state: Any, revision: int, total: int) -> None:
        """Take back one part of a snapshot, of a directory of `total` users; ValueError for anything else.

        `restored` comes after the last.
        """
        if not isinstance(state, dict) or not state.keys() >= {"data", "written_ms"}:
            raise ValueError(f"the values of {self.name!r} are not data and times")
        first, most = stretch << _STRETCH_BITS, 1 << _STRETCH_BITS
        data = decompress(state["data"], _missing(self.type), most)
        written_ms = decompress(state["written_ms"], _NEVER, most)
        like = empty(self.type, 0)
        if data.dtype != like.dtype or written_ms.dtype != np.int64 or written_ms.ndim != 1:
            raise ValueError(f"the values of {self.name!r} are of another type")
        if not data.ndim or data.shape[1:] != like.shape[1:]:
            raise ValueError(f"the values of {self.name!r} are of another type")
        if len(data) != len(written_ms) or len(data) > most or not 0 <= first <= total - len(data):
            raise ValueError(f"the values of {self.name!r} do not match the users")
        if self.dictionary is not None and len(data) and not -1 <= data.min() <= data.max() < len(self.dictionary):
            raise ValueError(f"the values of {self.name!r} are not all in its dictionary")
        reason = None if self.dictionary is not None else misfit(Column(self.type, data), len(data))
        if reason is not None:
            raise ValueError(f"the column of {self.name!r} {reason}")
        self._grow(total)
        self._data[first : first + len(data)] = data
        self._written_ms[first : first + len(data)] = written_ms
        self._revisions[stretch] = revision

    def restored(self) -> None:
        """Rebuild what snapshots do not contain."""
        self._set = from_mask(present(self.type, self._data))

    def faults(self, everyone: BitMap) -> list[str]:
        """Differences between bitmaps or bins and the column, one sentence each."""
        faults: list[str] = []
        is_set = from_mask(present(self.type, self._data))
        if is_set != self._set:
            faults.append(f"attribute {self.name!r}: {len(is_set ^ self._set):,} users are wrongly set or unset")
        if is_set - everyone:
            faults.append(f"attribute {self.name!r}: {len(is_set - everyone):,} users with a value do not exist")
        if self._may_have_value_bitmaps():
            users = np.flatnonzero(present(self.type, self._data))
            if {c: b for c, b in self._bitmaps_by_value().items() if b} != dict(_by_code(self._data[users], users)):
                faults.append(f"attribute {self.name!r}: the bitmaps of its values differ from its column")
        if self._ranges is not None:
            users = np.flatnonzero(present(self.type, self._data))
            if not self._ranges.has_all(users.astype(np.uint32), self._data[users]):
                faults.append(f"attribute {self.name!r}: the bins of its values differ from its column")
        return faults


@dataclass(frozen=True, slots=True)
class CapturedAttribute:
    """An attribute at one moment. `unused` has the suspect codes that no user has; None where that was not known."""

    attribute: Attribute
    total: int
    revisions: Mapping[int, int]
    dictionary: CapturedDictionary | None
    unused: BitMap | None
    lock: AbstractContextManager[None]

    def find_unused(self) -> BitMap:
        """The suspect codes of the dictionary that no user has."""
        if self.dictionary is None or not self.dictionary.suspects:
            return BitMap()
        if self.unused is not None:
            return self.unused
        is_used = np.zeros(self.dictionary.length, bool)
        for first, last in self._bounds().values():
            codes, _ = self.attribute.stretch(first, last, self.lock)
            is_used[codes[codes >= 0]] = True
        return self.dictionary.suspects - from_mask(is_used)

    def parts(self, unused: BitMap) -> Iterator[Part]:
        """The parts for a snapshot, without the entries of unused codes."""
        name = self.attribute.name
        if self.dictionary is not None:
            yield from self.dictionary.parts(("entries", None, name), unused)
        for stretch, (first, last) in self._bounds().items():
            state = partial(self._state, first, last)
            yield Part(("attribute", name, stretch), self.revisions[stretch], state)

    def column(self, users: NDArray[np.int64], first: int, last: int) -> Column:
        """The values of `users`, whose dense ids must all lie from `first` to before `last`."""
        values = empty(self.attribute.type, last - first)
        data, _ = self.attribute.stretch(first, min(last, self.total), self.lock)
        values[: len(data)] = data
        entries = () if self.dictionary is None else self.dictionary.dictionary.entries
        return Column(self.attribute.type, values[users - first], entries)

    def _bounds(self) -> dict[int, tuple[int, int]]:
        return {
            stretch: (stretch << _STRETCH_BITS, min((stretch + 1) << _STRETCH_BITS, self.total))
            for stretch in sorted(self.revisions)
        }

    def _state(self, first: int, last: int) -> dict[str, Any]:
        data, written_ms = self.attribute.stretch(first, last, self.lock)
        return {"data": compress(data, _missing(self.attribute.type)), "written_ms": compress(written_ms, _NEVER)}


def _missing(value_type: ValueType) -> int:
    """The marker for "no value" in a column of integers; 0 for floats, which do not use it."""
    marker = empty(value_type, 1).flat[0]
    return 0 if np.issubdtype(type(marker), np.floating) else int(marker)


def _differs(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    unequal = before != after
    if before.dtype == np.float64:
        unequal &= ~(np.isnan(before) & np.isnan(after))
    differs: NDArray[np.bool_] = unequal.any(axis=1) if unequal.ndim == 2 else unequal
    return differs


def _only_used(codes: NDArray[np.int32], entries: Sequence[Entry]) -> tuple[NDArray[np.int32], Sequence[Entry]]:
    """Codes and entries without unused entries; the code -1 stays."""
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(entries)))
    if len(used) == len(entries):
        return codes, entries
    places = np.full(len(entries) + 1, -1, np.int32)
    places[used] = np.arange(len(used), dtype=np.int32)
    return places[codes], [entries[code] for code in used.tolist()]


def _last_writes(users: NDArray[np.uint32], timestamps_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each user's latest write, the last to arrive among those of one instant."""
    if (users[1:] > users[:-1]).all():
        return np.arange(len(users))
    order = np.lexsort((timestamps_ms, users))
    ordered = users[order]
    last = np.append(ordered[1:] != ordered[:-1], True)[: len(order)]
    rows: NDArray[np.int64] = order[last]
    return rows


def _by_code(codes: NDArray[Any], users: NDArray[Any]) -> list[tuple[int, BitMap]]:
    """The users of each code, as bitmaps; users without a value are left out."""
    if len(codes) and int(codes.max()) < 2**15:
        codes = codes.astype(np.int16)
    return [(code, from_array(members)) for code, members in grouped(codes, users) if code >= 0]
