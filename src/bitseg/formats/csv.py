"""CSV and other delimited text with a header line."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bitseg.calendar import Calendar
from bitseg.columns import Columns
from bitseg.errors import ImportFileError, InvalidArgumentError
from bitseg.formats.base import Batch, ColumnMapping, Reject, opened, split_by_event, time_parser
from bitseg.values import Column, ValueType, dictionary_encode, encode, infer

BATCH_ROWS = 50_000
WHITESPACE = "whitespace"
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*|(?=\.\d))(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}

# The number of a row's last line, from 1 on, and its cells, or the reason why it has none.
Row = tuple[int, list[str] | str]


def read_csv(
    path: Path, mapping: ColumnMapping, calendar: Calendar, now_ms: int, delimiter: str = ","
) -> Iterator[Batch]:
    """Batches of a file in UTF-8 whose first line names the columns.

    `delimiter` is one character or `whitespace`. Empty cells are ignored. A column whose cells in the first batch
    are all numbers, booleans, dates or datetimes has that type, otherwise strings. User rows without a time get
    `now_ms`. Raises ImportFileError if the file cannot be read or lacks a column.
    """
    if delimiter != WHITESPACE and len(delimiter) != 1:
        raise InvalidArgumentError(f"{delimiter!r} is not a delimiter", hint=f"use one character or {WHITESPACE}")
    with opened(path) as (file, position):
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        try:
            rows = _rows(text, delimiter)
            table = _Table(path, _header(rows, path), mapping, calendar, now_ms)
            while batch := list(islice(rows, BATCH_ROWS)):
                yield table.batch(batch, position())
        finally:
            text.detach()


def read_user_ids(content: bytes, user_column: str | None = None) -> Iterator[str]:
    """The ids in a column, by default the first, of a UTF-8 table with a header line.

    Raises ImportFileError for a line without an id.
    """
    rows = _rows(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors="surrogateescape", newline=""), ",")
    header = _header(rows, "the table")
    if user_column is not None and user_column not in header:
        raise ImportFileError(
            f'the table has no column "{user_column}"', hint=f"its columns are {', '.join(map(repr, header[:20]))}"
        )
    place = 0 if user_column is None else header.index(user_column)
    for line, cells in rows:
        if isinstance(cells, str):
            raise ImportFileError(f"line {line}: {cells}")
        if len(cells) <= place or not cells[place]:
            raise ImportFileError(f"line {line} has no user id")
        yield cells[place]


def _rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[Row]:
    if delimiter == WHITESPACE:
        for number, line in enumerate(text, 1):
            if cells := line.split():
                yield number, cells
        return
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"not CSV: {error}"
            continue
        if cells:
            yield reader.line_num, cells


def _header(rows: Iterator[Row], source: Path | str) -> list[str]:
    _, header = next(rows, (0, "the file is empty"))
    if isinstance(header, str):
        raise ImportFileError(f"{source} has no header line that names the columns: {header}")
    return [name.strip() for name in header]


class _Table:
    """Turns rows of text into columns, with types inferred from the first rows."""

    def __init__(self, path: Path, header: list[str], mapping: ColumnMapping, calendar: Calendar, now_ms: int) -> None:
        self._header = header
        self._mapping = mapping
        self._calendar = calendar
        self._now_ms = now_ms
        self._value_names = mapping.value_columns(header, path)
        self._types: dict[str, ValueType] = dict(mapping.types)
        self._parse_time = time_parser(mapping.time_format, calendar)
        self._time_place = None if mapping.time_column is None else header.index(mapping.time_column)

    def batch(self, rows: Sequence[Row], bytes_read: int) -> Batch:
        rejects: list[Reject] = []
        lines: list[int] = []
        whole: list[list[str]] = []
        times_ms: list[int] = []
        for line, cells in rows:
            try:
                if isinstance(cells, str):
                    raise ValueError(cells)
                if len(cells) != len(self._header):
                    raise ValueError(f"expected {len(self._header)} fields, found {len(cells)}")
                if not _is_unicode(cells):
                    raise ValueError("not UTF-8")
                times_ms.append(self._time(cells))
            except ValueError as error:
                text = cells if isinstance(cells, str) else ",".join(cells)
                rejects.append(Reject(line, str(error), text=text))
                continue
            lines.append(line)
            whole.append(cells)
        if not whole:
            return Batch(rejects=rejects, bytes_read=bytes_read)
        cells_by_name = dict(zip(self._header, map(list, zip(*whole, strict=True)), strict=True))
        values = {name: self._column(name, cells_by_name[name], lines, rejects) for name in self._value_names}
        columns = Columns(
            self._mapping.event,
            cells_by_name[self._mapping.user_column],
            np.array(times_ms, np.int64),
            {name: column for name, column in values.items() if column is not None},
            np.array(lines, np.int64),
        )
        if self._mapping.event_column is not None:
            codes, names = dictionary_encode(cells_by_name[self._mapping.event_column])
            blocks = split_by_event(columns, np.array(codes, np.int32), names)
        else:
            blocks = [columns]
        return Batch(columns=blocks, rejects=rejects, bytes_read=bytes_read)

    def _time(self, cells: list[str]) -> int:
        if self._time_place is None:
            return self._now_ms
        cell = cells[self._time_place]
        if not cell and not self._mapping.is_events:
            return self._now_ms
        try:
            return self._parse_time(cell)
        except (ValueError, OverflowError):
            raise ValueError(f"{cell!r} is not a time of the format {self._mapping.time_format}") from None

    def _column(self, name: str, cells: list[str], lines: list[int], rejects: list[Reject]) -> Column | None:
        value_type = self._types.get(name) or _shown_type(cells)
        if value_type is None:
            return None
        self._types[name] = value_type
        convert = _CONVERTERS.get(value_type, str)
        values = [convert(cell) if cell else None for cell in cells]
        column, refused = encode(values, value_type, self._calendar)
        rejects += [Reject(lines[row], reason, name) for row, reason in refused]
        return column


def _is_unicode(cells: list[str]) -> bool:
    return not any("\udc80" <= character <= "\udcff" for cell in cells if not cell.isascii() for character in cell)


def _shown_type(cells: list[str]) -> ValueType | None:
    """The type of all cells that are not empty; None if all are empty."""
    filled = [cell for cell in cells if cell]
    if not filled:
        return None
    if all(map(_NUMBER.fullmatch, filled)):
        return ValueType.NUMBER
    if all(cell.lower() in _BOOLEANS for cell in filled):
        return ValueType.BOOLEAN
    kinds = {infer(cell) for cell in filled}
    return kinds.pop() if len(kinds) == 1 else ValueType.STRING


def _number(cell: str) -> Any:
    if not _NUMBER.fullmatch(cell):
        return cell
    return int(cell) if cell.lstrip("+-").isdigit() and len(cell) < 20 else float(cell)


def _geo(cell: str) -> Any:
    latitude, _, longitude = cell.partition(",")
    point = {"lat": _number(latitude.strip()), "lon": _number(longitude.strip())}
    return cell if any(isinstance(value, str) for value in point.values()) else point


_CONVERTERS: dict[ValueType, Callable[[str], Any]] = {
    ValueType.NUMBER: _number,
    ValueType.BOOLEAN: lambda cell: _BOOLEANS.get(cell.lower(), cell),
    ValueType.LIST: lambda cell: cell.split("|"),
    ValueType.GEO: _geo,
}
