"""`bitseg import`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from bitseg.api import Workspace
from bitseg.calendar import Calendar
from bitseg.cli.output import message, print_json, progress
from bitseg.cli.process import collecting_seldom
from bitseg.cli.target import Remote, Target, target_options
from bitseg.clock import SystemClock
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError
from bitseg.formats.base import STANDARD_INPUT, Batch, ColumnMapping, size_bytes
from bitseg.formats.csv import WHITESPACE, read_csv
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, Summary, load
from bitseg.formats.parquet import exported_mapping, read_parquet
from bitseg.operations import Operation
from bitseg.results import IngestResult
from bitseg.runtime.interrupts import interrupts_deferred
from bitseg.storage.journal import SyncPolicy
from bitseg.values import ValueType

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv", "parquet"]), help="Default: by file name.")
@click.option("--user-column", metavar="NAME", help="Column of user ids (CSV, Parquet).")
@click.option("--event", metavar="NAME", help="The event of every row.")
@click.option(
    "--event-column", metavar="NAME", help="Column of event names. Without --event and --event-column, rows are users."
)
@click.option("--time-column", metavar="NAME", help="Column of times.")
@click.option(
    "--time-format",
    default="iso",
    show_default=True,
    metavar="FORMAT",
    help='iso, unix, unix-ms, or a strptime pattern such as "%d/%m/%Y %H:%M".',
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COLUMN=TYPE",
    help=f"Type of a column: {', '.join(kind.value for kind in ValueType)}. Default: inferred from its values.",
)
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Leave a column out.")
@click.option(
    "--delimiter", default=None, metavar="CHARACTER", help=f"Delimiter of CSV: a character, tab, or {WHITESPACE}."
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for rejected lines. Default: FILE.rejects.jsonl.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@target_options
def import_command(
    files: tuple[Path, ...],
    format_: str | None,
    user_column: str | None,
    event: str | None,
    event_column: str | None,
    time_column: str | None,
    time_format: str,
    types: tuple[str, ...],
    ignore: tuple[str, ...],
    delimiter: str | None,
    rejects: Path | None,
    as_json: bool,
    data: Path,
    server: Remote | None,
) -> None:
    """Import users and events from FILES ("-" is standard input; .gz is unpacked).

    JSONL holds calls of the Segment spec. In CSV (with a header line) and Parquet, name the user column and, for
    events, the event and the time column; all other columns become properties, or attributes of users. Parquet files
    that bitseg exported need no options.

    An invalid line does not stop the import: it is written to a rejects file, with its number and the reason.
    """
    mapping = None
    if user_column is not None:
        mapping = ColumnMapping(
            user_column, event, event_column, time_column, time_format, _types(types), frozenset(ignore)
        )
    # An import is acknowledged per file, not per batch.
    with Target(data, server).opened_with_engine(create=True, sync=SyncPolicy.NEVER) as (target, engine):
        for path in files:
            batches = _batches(path, format_, mapping, target.calendar, delimiter)
            rejects_path = rejects or Path(f"{'stdin' if str(path) == STANDARD_INPUT else path.name}.rejects.jsonl")
            with (
                RejectsFile(rejects_path) as rejects_file,
                progress(path.name, size_bytes(path)) as advance,
                collecting_seldom(),
            ):
                summary = load(
                    batches,
                    _WholeBatches(target),
                    rejects_file,
                    lambda done, account: advance(done, f"{account.accepted:,} rows"),
                )
            if engine is not None:
                engine.flush()
            _print_summary(path, summary, rejects_path, as_json)
        if mapping is not None and mapping.event_column is None and engine is not None:
            _print_types(engine, mapping.event)


class _WholeBatches:
    """Shields batches from Ctrl-C: the message ids of a partly applied batch would block its retry."""

    def __init__(self, target: Workspace) -> None:
        self._target = target

    def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        with interrupts_deferred():
            return self._target.ingest(operations)

    def ingest_columns(self, columns: Columns) -> IngestResult:
        with interrupts_deferred():
            return self._target.ingest_columns(columns)


def _batches(
    path: Path, format_: str | None, mapping: ColumnMapping | None, calendar: Calendar, delimiter: str | None
) -> Iterator[Batch]:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = format_ or _FORMATS.get(suffix.lower())
    if kind is None:
        raise InvalidArgumentError(f"the format of {path} is unknown", hint="set --format to jsonl, csv or parquet")
    now_ms = SystemClock().now_ms()
    if kind == "jsonl":
        return read_jsonl(path, calendar, now_ms)
    if mapping is None and kind == "parquet":
        mapping = exported_mapping(path)
    if mapping is None:
        raise InvalidArgumentError(f"the column of user ids in {path} is not named", hint="set --user-column NAME")
    if kind == "parquet":
        return read_parquet(path, mapping, calendar, now_ms)
    default = "\t" if suffix.lower() == ".tsv" else ","
    return read_csv(path, mapping, calendar, now_ms, {"tab": "\t", None: default}.get(delimiter, delimiter or default))


def _types(pairs: tuple[str, ...]) -> dict[str, ValueType]:
    types = {}
    for pair in pairs:
        column, separator, name = pair.rpartition("=")
        try:
            types[column] = ValueType(name)
        except ValueError:
            separator = ""
        if not separator:
            known = ", ".join(kind.value for kind in ValueType)
            raise InvalidArgumentError(f"--type {pair!r} is not COLUMN=TYPE", hint=f"types are {known}")
    return types


def _print_types(engine: Engine, event: str | None) -> None:
    """Print the inferred types, so that a wrong one is noticed early."""
    fields = [field for field in engine.schema() if field.event == event]
    owner = "attributes" if event is None else f'properties of "{event}"'
    if fields:
        message(f"{owner}: {', '.join(f'{field.name} ({field.type.value})' for field in fields)}")


def _print_summary(path: Path, summary: Summary, rejects_path: Path, as_json: bool) -> None:
    refused = summary.rejected_lines + summary.rejected_values
    if as_json:
        print_json({"file": str(path), **asdict(summary), "rejects": str(rejects_path) if refused else None})
    else:
        click.echo(
            f"{path}: {summary.accepted:,} rows imported, {summary.duplicates:,} repeated, "
            f"{summary.rejected_lines:,} rejected, {summary.rejected_values:,} single values left out"
        )
    if refused:
        message(f"the rejected lines and values, with reasons, are in {rejects_path}")
