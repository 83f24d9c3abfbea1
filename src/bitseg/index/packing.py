"""Columns of partitions, packed into the narrowest types that represent every value exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.columns import misfit
from bitseg.values import DICTIONARY_TYPES, Column, ValueType, empty

_INTEGERS = (np.int8, np.int16, np.int32)
_SCALES = (1.0, 100.0)
_STEPS = (np.uint8, np.uint16, np.uint32)
_STORED_INTEGERS = ("|i1", "<i2", "<i4", "<i8")


@dataclass(frozen=True, slots=True)
class Packed:
    """A column, one item an event: numbers as hundredths or ones where that is exact, codes as narrow integers.

    `scale` is None where `data` are the values themselves. Otherwise a number is `data / scale`, and the smallest
    integer of the array's type stands for no value.
    """

    type: ValueType
    data: NDArray[Any]
    scale: float | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether an event may have no value."""
        return self.scale is None or bool((self.data == np.iinfo(self.data.dtype).min).any())

    def values(self, rows: Any = slice(None)) -> NDArray[Any]:
        """The values, or those of some rows, in the layout of the type."""
        data: NDArray[Any] = self.data[rows]
        if self.scale is None:
            return data
        values: NDArray[Any] = data / self.scale
        missing = data == np.iinfo(data.dtype).min
        if missing.any():
            values[missing] = np.nan
        return values


def unpacked(value_type: ValueType, stored: Any) -> Packed:
    """A column as it was packed; ValueError for one that never was."""
    match stored:
        case {"data": np.ndarray() as data, "scale": (None | float()) as scale} if data.ndim:
            pass
        case _:
            raise ValueError("a column is not data and a scale")
    if scale is not None:
        is_packed = value_type is ValueType.NUMBER and scale in _SCALES and data.dtype in _INTEGERS
    elif value_type in DICTIONARY_TYPES:
        is_packed = data.dtype in _INTEGERS
    else:
        is_packed = data.dtype == empty(value_type, 0).dtype
    if not is_packed or data.shape[1:] != empty(value_type, 0).shape[1:]:
        raise ValueError(f"values of type {value_type.value} are not stored as {data.dtype} with scale {scale}")
    if scale is None and value_type not in DICTIONARY_TYPES:
        reason = misfit(Column(value_type, data), len(data))
        if reason is not None:
            raise ValueError(f"a column of type {value_type.value} {reason}")
    return Packed(value_type, data, scale)


def pack(value_type: ValueType, data: NDArray[Any]) -> Packed:
    """Pack a column into the narrowest form that gives back the same bits."""
    if value_type in DICTIONARY_TYPES:
        return Packed(value_type, _narrowed(data))
    if value_type is not ValueType.NUMBER:
        return Packed(value_type, data)
    missing = np.isnan(data)
    numbers = np.where(missing, 0.0, data)
    largest = float(np.abs(numbers).max(initial=0.0))
    for scale in _SCALES:
        if largest * scale >= 2**31:
            break
        # Integers have no -0.0. Adding zero turns it into 0.0, so the bits differ and this form is not used.
        scaled = np.rint(numbers * scale) + 0.0
        if np.array_equal((scaled / scale).view(np.int64), numbers.view(np.int64)):
            return Packed(value_type, _integers(scaled, missing), scale)
    return Packed(value_type, data)


def _integers(scaled: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[Any]:
    low, high = scaled.min(initial=0), scaled.max(initial=0)
    kind = next(kind for kind in _INTEGERS if np.iinfo(kind).min < low and high <= np.iinfo(kind).max)
    data = scaled.astype(kind)
    data[missing] = np.iinfo(kind).min
    return data


def _narrowed(codes: NDArray[np.int32]) -> NDArray[Any]:
    high = int(codes.max(initial=0))
    return codes.astype(next(kind for kind in _INTEGERS if high <= np.iinfo(kind).max))


def compress(data: NDArray[Any], missing: int) -> dict[str, Any] | NDArray[Any]:
    """A compact form of an array of integers, where `missing` marks gaps; other arrays are returned unchanged."""
    if data.dtype.kind != "i" or not len(data):
        return data
    has_value = data != missing
    low = int(data.min(initial=np.iinfo(data.dtype).max, where=has_value))
    high = int(data.max(initial=np.iinfo(data.dtype).min, where=has_value))
    if low > high:
        return {"type": data.dtype.str, "low": 0, "length": len(data), "steps": np.zeros(1, np.uint8)}
    kind = next((kind for kind in (np.uint8, np.uint16, np.uint32) if high - low < np.iinfo(kind).max), None)
    if kind is None:
        return data
    if low == high and has_value.all():
        steps = np.ones(1, np.uint8)
    else:
        steps = np.where(has_value, data.astype(np.int64) - low + 1, 0).astype(kind)
    return {"type": data.dtype.str, "low": low, "length": len(data), "steps": steps}


def decompress(stored: Any, missing: int, most: int) -> NDArray[Any]:
    """The array that `compress` made `stored` from, of at most `most` items; ValueError for a malformed one."""
    if isinstance(stored, np.ndarray):
        return stored
    match stored:
        case {"steps": np.ndarray() as steps, "length": int(length), "low": int(low), "type": str(kind)}:
            pass
        case _:
            raise ValueError("the array is not as it was compressed")
    if not 0 < length <= most or steps.shape not in ((1,), (length,)) or kind not in _STORED_INTEGERS:
        raise ValueError("the array has another length or type than it may")
    if steps.dtype not in _STEPS or not -(2**63) < low <= 2**63 - 2**32:
        raise ValueError("the array has other steps than it may")
    data = np.where(steps == 0, missing, steps.astype(np.int64) + (low - 1)).astype(kind)
    return np.repeat(data, length) if len(steps) < length else data
