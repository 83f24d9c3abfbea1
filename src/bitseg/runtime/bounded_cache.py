"""An LRU cache bounded in bytes and in entries."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Values by key; the least recently used are evicted. Not thread-safe: callers need a lock of their own.

    `size_bytes` is the sum of the sizes that callers gave with the entries. With `keeps_last`, the entry stored last is
    never evicted by the bounds, however large it is.
    """

    def __init__(self, max_bytes: int, max_entries: int | None = None, *, keeps_last: bool = False) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._keeps_last = keeps_last
        # Least recently used first.
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of a key, which counts as a use; None where there is no entry."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, size_bytes: int) -> list[tuple[Key, Value]]:
        """Store a value in place of the earlier one; returns the entries evicted to make room."""
        self.pop(key)
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        evicted = []
        while self._is_full() and len(self._entries) > self._keeps_last:
            oldest = next(iter(self._entries))
            evicted.append((oldest, self._entries[oldest][0]))
            self.pop(oldest)
        return evicted

    def pop(self, key: Key) -> Value | None:
        """Remove an entry; returns its value, or None where there is no entry."""
        value, size_bytes = self._entries.pop(key, (None, 0))
        self.size_bytes -= size_bytes
        return value

    def items(self) -> Iterator[tuple[Key, Value]]:
        """Keys and values, the least recently used first; the cache must not change meanwhile."""
        return ((key, value) for key, (value, _) in self._entries.items())

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.size_bytes = 0

    def _is_full(self) -> bool:
        too_many = self._max_entries is not None and len(self._entries) > self._max_entries
        return too_many or self.size_bytes > self._max_bytes
