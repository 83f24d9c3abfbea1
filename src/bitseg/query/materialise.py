"""Conditions kept as bitmaps between queries, the least recently used given up first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from pyroaring import BitMap

# A bitmap's own objects, beside its containers.
_OVERHEAD_BYTES = 512
# What the conditions themselves take is not counted, so their number is bounded too.
MAX_CONDITIONS = 10_000


@dataclass(frozen=True, slots=True)
class _Kept:
    stamp: Hashable
    bitmap: BitMap
    size_bytes: int


class MaterialisedConditions:
    """Bitmaps by condition, bounded in bytes and in number.

    A bitmap is kept with the stamp of the data it was made from, and is good only for as long as the stamp stands:
    a condition whose data has changed is worked out afresh.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def get(self, key: Hashable, stamp: Hashable, evaluate: Callable[[], BitMap]) -> BitMap:
        """The bitmap of a condition, from `evaluate` where none is kept; it must not be changed."""
        kept = self._kept.get(key)
        if kept is not None and kept.stamp == stamp:
            self._kept.move_to_end(key)
            self.hits += 1
            return kept.bitmap
        self.misses += 1
        bitmap = evaluate()
        self._forget(key)
        size_bytes = _size_bytes(bitmap)
        if size_bytes <= self.capacity_bytes:
            self._kept[key] = _Kept(stamp, bitmap, size_bytes)
            self.size_bytes += size_bytes
            while self.size_bytes > self.capacity_bytes or len(self._kept) > MAX_CONDITIONS:
                self._forget(next(iter(self._kept)))
        return bitmap

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes


def _size_bytes(bitmap: BitMap) -> int:
    statistics = bitmap.get_statistics()
    return (
        statistics["n_bytes_array_containers"]
        + statistics["n_bytes_run_containers"]
        + statistics["n_bytes_bitset_containers"]
        + _OVERHEAD_BYTES
    )
