"""Loads a file's batches into an engine or a server, and records rejects."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import orjson

from bitseg.columns import Columns
from bitseg.errors import ImportFileError
from bitseg.formats.base import Batch, Reject
from bitseg.operations import Operation
from bitseg.results import IngestResult


class Target(Protocol):
    """The target of batches: an Engine or a Client."""

    def ingest(self, operations: Sequence[Operation]) -> IngestResult: ...

    def ingest_columns(self, columns: Columns) -> IngestResult: ...


@dataclass(slots=True)
class Summary:
    """The counts of a file: accepted, repeated and rejected lines, and rejected values of accepted lines."""

    accepted: int = 0
    duplicates: int = 0
    rejected_lines: int = 0
    rejected_values: int = 0


class RejectsFile:
    """A JSONL file of rejects: line, reason, and if known the value's name or the line's text.

    The file is created by the first reject.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def write(self, rejects: Iterable[Reject]) -> None:
        """Append rejects; ImportFileError if the file cannot be written."""
        try:
            for reject in rejects:
                if self._file is None:
                    self._file = self.path.open("wb")
                record: dict[str, int | str] = {"line": reject.line, "reason": _as_unicode(reject.reason)}
                if reject.name is not None:
                    record["name"] = _as_unicode(reject.name)
                if reject.text is not None:
                    record["text"] = _as_unicode(reject.text)
                self._file.write(orjson.dumps(record) + b"\n")
        except OSError as error:
            raise ImportFileError(
                f"cannot write the rejects to {self.path}: {error.strerror}", hint="name another file with --rejects"
            ) from error

    def __enter__(self) -> "RejectsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def load(
    batches: Iterable[Batch], target: Target, rejects: RejectsFile, progress: Callable[[int, Summary], None]
) -> Summary:
    """Send all batches to a target. `progress` is called after each with the bytes read and the counts so far."""
    summary = Summary()
    for batch in batches:
        refused = list(batch.rejects)
        if batch.operations:
            result = target.ingest(batch.operations)
            refused += _account(result, summary, batch.lines)
        for columns in batch.columns:
            result = target.ingest_columns(columns)
            refused += _account(result, summary, None)
        summary.rejected_lines += sum(reject.name is None for reject in batch.rejects)
        summary.rejected_values += sum(reject.name is not None for reject in batch.rejects)
        rejects.write(sorted(refused, key=lambda reject: reject.line))
        progress(batch.bytes_read, summary)
    return summary


def _account(result: IngestResult, summary: Summary, lines: Sequence[int] | None) -> list[Reject]:
    """Add a result to the counts, and return its rejections by line. Without `lines`, its rows are line numbers."""
    summary.accepted += result.accepted
    summary.duplicates += result.duplicates
    refused = [
        Reject(rejection.row if lines is None else lines[rejection.row], rejection.reason, rejection.name)
        for rejection in result.rejections
    ]
    summary.rejected_lines += sum(reject.name is None for reject in refused)
    summary.rejected_values += sum(reject.name is not None for reject in refused)
    return refused


def _as_unicode(text: str) -> str:
    return text.encode(errors="replace").decode()
