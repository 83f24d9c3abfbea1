"""Attributes of users: a column each, and a bitmap per value where the values are few."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index import predicates
from bitseg.index.bitmaps import from_array, from_mask
from bitseg.index.context import Context
from bitseg.index.dictionary import Dictionary
from bitseg.segment.nodes import IsSet, Predicate
from bitseg.values import DICTIONARY_TYPES, Column, Value, ValueType, decode, empty, present

MAX_ATTRIBUTES = 2_000
# Beyond so many distinct values (emails, names) the column answers, without a bitmap per value.
MAX_VALUE_BITMAPS = 1_024

_NEVER = np.iinfo(np.int64).min


class Attribute:
    """One attribute of all users. `revision` grows with every write that changed something.

    Its type is fixed: by a declaration, or by its first value.
    """

    def __init__(self, name: str, value_type: ValueType, *, declared: bool = False) -> None:
        self.name = name
        self.type = value_type
        self.declared = declared
        self.revision = 0
        self.dictionary = Dictionary() if value_type in DICTIONARY_TYPES else None
        self._data = empty(value_type, 0)
        self._written_ms = np.empty(0, np.int64)
        self._set = BitMap()
        self._value_bitmaps: dict[int, BitMap] | None = None

    def write(self, users: NDArray[np.uint32], timestamps_ms: NDArray[np.int64], column: Column) -> bool:
        """Give users their values, the latest write of each winning and a gap unsetting; whether anything changed.

        All arrays have shape (n,), in order of arrival, which decides between equal timestamps.
        """
        data = column.data
        if self.dictionary is not None:
            data = self.dictionary.recode(data, column.entries)
        self._grow(int(users.max(initial=0)) + 1)
        order = np.lexsort((timestamps_ms, users))
        ordered = users[order]
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(order)]
        winners = order[last]
        winners = winners[timestamps_ms[winners] >= self._written_ms[users[winners]]]
        users, data = users[winners], data[winners]
        self._written_ms[users] = timestamps_ms[winners]
        before = self._data[users]
        changed = _differs(before, data)
        if not changed.any():
            return False
        self._replace(users[changed], before[changed], data[changed])
        return True

    def clear(self, users: NDArray[np.uint32]) -> None:
        """Forget everything about users, given once each."""
        users = users[users < len(self._data)]
        self._written_ms[users] = _NEVER
        before = self._data[users]
        is_set = present(self.type, before)
        if is_set.any():
            users = users[is_set]
            self._replace(users, before[is_set], empty(self.type, len(users)))

    def members(self, predicate: Predicate, context: Context) -> BitMap:
        """The users whose value satisfies a fitting predicate; the caller may keep the bitmap but not change it."""
        if isinstance(predicate, IsSet) and not predicate.negated:
            return self._set
        if self._has_value_bitmaps():
            bitmaps = self._value_bitmaps
            assert bitmaps is not None
            codes = self._matching_codes(predicate, context)
            found = [bitmaps[code] for code in codes if code in bitmaps]
            return found[0] if len(found) == 1 else BitMap.union(*found) if found else BitMap()
        return from_mask(predicates.test(predicate, self.type, self._data, self.dictionary, context))

    def estimate(self, predicate: Predicate) -> int:
        """About how many users satisfy the predicate, found without evaluating it."""
        total = len(self._set)
        if self.dictionary is not None and self._value_bitmaps is not None:
            codes = predicates.exact_codes(predicate, self.dictionary)
            if codes is not None:
                return sum(len(self._value_bitmaps[code]) for code in codes if code in self._value_bitmaps)
        return total

    def value(self, user: int) -> Value | None:
        """The value of one user."""
        if user >= len(self._data):
            return None
        return decode(self.type, self._data[user], self.dictionary.entries if self.dictionary else ())

    def _grow(self, length: int) -> None:
        if length <= len(self._data):
            return
        capacity = max(length, len(self._data) * 3 // 2, 1024)
        for name, fresh in (
            ("_data", empty(self.type, capacity)),
            ("_written_ms", np.full(capacity, _NEVER, np.int64)),
        ):
            old = getattr(self, name)
            fresh[: len(old)] = old
            setattr(self, name, fresh)

    def _replace(self, users: NDArray[np.uint32], before: NDArray[Any], after: NDArray[Any]) -> None:
        """Store values of distinct users and bring the bitmaps along."""
        self.revision += 1
        self._data[users] = after
        is_set = present(self.type, after)
        # Bitmaps handed out by `members` stay as they were: each update makes fresh ones.
        self._set = (self._set | from_array(users[is_set])) - from_array(users[~is_set])
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

    def _has_value_bitmaps(self) -> bool:
        """Whether there are bitmaps per value, built from the column when first asked for."""
        if not self._may_have_value_bitmaps():
            return False
        if self._value_bitmaps is None:
            users = np.flatnonzero(present(self.type, self._data))
            self._value_bitmaps = dict(_by_code(self._data[users], users))
        return True

    def _matching_codes(self, predicate: Predicate, context: Context) -> list[int]:
        if self.dictionary is None:
            codes = np.arange(2, dtype=np.int8)
            return np.flatnonzero(predicates.test(predicate, self.type, codes, None, context)).tolist()
        exact = predicates.exact_codes(predicate, self.dictionary)
        if exact is not None:
            return exact
        return np.flatnonzero(predicates.entry_mask(predicate, self.dictionary, context)).tolist()

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        length = int(np.flatnonzero(self._written_ms != _NEVER).max(initial=-1)) + 1
        return {
            "name": self.name,
            "type": self.type.value,
            "declared": self.declared,
            "entries": self.dictionary.entries if self.dictionary else [],
            "data": self._data[:length],
            "written_ms": self._written_ms[:length],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Attribute":
        attribute = cls(state["name"], ValueType(state["type"]), declared=state["declared"])
        if attribute.dictionary is not None:
            attribute.dictionary = Dictionary(entries_from_state(attribute.type, state["entries"]))
        attribute._data = np.array(state["data"])
        attribute._written_ms = np.array(state["written_ms"])
        attribute._set = from_mask(present(attribute.type, attribute._data))
        return attribute


def entries_from_state(value_type: ValueType, entries: list[Any]) -> list[Any]:
    """Dictionary entries as they were before a snapshot, which keeps tuples as lists."""
    return [tuple(entry) for entry in entries] if value_type is ValueType.LIST else entries


def _differs(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    unequal = before != after
    if before.dtype == np.float64:
        unequal &= ~(np.isnan(before) & np.isnan(after))
    differs: NDArray[np.bool_] = unequal.any(axis=1) if unequal.ndim == 2 else unequal
    return differs


def _by_code(codes: NDArray[Any], users: NDArray[Any]) -> list[tuple[int, BitMap]]:
    """The users of each code, as bitmaps; users without a value are left out."""
    order = np.argsort(codes, kind="stable")
    ordered, members = codes[order], users[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    groups = np.split(members, starts[1:])
    return [(int(code), from_array(group)) for code, group in zip(ordered[starts], groups, strict=False) if code >= 0]
