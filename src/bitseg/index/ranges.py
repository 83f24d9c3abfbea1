"""An index for ranges of numbers, dates and datetimes: bins, which are bitmaps of users with neighbouring values.

The binned bitmap index with candidate check of FastBit (Wu 2005). Bins of about equal size answer a range except at its
two ends, where the column is read. Every sixteenth bin has a cumulative bitmap of all users up to it, so that a wide
range takes few unions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_array, from_sorted, size_bytes, to_array, union
from bitseg.index.runs import grouped

BINS = 1_024
CUMULATIVE_EVERY = 16
# With fewer users than this, a scan is as fast.
SMALLEST = 65_536
# Edges are chosen from a sample of about this many values, spread evenly over the users.
_SAMPLE = 262_144


class RangeIndex:
    """Bins over one column, given as the users who have a value, ascending and distinct, and their values.

    Bin b has values from `edges[b - 1]`, included, to `edges[b]`, excluded; the first and the last bin are unbounded.
    Both arrays have shape (n,).
    """

    def __init__(self, users: NDArray[np.uint32], values: NDArray[Any]) -> None:
        sample = np.sort(values[:: max(len(values) // _SAMPLE, 1)])
        places = np.linspace(0, len(sample) - 1, BINS + 1).astype(np.int64)[1:-1]
        self._edges = np.unique(sample[places]) if len(sample) else sample
        bins = self._bins_of(values)
        order = np.argsort(bins, kind="stable")
        ends = np.cumsum(np.bincount(bins, minlength=len(self._edges) + 1))
        ordered = users[order]
        starts = np.concatenate([[0], ends[:-1]])
        self._bins = [from_sorted(ordered[start:end]) for start, end in zip(starts, ends, strict=True)]
        # Cumulative bitmap c has the users of bins 0 to CUMULATIVE_EVERY * c - 1.
        self._cumulative = [BitMap()]
        for first in range(0, len(self._bins), CUMULATIVE_EVERY):
            self._cumulative.append(union([self._cumulative[-1], *self._bins[first : first + CUMULATIVE_EVERY]]))
        self._total = len(users)
        self._moved = 0

    def move(self, users: NDArray[np.uint32], before: NDArray[Any], after: NDArray[Any], missing: Any) -> None:
        """Move users from the bins of their values before a change to the bins after it; `users` has no repeats.

        `missing` takes an array of values and returns the mask of those that stand for "no value".
        """
        had, has = ~missing(before), ~missing(after)
        self._total += int(np.count_nonzero(has)) - int(np.count_nonzero(had))
        self._moved += len(users)
        for present, values, is_added in ((had, before, False), (has, after, True)):
            bins, moved = self._bins_of(values[present]), users[present]
            for place, group in grouped(bins, moved):
                self._change(self._bins, place, from_array(group), is_added)
            for number in range(1, len(self._cumulative)):
                reached = moved[bins < number * CUMULATIVE_EVERY]
                if len(reached):
                    self._change(self._cumulative, number, from_array(reached), is_added)

    @staticmethod
    def _change(bitmaps: list[BitMap], place: int, users: BitMap, is_added: bool) -> None:
        # In place, since these bitmaps are never returned to callers.
        if is_added:
            bitmaps[place] |= users
        else:
            bitmaps[place] -= users

    @property
    def is_skewed(self) -> bool:
        """Whether enough values have moved to make the bins uneven, so that a rebuild is due."""
        return self._moved > self._total // 2 + SMALLEST

    def below(self, limit: Any, column: NDArray[Any]) -> BitMap:
        """The users whose value is less than a limit, as a new bitmap.

        `column` has the values by dense id; it decides about the users in the bin of the limit.
        """
        edge = int(np.searchsorted(self._edges, limit, side="right"))
        whole = edge // CUMULATIVE_EVERY
        candidates = to_array(self._bins[edge])
        below_in_bin = from_sorted(candidates[column[candidates] < limit])
        result = BitMap(self._cumulative[whole], optimize=False)
        for users in (*self._bins[whole * CUMULATIVE_EVERY : edge], below_in_bin):
            result |= users
        return result

    def between(self, low: Any, high: Any, column: NDArray[Any]) -> BitMap:
        """The users whose value is at least `low` and less than `high`, as a new bitmap."""
        first, last = np.searchsorted(self._edges, [low, high], side="right").tolist()
        if last - first > 4 * CUMULATIVE_EVERY:
            result = self.below(high, column)
            result -= self.below(low, column)
            return result
        result = BitMap()
        for edge in dict.fromkeys((first, last)):
            candidates = to_array(self._bins[edge])
            values = column[candidates]
            result |= from_sorted(candidates[(values >= low) & (values < high)])
        for users in self._bins[first + 1 : last]:
            result |= users
        return result

    def estimate(self, low: Any, high: Any) -> int:
        """About how many users have a value from `low` to `high`."""
        first, last = np.searchsorted(self._edges, [low, high], side="right").tolist()
        return int((last - first + 1) * self._total / len(self._bins))

    def has_all(self, users: NDArray[np.uint32], values: NDArray[Any]) -> bool:
        """Whether the bins have exactly these users with these values; arguments as for the constructor."""
        by_bin = {number: from_array(group) for number, group in grouped(self._bins_of(values), users)}
        below = BitMap()
        for number, bin_users in enumerate(self._bins):
            if number % CUMULATIVE_EVERY == 0 and self._cumulative[number // CUMULATIVE_EVERY] != below:
                return False
            if bin_users != by_bin.get(number, BitMap()):
                return False
            below |= bin_users
        return self._cumulative[-1] == below

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the bitmaps take."""
        return sum(map(size_bytes, (*self._bins, *self._cumulative)))

    def _bins_of(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        return np.searchsorted(self._edges, values, side="right").astype(np.uint16)
