"""Reads Parquet tables, with the types that they declare. Needs the extra `parquet` (pyarrow)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bitseg.calendar import Calendar
from bitseg.columns import Columns, selected
from bitseg.errors import ImportFileError
from bitseg.formats.base import Batch, ColumnMapping, Reject, split_by_event, time_parser
from bitseg.formats.parquet_export import METADATA_KEY
from bitseg.strings import StringArray
from bitseg.values import MAX_EXACT_INTEGER, Column, ValueType, empty, encode, fits

BATCH_ROWS = 262_144


def read_parquet(path: Path, mapping: ColumnMapping, calendar: Calendar, now_ms: int) -> Iterator[Batch]:
    """Batches of a file; rows are numbered from 1. Nulls are ignored.

    Timestamps without a zone are local to the calendar's zone. User rows without a time get `now_ms`. Raises
    ImportFileError if the file cannot be read, lacks a column, or has a column of an unsupported type.
    """
    with _reading(path) as parquet, parquet.ParquetFile(path) as file:
        names = mapping.value_columns(file.schema_arrow.names, path)
        reader = _Reader(path, mapping, names, calendar, now_ms)
        size, total, done = path.stat().st_size, max(file.metadata.num_rows, 1), 0
        for block in file.iter_batches(BATCH_ROWS):
            columns, rejects = reader.columns(block, first_row=done + 1)
            done += block.num_rows
            yield Batch(columns=columns, rejects=rejects, bytes_read=size * done // total)


def exported_mapping(path: Path) -> ColumnMapping | None:
    """The mapping of a file that bitseg exported; None for other files. Raises as `read_parquet` does."""
    with _reading(path) as parquet:
        metadata = parquet.read_schema(path).metadata or {}
    if METADATA_KEY not in metadata:
        return None
    try:
        return ColumnMapping(**orjson.loads(metadata[METADATA_KEY]))
    except (TypeError, ValueError) as error:
        raise ImportFileError(f"unexpected metadata of bitseg in {path}: {error}") from None


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """The module pyarrow.parquet; ImportFileError without pyarrow, and for its errors while it reads the file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportFileError("reading Parquet needs pyarrow", hint="pip install 'bitseg[parquet]'") from None
    try:
        yield pyarrow.parquet
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise ImportFileError(f"cannot read {path}: {error}") from error


