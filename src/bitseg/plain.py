"""Values as callers have them, brought to the plain ones of JSON, which the journal and the protocol can hold.

numpy's numbers become Python's, and dates and datetimes become ISO-8601 text. Other objects are no values.
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
    """Whether every value is plain already, found without looking at each in Python where all are scalars."""
    kinds = set(map(type, values)) - _SCALARS
    if not kinds:
        return True
    if kinds - {list, tuple, dict}:
        return False
    inner = chain.from_iterable(
        each.values() if type(each) is dict else each for each in values if type(each) not in _SCALARS
    )
    return set(map(type, inner)) <= _SCALARS


def plain(value: Any) -> Any:
    """A value as JSON has it; InvalidValueError, with the reason, where there is no such value."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, np.generic) and not isinstance(item := value.item(), np.generic):
        return plain(item)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, _SEQUENCES):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    # Members of enumerations and the like, as what they derive from: they may print and compare as they please.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise InvalidValueError(f"a {type(value).__name__} is no value")


def exact(value: Any) -> Any:
    """A plain value that a message can hold; InvalidValueError for integers that a double rounds, and for bad text."""
    value = plain(value)
    if isinstance(value, str) and not fits(value):
        raise InvalidValueError(f"a string must be valid Unicode of at most {MAX_STRING_BYTES:,} bytes")
    if type(value) is int and abs(value) > MAX_EXACT_INTEGER:
        raise InvalidValueError("an integer beyond 2^53 cannot be stored exactly; send it as a string")
    return value
