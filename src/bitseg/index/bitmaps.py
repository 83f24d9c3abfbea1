"""Numpy arrays to Roaring bitmaps and back, by the ways that do not touch items one by one."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap


def from_array(users: NDArray[Any]) -> BitMap:
    """The bitmap of an array of dense ids, in any order and with repeats."""
    buffer = array("I")
    buffer.frombytes(np.ascontiguousarray(users, np.uint32).tobytes())
    return BitMap(buffer)


def from_mask(mask: NDArray[np.bool_]) -> BitMap:
    """The bitmap of the positions that are True."""
    return from_array(np.flatnonzero(mask))


def to_array(bitmap: BitMap) -> NDArray[np.uint32]:
    """The ids of a bitmap in ascending order."""
    return np.frombuffer(bitmap.to_array(), np.uint32)
