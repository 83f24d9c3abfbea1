"""Runs of equal values in sorted arrays, and grouping by them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def first_of_runs(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a value differs from the one before it; shape (n,)."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def grouped(keys: NDArray[Any], items: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The keys, ascending, with the items of each key in their original order; both arrays have shape (n,).

    Keys of 16 bits are sorted by radix, several times faster than wider ones.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(first_of_runs(ordered))
    return zip(ordered[starts].tolist(), np.split(items[order], starts[1:]), strict=False)
