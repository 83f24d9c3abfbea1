"""Resolves types before the journal: blocks of callers become typed rows that can always be applied.

A value that does not fit the type of its attribute or property is rejected here, with a reason.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import Calendar
from bitseg.columns import Columns, Rejection
from bitseg.index.schema import MAX_ATTRIBUTES, MAX_EVENT_NAMES, MAX_PROPERTIES, SchemaDraft
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.records import EventRows, UserRows, Values
from bitseg.values import (
    DICTIONARY_TYPES,
    Column,
    InvalidValueError,
    SparseValues,
    ValueType,
    convert,
    empty,
    encode,
    infer,
    present,
)


class Resolver:
    """Resolves blocks one after the other; the next block sees the fields that a block adds.

    `schema` collects the fields. Rejections have the row numbers of the caller.
    """

    def __init__(self, schema: SchemaDraft, calendar: Calendar) -> None:
        self._schema = schema
        self._calendar = calendar

    def resolve(self, block: Columns) -> tuple[UserRows | EventRows | None, list[Rejection]]:
        """The rows of a well-formed block, None if all are rejected; and the rejections."""
        rejections: list[Rejection] = []
        event = block.event
        if event is not None and not self._schema.has_event(event):
            if self._schema.event_count() >= MAX_EVENT_NAMES:
                reason = f"there are {MAX_EVENT_NAMES:,} event names already, which is the limit"
                return None, [Rejection(int(row), reason) for row in block.rows]
            self._schema.begin_event(event)
        values: dict[str, Values] = {}
        for name, given in block.values.items():
            typed = self._values(block, name, given, rejections)
            if typed is not None:
                values[name] = typed
        if event is None:
            return UserRows(block.user_ids, block.timestamps_ms, values), rejections
        return EventRows(event, block.user_ids, block.timestamps_ms, values), rejections

    def _values(
        self, block: Columns, name: str, given: Column | SparseValues, rejections: list[Rejection]
    ) -> Values | None:
        """The values of a name; None if no value is accepted."""
        reason = self._refusal(block.event, name)
        if reason is not None:
            if isinstance(given, Column):
                rows = np.flatnonzero(present(given.type, given.data)).tolist()
            else:
                rows = [row for row, value in zip(given.rows, given.values, strict=True) if value is not None]
            rejections += [Rejection(int(block.rows[row]), reason, name) for row in rows]
            return None
        if isinstance(given, Column):
            return self._of_column(block, name, given, rejections)
        return self._of_values(block, name, given, rejections)

    def _refusal(self, event: str | None, name: str) -> str | None:
        """Why an unknown name cannot be added; None if it can."""
        if event is None:
            if self._schema.has_attribute(name):
                return None
            reason = malformed_text(name, "attribute name", MAX_NAME_BYTES)
            if reason is None and self._schema.attribute_count() >= MAX_ATTRIBUTES:
                reason = f"there are {MAX_ATTRIBUTES:,} attributes already, which is the limit"
            return reason
        if self._schema.property_type(event, name) is not None:
            return None
        reason = malformed_text(name, "property name", MAX_NAME_BYTES)
        if reason is None and self._schema.property_count(event) >= MAX_PROPERTIES:
            reason = f"the event {event!r} has {MAX_PROPERTIES:,} properties already, which is the limit"
        return reason

    def _type(self, event: str | None, name: str) -> ValueType | None:
        return self._schema.attribute_type(name) if event is None else self._schema.property_type(event, name)

    def _begin(self, event: str | None, name: str, value_type: ValueType) -> None:
        if event is None:
            self._schema.begin_attribute(name, value_type)
        else:
            self._schema.begin_property(event, name, value_type)

    def _of_column(self, block: Columns, name: str, column: Column, rejections: list[Rejection]) -> Values | None:
        data = np.ascontiguousarray(column.data, empty(column.type, 0).dtype)
        is_set = present(column.type, data)
        places = np.flatnonzero(is_set)
        if not len(places):
            return None
        value_type = self._type(block.event, name)
        if value_type is None:
            self._begin(block.event, name, column.type)
        elif value_type is not column.type:
            reason = (
                f"expected a {value_type.value}, got a {column.type.value}; name the type of the column when importing"
            )
            rejections += [Rejection(row, reason, name) for row in block.rows[places].tolist()]
            return None
        if len(places) == len(is_set):
            return _compacted(column.type, None, data, column.entries)
        return _compacted(column.type, places.astype(np.uint32), data[places], column.entries)

    def _of_values(self, block: Columns, name: str, sparse: SparseValues, rejections: list[Rejection]) -> Values | None:
        rows, values = np.array(sparse.rows, np.uint32), sparse.values
        value_type = self._type(block.event, name)
        is_known = value_type is not None
        if value_type is None:
            value_type = self._first_type(values)
        if value_type is None:
            return self._without_type(block, name, rows, values, rejections)
        if not is_known:
            self._begin(block.event, name, value_type)
        column, faults = encode(values, value_type, self._calendar)
        keep = np.ones(len(rows), bool)
        if faults:
            keep[[index for index, _ in faults]] = False
            rejections += [Rejection(int(block.rows[rows[index]]), reason, name) for index, reason in faults]
        if block.event is not None:
            # A null property means that the event does not have it.
            keep &= present(value_type, column.data)
        if not keep.any():
            return None
        data = column.data
        if not keep.all():
            rows, data = rows[keep], data[keep]
        is_whole = len(rows) == len(block.user_ids)
        return Values(value_type, None if is_whole else rows, data, column.entries)

    def _first_type(self, values: Sequence[Any]) -> ValueType | None:
        """The type of the first acceptable value; None without one."""
        for value in values:
            if value is None:
                continue
            try:
                return self._type_of(value)
            except InvalidValueError:
                continue
        return None

    def _type_of(self, value: Any) -> ValueType:
        """The type of a value that is not null; InvalidValueError if the value is not acceptable."""
        value_type = infer(value)
        convert(value, value_type, self._calendar)
        return value_type

    def _without_type(
        self,
        block: Columns,
        name: str,
        rows: NDArray[np.uint32],
        values: Sequence[Any],
        rejections: list[Rejection],
    ) -> Values | None:
        """Values of a name without a type: nulls, which unset an attribute, and rejected ones."""
        nulls: list[int] = []
        for place, value in enumerate(values):
            if value is None:
                nulls.append(place)
                continue
            try:
                self._type_of(value)
            except InvalidValueError as error:
                rejections.append(Rejection(int(block.rows[rows[place]]), str(error), name))
        if block.event is not None or not nulls:
            return None
        if not self._schema.has_attribute(name):
            self._schema.begin_attribute(name, None)
        return Values(None, rows[nulls], np.empty(0))


def _compacted(
    value_type: ValueType, rows: NDArray[np.uint32] | None, codes: NDArray[Any], entries: Sequence[Any]
) -> Values:
    """The values without dictionary entries that no row uses."""
    if value_type not in DICTIONARY_TYPES:
        return Values(value_type, rows, codes)
    used = np.flatnonzero(np.bincount(codes, minlength=len(entries)))
    if len(used) < len(entries):
        places = np.empty(len(entries), np.int32)
        places[used] = np.arange(len(used), dtype=np.int32)
        codes, entries = places[codes], [entries[code] for code in used.tolist()]
    return Values(value_type, rows, codes, entries)