class _Reader:
    def __init__(
        self, path: Path, mapping: ColumnMapping, names: Sequence[str], calendar: Calendar, now_ms: int
    ) -> None:
        self._path = path
        self._mapping = mapping
        self._names = names
        self._calendar = calendar
        self._now_ms = now_ms
        self._parse_time = time_parser(mapping.time_format, calendar)

    def columns(self, block: Any, first_row: int) -> tuple[list[Columns], list[Reject]]:
        rejects: list[Reject] = []
        rows = np.arange(first_row, first_row + block.num_rows)
        times_ms, timed = self._times(block, rows, rejects)
        user_ids = _texts(block.column(self._mapping.user_column))
        values = {name: self._column(name, block.column(name), rows, rejects) for name in self._names}
        columns = Columns(self._mapping.event, user_ids, times_ms, values, rows)
        with_time = None if timed.all() else np.flatnonzero(timed)
        if with_time is not None:
            columns = selected(columns, with_time)
        if self._mapping.event_column is None:
            return [columns], rejects
        events = _strings(block.column(self._mapping.event_column)).dictionary_encode()
        codes = events.indices.to_numpy(zero_copy_only=False)
        names = events.dictionary.to_pylist()
        return split_by_event(columns, codes if with_time is None else codes[with_time], names), rejects

    def _times(
        self, block: Any, rows: NDArray[np.int64], rejects: list[Reject]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        import pyarrow.types as kinds

        timed = np.ones(len(rows), bool)
        if self._mapping.time_column is None:
            return np.full(len(rows), self._now_ms, np.int64), timed
        cells = block.column(self._mapping.time_column)
        if kinds.is_timestamp(cells.type):
            column = _instants(cells, self._calendar)
            times_ms, timed = column.data.copy(), ~_nulls(cells)
        else:
            times_ms = np.zeros(len(rows), np.int64)
            for row, cell in enumerate(cells.to_pylist()):
                try:
                    times_ms[row] = self._parse_time(cell if isinstance(cell, str | int | float) else str(cell))
                except (ValueError, OverflowError, TypeError):
                    timed[row] = False
        if not self._mapping.is_events:
            times_ms[_nulls(cells)] = self._now_ms
            timed |= _nulls(cells)
        rejects += [Reject(int(row), "the time is missing or not of the format") for row in rows[~timed]]
        return times_ms, timed

    def _column(self, name: str, cells: Any, rows: NDArray[np.int64], rejects: list[Reject]) -> Column:
        import pyarrow as pa
        import pyarrow.types as kinds

        wanted = self._mapping.types.get(name)
        if kinds.is_timestamp(cells.type) and wanted in (None, ValueType.DATETIME):
            return _instants(cells, self._calendar)
        if kinds.is_date(cells.type) and wanted in (None, ValueType.DATE):
            days = cells.cast(pa.date32()).cast(pa.int32())
            return _with_gaps(ValueType.DATE, days, _nulls(cells))
        if kinds.is_boolean(cells.type) and wanted in (None, ValueType.BOOLEAN):
            return _with_gaps(ValueType.BOOLEAN, cells.cast(pa.int8()), _nulls(cells))
        if kinds.is_string(cells.type) and wanted in (None, ValueType.STRING):
            encoded = cells.dictionary_encode()
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
            entries = encoded.dictionary.to_pylist()
            if all(map(fits, entries)):
                return Column(ValueType.STRING, codes, entries)
        if (kinds.is_integer(cells.type) or kinds.is_floating(cells.type)) and wanted in (None, ValueType.NUMBER):
            numbers = cells.to_numpy(zero_copy_only=False)
            present = ~_nulls(cells)
            if np.isfinite(numbers[present]).all() and (np.abs(numbers[present]) <= MAX_EXACT_INTEGER).all():
                return _with_gaps(ValueType.NUMBER, cells, ~present)
        value_type, values = self._values(name, cells)
        column, refused = encode(values, wanted or value_type, self._calendar)
        rejects += [Reject(int(rows[row]), reason, name) for row, reason in refused]
        return column

    def _values(self, name: str, cells: Any) -> tuple[ValueType, list[Any]]:
        """The type of a column, and its cells as JSON values."""
        import pyarrow.types as kinds

        kind = cells.type.value_type if kinds.is_dictionary(cells.type) else cells.type
        if kinds.is_integer(kind) or kinds.is_floating(kind):
            return ValueType.NUMBER, cells.to_pylist()
        if kinds.is_decimal(kind):
            return ValueType.NUMBER, [None if cell is None else float(cell) for cell in cells.to_pylist()]
        if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
            return ValueType.STRING, cells.to_pylist()
        if kinds.is_list(kind) or kinds.is_large_list(kind):
            return ValueType.LIST, cells.to_pylist()
        if kinds.is_struct(kind) and {field.name for field in kind} == {"lat", "lon"}:
            return ValueType.GEO, cells.to_pylist()
        if kinds.is_boolean(kind) or kinds.is_date(kind) or kinds.is_timestamp(kind):
            texts = [None if cell is None else str(cell) for cell in cells.to_pylist()]
            return ValueType.STRING, texts
        raise ImportFileError(
            f"the column {name!r} of {self._path} has the unsupported type {kind}",
            hint=f"leave it out with --ignore {name}",
        )


def _texts(cells: Any) -> StringArray:
    """Ids or event names as text. Integers become digits; null becomes an empty text, which the engine rejects."""
    cells = _strings(cells)
    _, offsets, data = cells.buffers()
    if data is None:
        return StringArray.of([""] * len(cells))
    return StringArray.from_buffer(data, np.frombuffer(offsets, np.int64, len(cells) + 1, cells.offset * 8))


def _strings(cells: Any) -> Any:
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if not (kinds.is_integer(cells.type) or kinds.is_string(cells.type) or kinds.is_large_string(cells.type)):
        cells = pa.array([None if value is None else str(value) for value in cells.to_pylist()], pa.large_string())
    return cells.cast(pa.large_string()).fill_null("")


def _nulls(cells: Any) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = cells.is_null().to_numpy(zero_copy_only=False)
    return mask


def _with_gaps(value_type: ValueType, numbers: Any, nulls: NDArray[np.bool_]) -> Column:
    """A column of an Arrow array of numbers, which are in the unit of the type; nulls have no value."""
    data = empty(value_type, len(nulls))
    data[~nulls] = numbers.fill_null(0).to_numpy(zero_copy_only=False)[~nulls]
    return Column(value_type, data)


def _instants(cells: Any, calendar: Calendar) -> Column:
    """Timestamps as a column of datetimes, rounded down to milliseconds."""
    import pyarrow as pa
    import pyarrow.compute as compute

    per_unit = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
    factor, divisor = per_unit[cells.type.unit]
    if cells.type.tz is None:
        cells = compute.assume_timezone(cells, calendar.zone_name, ambiguous="earliest", nonexistent="latest")
    column = _with_gaps(ValueType.DATETIME, cells.cast(pa.int64()), _nulls(cells))
    has_value = ~_nulls(cells)
    column.data[has_value] = column.data[has_value] * factor // divisor
    return column
