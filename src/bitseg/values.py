"""Types of attribute and property values, and columns of such values.

A column is a numpy array with a marker for "no value" and, for strings and lists, a dictionary of distinct values
that the array's codes point into:

| type     | array                                | no value   |
|----------|--------------------------------------|------------|
| number   | float64 (n,)                         | NaN        |
| boolean  | int8 (n,), 0 or 1                    | -1         |
| string   | int32 (n,) codes into the dictionary | -1         |
| list     | int32 (n,) codes into the dictionary | -1         |
| date     | int32 (n,) days since 1970-01-01     | int32 min  |
| datetime | int64 (n,) milliseconds since then   | int64 min  |
| geo      | float64 (n, 2) latitude, longitude   | NaN        |
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import (
    FIRST_DAY,
    FIRST_INSTANT_MS,
    LAST_DAY,
    LAST_INSTANT_MS,
    Calendar,
    format_instant,
    from_day,
    to_day,
)

MAX_STRING_BYTES = 8_192
MAX_LIST_ITEMS = 1_000
MAX_EXACT_INTEGER = 2**53

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)


class ValueType(Enum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"
    GEO = "geo"


DICTIONARY_TYPES = frozenset({ValueType.STRING, ValueType.LIST})
NO_DATE = np.iinfo(np.int32).min
NO_INSTANT = np.iinfo(np.int64).min

_LAYOUT: dict[ValueType, tuple[type[np.generic], Any]] = {
    ValueType.STRING: (np.int32, -1),
    ValueType.NUMBER: (np.float64, np.nan),
    ValueType.BOOLEAN: (np.int8, -1),
    ValueType.DATE: (np.int32, NO_DATE),
    ValueType.DATETIME: (np.int64, NO_INSTANT),
    ValueType.LIST: (np.int32, -1),
    ValueType.GEO: (np.float64, np.nan),
}

# A value as callers see it: the JSON forms of the Segment spec.
Value = str | float | bool | list[str] | dict[str, float]
# An entry of a dictionary: a string, or the items of a list.
Entry = str | tuple[str, ...]


class InvalidValueError(ValueError):
    """A value that cannot be stored; the message says why."""


def empty(value_type: ValueType, length: int) -> NDArray[Any]:
    """A column of `length` rows without values."""
    dtype, marker = _LAYOUT[value_type]
    shape = (length, 2) if value_type is ValueType.GEO else (length,)
    return np.full(shape, marker, dtype)


def present(value_type: ValueType, data: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows have a value; shape (n,)."""
    if value_type is ValueType.GEO:
        data = data[:, 0]
    is_float = value_type in (ValueType.NUMBER, ValueType.GEO)
    mask: NDArray[np.bool_] = ~np.isnan(data) if is_float else data != _LAYOUT[value_type][1]
    return mask


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one type, one a row. The codes of strings and lists are positions in `entries`."""

    type: ValueType
    data: NDArray[Any]
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class SparseValues:
    """Untyped values of some rows of a batch: `values[i]` belongs to row `rows[i]`; None unsets."""

    rows: Sequence[int]
    values: Sequence[Any]


def infer(value: Any) -> ValueType:
    """The type that a first value fixes; InvalidValueError for a value of an unsupported type."""
    if isinstance(value, bool):
        return ValueType.BOOLEAN
    if isinstance(value, int | float):
        return ValueType.NUMBER
    if isinstance(value, str):
        if _DATE.fullmatch(value) and _is_iso(date, value):
            return ValueType.DATE
        if _DATETIME.fullmatch(value) and _is_iso(datetime, value):
            return ValueType.DATETIME
        return ValueType.STRING
    if isinstance(value, list | tuple):
        return ValueType.LIST
    if isinstance(value, dict) and value.keys() == {"lat", "lon"}:
        return ValueType.GEO
    if isinstance(value, dict):
        raise InvalidValueError("objects are not supported, except {lat, lon}")
    raise InvalidValueError(f"values of type {type(value).__name__} are not supported")


def _is_iso(kind: type[date], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


def convert(value: Any, value_type: ValueType, calendar: Calendar) -> Any:
    """The stored form of a value in a column of a type; strings and lists become dictionary entries.

    Raises InvalidValueError, with the reason, for a value of another type or out of range. A datetime without an
    offset is a local time of the calendar's zone.
    """
    match value_type:
        case ValueType.NUMBER:
            return _number(value)
        case ValueType.STRING:
            return _string(value)
        case ValueType.BOOLEAN:
            if not isinstance(value, bool):
                raise _mismatch(value, value_type)
            return int(value)
        case ValueType.DATE:
            return _date(value)
        case ValueType.DATETIME:
            return _datetime(value, calendar)
        case ValueType.LIST:
            return _list(value)
        case ValueType.GEO:
            return _geo(value)


def encode(values: Sequence[Any], value_type: ValueType, calendar: Calendar) -> tuple[Column, list[tuple[int, str]]]:
    """A column of the values, and the index and the reason for every refused value; None leaves a gap."""
    fast = _encode_uniform(values, value_type)
    if fast is not None:
        return fast, []
    refused: list[tuple[int, str]] = []
    rows: list[int] = []
    converted: list[Any] = []
    for index, value in enumerate(values):
        if value is None:
            continue
        try:
            converted.append(convert(value, value_type, calendar))
            rows.append(index)
        except InvalidValueError as error:
            refused.append((index, str(error)))
    data = empty(value_type, len(values))
    entries: Sequence[Entry] = ()
    if converted:
        if value_type in DICTIONARY_TYPES:
            converted, entries = dictionary_encode(converted)
        data[rows] = converted
    return Column(value_type, data, entries), refused


def _encode_uniform(values: Sequence[Any], value_type: ValueType) -> Column | None:
    """The column of values that plainly have the type, without a Python loop; None for other values."""
    kinds = set(map(type, values))
    if value_type is ValueType.NUMBER and kinds == {float}:
        data = np.array(values, np.float64)
        return Column(value_type, data) if np.isfinite(data).all() else None
    if value_type is ValueType.BOOLEAN and kinds == {bool}:
        return Column(value_type, np.array(values, np.int8))
    if value_type is ValueType.STRING and kinds == {str}:
        codes, entries = dictionary_encode(values)
        if all(fits(entry) for entry in entries):
            return Column(value_type, np.array(codes, np.int32), entries)
    return None


def dictionary_encode(values: Iterable[Any]) -> tuple[list[int], list[Any]]:
    """Codes of the values and the distinct values in order of first appearance."""
    codes: dict[Any, int] = {}
    encoded = [codes.setdefault(value, len(codes)) for value in values]
    return encoded, list(codes)


def decode(value_type: ValueType, stored: Any, entries: Sequence[Entry]) -> Value | None:
    """The value of one row of a column, as callers see it; None where it has no value."""
    if not present(value_type, np.asarray(stored)[None])[0]:
        return None
    match value_type:
        case ValueType.NUMBER:
            return float(stored)
        case ValueType.BOOLEAN:
            return bool(stored)
        case ValueType.DATE:
            return from_day(int(stored)).isoformat()
        case ValueType.DATETIME:
            return format_instant(int(stored))
        case ValueType.GEO:
            return {"lat": float(stored[0]), "lon": float(stored[1])}
        case _:
            entry = entries[int(stored)]
            return entry if isinstance(entry, str) else list(entry)


def _mismatch(value: Any, value_type: ValueType) -> InvalidValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:60] + "…"
    return InvalidValueError(f"expected a {value_type.value}, got {shown}")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, ValueType.NUMBER)
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        raise InvalidValueError("an integer beyond 2^53 cannot be stored exactly; send it as a string")
    if not math.isfinite(value):
        raise InvalidValueError(f"{value} is not a finite number")
    return float(value)


def fits(text: str) -> bool:
    """Whether a string can be stored: valid Unicode of at most MAX_STRING_BYTES bytes."""
    if len(text) * 4 <= MAX_STRING_BYTES:
        return text.isascii() or _is_unicode(text)
    return _is_unicode(text) and len(text.encode()) <= MAX_STRING_BYTES


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, ValueType.STRING)
    if not fits(value):
        raise InvalidValueError(f"a string must be valid Unicode of at most {MAX_STRING_BYTES:,} bytes")
    return value


def _date(value: Any) -> int:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise _mismatch(value, ValueType.DATE)
    try:
        day = to_day(date.fromisoformat(value))
    except ValueError:
        raise _mismatch(value, ValueType.DATE) from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidValueError(f"{value} is outside the supported years")
    return day


def _datetime(value: Any, calendar: Calendar) -> int:
    if not isinstance(value, str) or not _DATETIME.fullmatch(value):
        raise _mismatch(value, ValueType.DATETIME)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _mismatch(value, ValueType.DATETIME) from None
    if not 2 <= moment.year <= 9998:
        raise InvalidValueError(f"{value} is outside the supported years")
    instant_ms = calendar.local_ms(moment)
    assert FIRST_INSTANT_MS <= instant_ms <= LAST_INSTANT_MS
    return instant_ms


def _list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _mismatch(value, ValueType.LIST)
    if len(value) > MAX_LIST_ITEMS:
        raise InvalidValueError(f"a list has at most {MAX_LIST_ITEMS:,} items, this one has {len(value):,}")
    return tuple(map(_string, value))


def _geo(value: Any) -> tuple[float, float]:
    if not isinstance(value, dict) or value.keys() != {"lat", "lon"}:
        raise _mismatch(value, ValueType.GEO)
    latitude, longitude = _number(value["lat"]), _number(value["lon"])
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise InvalidValueError("a latitude must be within -90 to 90 and a longitude within -180 to 180")
    return latitude, longitude
