"""The common parts of all importers: batches, rejects, column mappings, and the parsing of times."""

import gzip
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar, to_ms
from bitseg.columns import Columns, selected
from bitseg.errors import ImportFileError, InvalidArgumentError
from bitseg.operations import Operation
from bitseg.values import ValueType

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected part of a file: a whole line, or its value `name`."""

    line: int
    reason: str
    name: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of a file.

    `lines` has the line of every operation; `columns` number their rows by line. `bytes_read` is the offset in the file
    at the end of the batch, for progress.
    """

    operations: Sequence[Operation] = ()
    lines: Sequence[int] = ()
    columns: Sequence[Columns] = ()
    rejects: Sequence[Reject] = ()
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The meaning of a table's columns. All others are properties, or attributes if there is no event.

    `time_format` is `iso`, `unix` (seconds), `unix-ms`, or a pattern of strptime. Columns in `types` have the given
    type; the types of all others are inferred from their values.
    """

    user_column: str
    event: str | None = None
    event_column: str | None = None
    time_column: str | None = None
    time_format: str = "iso"
    types: Mapping[str, ValueType] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.is_events and self.time_column is None:
            raise InvalidArgumentError("events need a time", hint="name the column with --time-column")
        if self.event is not None and self.event_column is not None:
            raise InvalidArgumentError("an event has one name", hint="give --event or --event-column, not both")

    @property
    def is_events(self) -> bool:
        """Whether the rows are events rather than users."""
        return self.event is not None or self.event_column is not None

    def value_columns(self, columns: Sequence[str], path: Path) -> list[str]:
        """The columns that are properties or attributes; ImportFileError if a column of the mapping is missing."""
        special = [self.user_column, self.event_column, self.time_column]
        for name in [*special, *self.types, *self.ignored]:
            if name is not None and name not in columns:
                raise ImportFileError(f"{path} has no column {name!r}", hint=f"it has {', '.join(columns)}")
        repeated = {name for name in columns if columns.count(name) > 1}
        if repeated:
            raise ImportFileError(f"{path} has more than one column named {', '.join(sorted(repeated))}")
        return [name for name in columns if name not in special and name not in self.ignored]


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A file's bytes, unpacked if it is gzipped, and a function that returns the current offset in the file.

    Raises ImportFileError if the file cannot be read, also midway.
    """
    try:
        if str(path) == STANDARD_INPUT:
            yield sys.stdin.buffer, lambda: 0
            return
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                with gzip.open(raw) as unpacked:
                    yield cast(IO[bytes], unpacked), raw.tell
            else:
                yield raw, raw.tell
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImportFileError(f"cannot read {path}: {reason}") from error


def split_by_event(columns: Columns, codes: NDArray[np.int32], names: Sequence[str]) -> list[Columns]:
    """Rows of many events as one block per event; `codes` has the index in `names` of every row's event."""
    # Small integers are sorted by radix.
    order = np.argsort(codes.astype(np.int16) if len(names) < 2**15 else codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    return [
        replace(selected(columns, rows), event=name)
        for name, rows in zip(names, np.split(order, ends[:-1]), strict=True)
        if len(rows)
    ]


def size_bytes(path: Path) -> int | None:
    """The size of a file in bytes; None for a pipe or the like."""
    return path.stat().st_size if path.is_file() else None


def parse_iso(text: str, calendar: Calendar) -> int:
    """The instant of an ISO-8601 date or datetime, local to the calendar's zone without an offset; ValueError."""
    moment = datetime.fromisoformat(text)
    if not 2 <= moment.year <= 9998:
        raise ValueError(text)
    return to_ms(moment) if moment.tzinfo is UTC else calendar.local_ms(moment)


def time_parser(time_format: str, calendar: Calendar) -> Callable[[Any], int]:
    """A function from a cell to its instant; it raises ValueError for a cell of another format."""
    if time_format == "iso":
        return lambda cell: parse_iso(cell, calendar)
    if time_format in ("unix", "unix-ms"):
        factor = 1000 if time_format == "unix" else 1
        return lambda cell: _unix(cell, factor)
    if "%" not in time_format:
        raise InvalidArgumentError(
            f"{time_format!r} is not a time format",
            hint='use iso, unix, unix-ms, or a pattern such as "%d/%m/%Y %H:%M"',
        )

    # Cached, because times in files repeat, especially days, and strptime is slow.
    @lru_cache(maxsize=100_000)
    def parse(cell: str) -> int:
        moment = datetime.strptime(cell, time_format)
        if not 2 <= moment.year <= 9998:
            raise ValueError(cell)
        return calendar.local_ms(moment)

    return parse


_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{1,9})?", re.ASCII)


def _unix(cell: Any, factor: int) -> int:
    text = str(cell)
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    whole, _, fraction = text.partition(".")
    milliseconds = int((fraction + "000")[:3]) if factor == 1000 else 0
    instant_ms = int(whole) * factor + (-milliseconds if text.startswith("-") else milliseconds)
    if not FIRST_INSTANT_MS <= instant_ms <= LAST_INSTANT_MS:
        raise ValueError(text)
    return instant_ms
