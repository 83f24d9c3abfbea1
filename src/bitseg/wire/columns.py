"""Blocks of columns to protobuf and back."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import FIRST_DAY, FIRST_INSTANT_MS, LAST_DAY, LAST_INSTANT_MS
from bitseg.columns import Columns, selected
from bitseg.errors import InvalidArgumentError
from bitseg.pb import ingest_pb2
from bitseg.strings import StringArray
from bitseg.values import Column, ValueType, empty, fits, present

# A quarter of a server's limit for a message, so that dictionaries and framing never reach the limit.
_MESSAGE_BYTES = 4 * 2**20
_MAX_ROWS = 100_000

# The field of a ValueColumn, and the field within it that has the items, by type.
_FIELDS = {
    ValueType.NUMBER: ("numbers", "values"),
    ValueType.BOOLEAN: ("booleans", "values"),
    ValueType.STRING: ("strings", "codes"),
    ValueType.DATE: ("dates", "days"),
    ValueType.DATETIME: ("datetimes", "times_ms"),
}
_TYPES = {field: value_type for value_type, (field, _) in _FIELDS.items()}


def can_send(columns: Columns) -> bool:
    """Whether the protocol has messages for these columns; others are sent as row operations."""
    return all(isinstance(column, Column) and column.type in _FIELDS for column in columns.values.values())


def to_messages(columns: Columns) -> Iterator[tuple[ingest_pb2.Columns, NDArray[np.int64]]]:
    """Messages within the size limit, each with the row numbers of the caller."""
    row_bytes = 16 * (2 + len(columns.values)) + StringArray.of(columns.user_ids).lengths
    parts = np.cumsum(row_bytes) // _MESSAGE_BYTES
    start = 0
    while start < len(row_bytes):
        end = min(int(np.searchsorted(parts, parts[start], side="right")), start + _MAX_ROWS)
        part = selected(columns, np.arange(start, end))
        yield _to_message(part), part.rows
        start = end


def _to_message(columns: Columns) -> ingest_pb2.Columns:
    message = ingest_pb2.Columns(event=columns.event)
    message.user_ids.extend(columns.user_ids)
    message.times_ms.extend(columns.timestamps_ms.tolist())
    for name, column in columns.values.items():
        assert isinstance(column, Column)
        rows = np.flatnonzero(present(column.type, column.data))
        data = column.data[rows]
        value_column = message.values.add(name=name)
        if len(rows) < len(column.data):
            value_column.rows.extend(rows.tolist())
        field, items = _FIELDS[column.type]
        values = getattr(value_column, field)
        values.SetInParent()
        if column.type is ValueType.STRING:
            used, data = np.unique(data, return_inverse=True)
            values.entries.extend(str(column.entries[code]) for code in used.tolist())
        if column.type is ValueType.BOOLEAN:
            data = data.astype(bool)
        getattr(values, items).extend(data.tolist())
    return message


def from_message(message: ingest_pb2.Columns) -> Columns:
    """The block of a message, with rows numbered from 0; InvalidArgumentError if it is inconsistent."""
    total = len(message.user_ids)
    if len(message.times_ms) != total:
        raise InvalidArgumentError(f"columns have {total:,} user ids and {len(message.times_ms):,} times")
    values: dict[str, Column] = {}
    for value_column in message.values:
        if value_column.name in values:
            raise InvalidArgumentError(f"columns have two value columns named {value_column.name!r}")
        column = _column(value_column, total)
        if column is not None:
            values[value_column.name] = column
    return Columns(
        message.event if message.HasField("event") else None,
        StringArray.of(message.user_ids),
        np.array(message.times_ms, np.int64),
        values,
        np.arange(total),
    )


def _column(message: ingest_pb2.ValueColumn, total: int) -> Column | None:
    kind = message.WhichOneof("values")
    if kind is None:
        return None
    value_type = _TYPES[kind]
    body = getattr(message, kind)
    data = empty(value_type, total)
    items: Any = getattr(body, _FIELDS[value_type][1])
    rows: NDArray[np.int64] | slice = slice(None)
    expected = total
    if message.rows:
        rows = np.array(message.rows, np.int64)
        expected = len(rows)
        if (np.diff(rows) <= 0).any() or rows[-1] >= total:
            raise InvalidArgumentError(
                f"the rows of the column {message.name!r} must ascend and end at {total - 1:,} or before"
            )
    if len(items) != expected:
        raise InvalidArgumentError(f"the column {message.name!r} has {len(items):,} values for {expected:,} rows")
    entries = tuple(body.entries) if value_type is ValueType.STRING else ()
    column_values = np.array(items, np.int64 if value_type is ValueType.STRING else data.dtype)
    _check(message.name, value_type, column_values, entries)
    data[rows] = column_values
    return Column(value_type, data, entries)


def _check(name: str, value_type: ValueType, values: NDArray[Any], entries: tuple[str, ...]) -> None:
    """Raise InvalidArgumentError for values that a column cannot have."""
    if value_type is ValueType.NUMBER and not np.isfinite(values).all():
        raise InvalidArgumentError(f"the column {name!r} has a number that is not finite")
    if value_type is ValueType.STRING:
        if (values >= len(entries)).any():
            raise InvalidArgumentError(f"the column {name!r} has a code beyond its {len(entries):,} entries")
        if not all(map(fits, entries)):
            raise InvalidArgumentError(f"the column {name!r} has a string that is too long")
    if value_type in (ValueType.DATE, ValueType.DATETIME):
        first, last = (FIRST_DAY, LAST_DAY) if value_type is ValueType.DATE else (FIRST_INSTANT_MS, LAST_INSTANT_MS)
        if ((values < first) | (values > last)).any():
            raise InvalidArgumentError(f"the column {name!r} has a value outside the supported years")
