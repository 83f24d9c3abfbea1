"""Conditions kept as bitmaps between queries, the least recently used given up first."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from pyroaring import BitMap

from bitseg.index.bitmaps import size_bytes
from bitseg.query.freshness import Stamp

# A bitmap's own objects, beside its containers.
_OVERHEAD_BYTES = 512
# What the conditions themselves take is not counted, so their number is bounded too.
MAX_CONDITIONS = 10_000


@dataclass(slots=True)
class CachedAnswer:
    """The members of a condition as of a stamp, taken when `now_ms` was now.

    The stamp is known to be the one of index version `version` from `now_ms` until before `until_ms`.
    """

    bitmap: BitMap
    stamp: Stamp
    version: int
    now_ms: int
    until_ms: int
    size_bytes: int = 0


class AnswerCache:
    """Bitmaps by condition, bounded in bytes and in number.

    `hits` counts the answers that stood as they were, `refreshes` those brought up to date, `misses` those worked out
    afresh.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.size_bytes = 0
        self.hits = 0
        self.refreshes = 0
        self.misses = 0
        self._kept: OrderedDict[Hashable, CachedAnswer] = OrderedDict()
        self._missed: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable) -> CachedAnswer | None:
        """What is kept under a key, whether it still stands or not."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def keep(self, key: Hashable, materialised: CachedAnswer) -> None:
        """Keep an answer in place of the one before, as far as there is room."""
        before = self._kept.pop(key, None)
        if before is not None:
            self.size_bytes -= before.size_bytes
        materialised.size_bytes = size_bytes(materialised.bitmap) + _OVERHEAD_BYTES
        if materialised.size_bytes > self.capacity_bytes:
            return
        self._kept[key] = materialised
        self.size_bytes += materialised.size_bytes
        while self.size_bytes > self.capacity_bytes or len(self._kept) > MAX_CONDITIONS:
            _, forgotten = self._kept.popitem(last=False)
            self.size_bytes -= forgotten.size_bytes

    def note_miss(self, key: Hashable) -> None:
        """Note that a condition was asked for and not kept."""
        if len(self._missed) >= MAX_CONDITIONS:
            self._missed.clear()
        self._missed.add(key)

    def was_missed(self, key: Hashable) -> bool:
        """Whether a condition was asked for lately and not kept."""
        return key in self._missed

    def clear(self) -> None:
        """Forget all answers."""
        self._kept.clear()
        self._missed.clear()
        self.size_bytes = 0
