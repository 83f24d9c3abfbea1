"""Columns: rows of one kind, column by column, which is what the engine applies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.operations import Identify, Operation, Track
from bitseg.strings import StringArray
from bitseg.values import Column, SparseValues, decode


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


@dataclass(frozen=True, slots=True)
class Deletion:
    """The deletion of users."""

    user_ids: Sequence[str]


Change = Columns | Deletion


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something left out: the whole of row `row`, or only its value `name` where that is given."""

    row: int
    reason: str
    name: str | None = None


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
    """Rejections in the order of rows."""
    return sorted(rejections, key=lambda rejection: rejection.row)
