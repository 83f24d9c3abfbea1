"""Converts values of callers to plain JSON values, which the journal and the protocol can represent.

numpy numbers become Python numbers, and dates and datetimes become ISO-8601 text. Other objects are invalid.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

import numpy as np

from bitseg.values import MAX_EXACT_INTEGER, MAX_STRING_BYTES, InvalidValueError, fits

_SCALARS = frozenset({str, float, int, bool, type(None)})
_SEQUENCES = (list, tuple)


def are_plain(values: Sequence[Any]) -> bool:
    """Whether every value is plain already; scalars are checked without a loop in Python."""
    kinds = set(map(type, values)) - _SCALARS
    if not kinds:
        return True
    if kinds - {list, tuple, dict}:
        return False
    inner = chain.from_iterable(
        item.values() if type(item) is dict else item for item in values if type(item) not in _SCALARS
    )
    return set(map(type, inner)) <= _SCALARS


def plain(value: Any) -> Any:
    """The JSON value of a value; InvalidValueError, with the reason, for a value that JSON cannot express."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, np.generic) and not isinstance(item := value.item(), np.generic):
        return plain(item)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, _SEQUENCES):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    # Subclasses, such as enumerations, become their base type, because they may print and compare differently.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise InvalidValueError(f"a value of type {type(value).__name__} cannot be stored")


def exact(value: Any) -> Any:
    """A plain value that a message can represent; InvalidValueError for integers beyond 2^53 and for invalid text."""
    value = plain(value)
    if isinstance(value, str) and not fits(value):
        raise InvalidValueError(f"a string must be valid Unicode of at most {MAX_STRING_BYTES:,} bytes")
    if type(value) is int and abs(value) > MAX_EXACT_INTEGER:
        raise InvalidValueError("an integer beyond 2^53 cannot be stored exactly; send it as a string")
    return value
