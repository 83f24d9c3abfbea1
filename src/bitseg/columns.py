"""Columns: rows of one kind, column by column, as callers give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import FIRST_DAY, FIRST_INSTANT_MS, LAST_DAY, LAST_INSTANT_MS
from bitseg.errors import InvalidArgumentError
from bitseg.operations import Identify, Operation, Track
from bitseg.strings import StringArray
from bitseg.values import (
    MAX_EXACT_INTEGER,
    MAX_LIST_ITEMS,
    MAX_STRING_BYTES,
    Column,
    Entry,
    SparseValues,
    ValueType,
    decode,
    empty,
    fits,
    present,
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of one kind, column by column; every sequence has one entry a row, SparseValues apart.

    User ids are StringArray where there are many.

    `event` None means user rows, whose values are attributes. `rows` numbers the rows as the caller counts them.
    """

    event: str | None
    user_ids: Sequence[str]
    timestamps_ms: NDArray[np.int64]
    values: Mapping[str, Column | SparseValues]
    rows: NDArray[np.int64]

    def check(self) -> None:
        """Raise InvalidArgumentError where the parts do not fit together: lengths, types, codes, ranges."""
        if not _is_sequence(self.user_ids):
            raise InvalidArgumentError(f"the user ids of columns are a {type(self.user_ids).__name__}, not a sequence")
        if not isinstance(self.values, Mapping):
            raise InvalidArgumentError(f"the values of columns are a {type(self.values).__name__}, not a mapping")
        total = len(self.user_ids)
        for what, array in (("timestamps", self.timestamps_ms), ("row numbers", self.rows)):
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.shape != (total,):
                raise InvalidArgumentError(f"columns of {total:,} users need {total:,} {what}, as an array of integers")
        for name, values in self.values.items():
            if type(name) is not str:
                raise InvalidArgumentError(f"the name {name!r} of a column is of type {type(name).__name__}, not text")
            if isinstance(values, Column):
                reason = misfit(values, total)
            elif isinstance(values, SparseValues):
                reason = _sparse_misfit(values, total)
            else:
                reason = f"is a {type(values).__name__}, not a Column or SparseValues"
            if reason is not None:
                raise InvalidArgumentError(f'the column "{name}" {reason}')


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something left out: the whole of row `row`, or only its value `name` where that is given."""

    row: int
    reason: str
    name: str | None = None

    @property
    def is_whole_row(self) -> bool:
        """Whether nothing of the row was taken."""
        return self.name is None


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)


def misfit(column: Column, total: int) -> str | None:
    """Why a column does not fit a block of `total` rows, or None."""
    if not isinstance(column.type, ValueType):
        return f"has the type {column.type!r}, which is no ValueType"
    data, like = column.data, empty(column.type, 0)
    kinds = "iuf" if like.dtype.kind == "f" else "iub"
    if not isinstance(data, np.ndarray) or data.dtype.kind not in kinds or data.shape != (total, *like.shape[1:]):
        return f"is not an array of {like.dtype} with {total:,} rows"
    if not total:
        return None
    match column.type:
        case ValueType.STRING | ValueType.LIST:
            if not _is_sequence(column.entries):
                return f"has a {type(column.entries).__name__} of entries, not a sequence"
            if data.min() < -1 or data.max() >= len(column.entries):
                return f"has codes outside -1 to {len(column.entries) - 1:,}, the last of its entries"
            return misfit_of_entries(column.type, column.entries)
        case ValueType.NUMBER:
            if data.dtype.kind != "f" and not -MAX_EXACT_INTEGER <= data.min() <= data.max() <= MAX_EXACT_INTEGER:
                return "has an integer beyond 2^53, which cannot be kept exactly"
            largest = np.finfo(like.dtype).max
            return "has a number that is not finite" if (np.abs(data) > largest).any() else None
        case ValueType.BOOLEAN:
            return "has values other than -1, 0 and 1" if data.min() < -1 or data.max() > 1 else None
        case ValueType.GEO:
            is_set = present(column.type, data)
            latitudes, longitudes = np.abs(data[is_set]).T
            is_within = (latitudes <= 90).all() and (longitudes <= 180).all()
            return None if is_within else "has a point that is not on the globe"
    days = column.type is ValueType.DATE
    first, last = (FIRST_DAY, LAST_DAY) if days else (FIRST_INSTANT_MS, LAST_INSTANT_MS)
    outside = present(column.type, data) & ((data < first) | (data > last))
    return "has a value outside the years that can be kept" if outside.any() else None


def misfit_of_entries(value_type: ValueType, entries: Sequence[Entry]) -> str | None:
    """Why the entries of a dictionary cannot be those of a column of strings or lists, or None."""
    if value_type is ValueType.LIST:
        if not all(type(entry) is tuple and len(entry) <= MAX_LIST_ITEMS for entry in entries):
            return f"has a list that is not a tuple of at most {MAX_LIST_ITEMS:,} items"
        strings: Sequence[Any] = [item for entry in entries for item in entry]
    else:
        strings = entries
    if not set(map(type, strings)) <= {str}:
        return "has an entry that is not text"
    # Short ASCII, which is seen at once, always fits.
    longest = max(map(len, strings), default=0)
    is_plain = longest * 4 <= MAX_STRING_BYTES and "".join(strings).isascii()
    if is_plain or all(map(fits, strings)):
        return None
    return f"has a string that is not valid Unicode of at most {MAX_STRING_BYTES:,} bytes"


def _sparse_misfit(values: SparseValues, total: int) -> str | None:
    for part in (values.rows, values.values):
        if not _is_sequence(part):
            return f"has rows or values that are a {type(part).__name__}, not a sequence"
    if len(values.rows) != len(values.values):
        return f"has {len(values.rows):,} rows and {len(values.values):,} values"
    rows = np.asarray(values.rows)
    if len(rows) and (
        rows.dtype.kind not in "iu"
        or rows.ndim != 1
        or rows[0] < 0
        or rows[-1] >= total
        or (rows[1:] <= rows[:-1]).any()
    ):
        return f"has rows that are not ascending numbers from 0 to {total - 1:,}"
    return None


def rows_of(columns: Columns) -> list[Operation]:
    """The row operations that a block stands for, in its order."""
    values: list[dict[str, Any]] = [{} for _ in columns.user_ids]
    for name, each in columns.values.items():
        if isinstance(each, Column):
            for row, stored in enumerate(each.data):
                value = decode(each.type, stored, each.entries)
                if value is not None:
                    values[row][name] = value
        else:
            for row, value in zip(each.rows, each.values, strict=True):
                values[row][name] = value
    timestamps_ms = columns.timestamps_ms.tolist()
    if columns.event is None:
        return [*map(Identify, columns.user_ids, values, timestamps_ms)]
    event = columns.event
    return [
        Track(user_id, event, properties, timestamp_ms)
        for user_id, properties, timestamp_ms in zip(columns.user_ids, values, timestamps_ms, strict=True)
    ]


def selected(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """Some rows of a block, given by position in ascending order."""
    values: dict[str, Column | SparseValues] = {}
    for name, each in columns.values.items():
        if isinstance(each, Column):
            values[name] = Column(each.type, each.data[rows], each.entries)
        else:
            place = {int(row): position for position, row in enumerate(rows)}
            pairs = [(place[row], value) for row, value in zip(each.rows, each.values, strict=True) if row in place]
            values[name] = SparseValues([row for row, _ in pairs], [value for _, value in pairs])
    return Columns(
        columns.event,
        columns.user_ids.take(rows)
        if isinstance(columns.user_ids, StringArray)
        else [columns.user_ids[row] for row in rows],
        columns.timestamps_ms[rows],
        values,
        columns.rows[rows],
    )


def by_row(rejections: list[Rejection]) -> list[Rejection]:
    """Rejections in the order of rows, and of names within a row."""
    return sorted(rejections, key=lambda rejection: (rejection.row, rejection.name or ""))
