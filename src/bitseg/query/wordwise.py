"""Intersections of large bitmaps counted word by word.

When an intersection of bitsets has few users, Roaring converts every intermediate result into arrays, which takes ten
times as long as the operation itself; and it tests arrays of thousands of users against bitsets item by item. A count
needs no result, so operations on plain words of 64 users are cheaper.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import words_of
from bitseg.runtime.bounded_cache import BoundedCache

# A bitmap with fewer users than one in this many is intersected faster as an array.
DENSE_DIVISOR = 64
# A bitmap with more users than one in this many has bitset containers.
BITSET_DIVISOR = 16


# The condition that a bitmap answers, and the bitmap.
Named = tuple[Hashable, BitMap]


class WordCounter:
    """An LRU cache of bitmaps unpacked to 64-bit words, bounded in bytes.

    At most one entry per condition: a newer bitmap replaces the older one. Bitmaps must not be changed in place while
    they are cached. Call with the engine's lock held.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._cache: BoundedCache[Hashable, tuple[BitMap, NDArray[np.uint64]]] = BoundedCache(capacity_bytes)
        # Reused by every count, since allocating memory of this size costs as much as the operations.
        self._words = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.uint8)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the cached words take."""
        return self._cache.size_bytes

    def count(self, parts: Sequence[Named], excluded: Sequence[Named], ids: int) -> int:
        """How many ids are in all `parts`, at least two, and in no bitmap of `excluded`; all ids are below `ids`."""
        first, second, *others = (self._words_of(*part, ids) for part in parts)
        if len(self._words) != len(first):
            self._words, self._counts = np.empty_like(first), np.empty(len(first), np.uint8)
        both = np.bitwise_and(first, second, out=self._words)
        for words in others:
            np.bitwise_and(both, words, out=both)
        for part in excluded:
            # `a without b` is `(a or b) xor b`, which needs no second buffer.
            words = self._words_of(*part, ids)
            np.bitwise_or(both, words, out=both)
            np.bitwise_xor(both, words, out=both)
        return int(np.bitwise_count(both, out=self._counts).sum(dtype=np.uint32))

    def clear(self) -> None:
        """Remove all entries."""
        self._cache.clear()

    def _words_of(self, condition: Hashable, bitmap: BitMap, ids: int) -> NDArray[np.uint64]:
        entry = self._cache.get(condition)
        if entry is not None and entry[0] is bitmap and len(entry[1]) * 64 >= ids:
            return entry[1]
        words = words_of(bitmap, ids)
        self._cache.put(condition, (bitmap, words), words.nbytes)
        return words
