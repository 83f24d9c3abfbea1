"""Incoming values brought to the type that their attribute or property has, or gets with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import Calendar
from bitseg.values import Column, InvalidValueError, SparseValues, ValueType, empty, encode, infer, present


@dataclass(frozen=True, slots=True)
class Coerced:
    """A typed column of what was accepted.

    `positions` are the batch's rows that `column` speaks of, `refused` those left out, with reasons. `column` is
    None where no value fixed a type.
    """

    positions: NDArray[np.int64]
    column: Column | None
    refused: list[tuple[int, str]]


def coerce(values: Column | SparseValues, value_type: ValueType | None, calendar: Calendar) -> Coerced:
    """Values of a batch as a column of `value_type`, or where that is None of the type of the first value.

    Rows without a value stay in where they came as an explicit None, and out where a column has a gap.
    """
    if isinstance(values, Column):
        return _coerce_column(values, value_type)
    positions = np.array(values.rows, np.int64)
    if value_type is None:
        value_type = _first_type(values.values)
    if value_type is None:
        refused = [(row, _reason(value)) for row, value in zip(values.rows, values.values, strict=True)]
        return Coerced(positions, None, [(row, reason) for row, reason in refused if reason])
    column, faults = encode(values.values, value_type, calendar)
    if faults:
        keep = np.ones(len(positions), bool)
        keep[[index for index, _ in faults]] = False
        refused_rows = [(int(positions[index]), reason) for index, reason in faults]
        return Coerced(positions[keep], Column(column.type, column.data[keep], column.entries), refused_rows)
    return Coerced(positions, column, [])


def _coerce_column(column: Column, value_type: ValueType | None) -> Coerced:
    positions = np.flatnonzero(present(column.type, column.data))
    if value_type in (None, column.type):
        return Coerced(positions, Column(column.type, column.data[positions], column.entries), [])
    assert value_type is not None
    reason = f"expected a {value_type.value}, got a {column.type.value}; name the type of the column when importing"
    nothing = Column(value_type, empty(value_type, 0))
    return Coerced(positions[:0], nothing, [(int(position), reason) for position in positions])


def _first_type(values: Sequence[Any]) -> ValueType | None:
    for value in values:
        if value is not None and not _reason(value):
            return infer(value)
    return None


def _reason(value: Any) -> str | None:
    if value is None:
        return None
    try:
        infer(value)
    except InvalidValueError as error:
        return str(error)
    return None
