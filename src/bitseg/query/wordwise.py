"""Intersections of large bitmaps counted word by word.

Where many bitsets meet in few users, Roaring turns every result on the way into arrays, which takes ten times as long
as the operation itself; and arrays of thousands meet bitsets item by item. A count needs no result, so plain words of
64 users each are cheaper.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import words_of

# Bitmaps with fewer users than one in so many are better met as arrays.
DENSE_SHARE = 64
# With more than one in so many, a bitmap's containers are bitsets.
BITSET_SHARE = 16


# What a bitmap is of, and the bitmap.
Named = tuple[Hashable, BitMap]


class WordCounter:
    """The words of bitmaps used lately, bounded in bytes; one of each name, so that none outlives its successor.

    The bitmaps must not be changed while they are here.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._kept: OrderedDict[Hashable, tuple[BitMap, NDArray[np.uint64]]] = OrderedDict()
        self.size_bytes = 0
        # Kept between counts: fresh memory of this size costs as much as the operations.
        self._found = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.uint8)

    def count(self, parts: Sequence[Named], excluded: Sequence[Named], ids: int) -> int:
        """How many ids below `ids` are in all of two or more parts and in none of those excluded."""
        first, second, *rest = (self._words(*part, ids) for part in parts)
        if len(self._found) != len(first):
            self._found, self._counts = np.empty_like(first), np.empty(len(first), np.uint8)
        found = np.bitwise_and(first, second, out=self._found)
        for words in rest:
            np.bitwise_and(found, words, out=found)
        for part in excluded:
            # Without a second buffer: what is left of a after taking out b is (a or b) xor b.
            words = self._words(*part, ids)
            np.bitwise_or(found, words, out=found)
            np.bitwise_xor(found, words, out=found)
        return int(np.bitwise_count(found, out=self._counts).sum(dtype=np.uint32))

    def clear(self) -> None:
        """Forget all words."""
        self._kept.clear()
        self.size_bytes = 0

    def _words(self, name: Hashable, bitmap: BitMap, ids: int) -> NDArray[np.uint64]:
        kept = self._kept.get(name)
        if kept is not None and kept[0] is bitmap and len(kept[1]) * 64 >= ids:
            self._kept.move_to_end(name)
            return kept[1]
        words = words_of(bitmap, ids)
        if kept is not None:
            self.size_bytes -= kept[1].nbytes
        self._kept[name] = (bitmap, words)
        self._kept.move_to_end(name)
        self.size_bytes += words.nbytes
        while self.size_bytes > self._capacity:
            _, (_, forgotten) = self._kept.popitem(last=False)
            self.size_bytes -= forgotten.nbytes
        return words
