"""`bitseg statistics`, `snapshot`, `backup`, `restore`, `verify` and `export`."""

from dataclasses import asdict
from pathlib import Path

import click

from bitseg.cli.output import message, print_json
from bitseg.cli.target import Remote, Target, data_option, opened, target_options
from bitseg.engine import Engine
from bitseg.errors import DataDirectoryError
from bitseg.formats.parquet_export import export
from bitseg.results import SnapshotResult


@click.command("statistics")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@target_options
def statistics_command(as_json: bool, data: Path, server: Remote | None) -> None:
    """Print the counts of everything, and the bytes in memory and on disk."""
    with Target(data, server).opened() as target:
        values = asdict(target.statistics())
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' ')}: {value:,}")


@click.command("snapshot")
@target_options
def snapshot_command(data: Path, server: Remote | None) -> None:
    """Write what changed since the last snapshot, and shorten the journal."""
    with Target(data, server).opened() as target:
        _print_snapshot(target.snapshot())


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@target_options
def backup_command(directory: Path, data: Path, server: Remote | None) -> None:
    """Copy the workspace into DIRECTORY, which must be empty or new.

    With --server, the server copies it without interruption, and DIRECTORY is on the server's machine.
    """
    with Target(data, server).opened() as target:
        _print_snapshot(target.backup(directory.absolute()))


@click.command("restore")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@data_option
def restore_command(directory: Path, data: Path) -> None:
    """Verify the backup in DIRECTORY, and copy it to the data directory."""
    with opened(directory, create=False) as engine:
        _require_sound(directory, engine)
        _print_snapshot(engine.backup(data))


@click.command("verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
def verify_command(directory: Path) -> None:
    """Check a data directory or a backup: every checksum, and bitmaps and tables against columns.

    Nothing is changed, except that a write that a crash interrupted is cut off the journal and saved in a file.
    """
    with opened(directory, with_account=True, create=False) as engine:
        _require_sound(directory, engine)
        click.echo(f"{directory}: {engine.user_count:,} users, {engine.event_count:,} events, all sound")


@click.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@data_option
def export_command(directory: Path, data: Path) -> None:
    """Write users and events into DIRECTORY as Parquet files, which `bitseg import DIRECTORY/*` reads back.

    users.parquet has a row per user and a column per attribute. Every event name has a file with a row per event.
    """
    with opened(data, create=False) as engine:
        for path, rows in export(engine.tables(), directory):
            click.echo(f"{path}: {rows:,} rows")


def _require_sound(directory: Path, engine: Engine) -> None:
    faults = engine.verify()
    if faults:
        for fault in faults:
            message(fault)
        raise DataDirectoryError(f"{directory} has {len(faults):,} faults", hint="restore another backup")


def _print_snapshot(result: SnapshotResult) -> None:
    click.echo(f"version {result.version:,}, {result.size_bytes:,} bytes, in {result.seconds:.2f} s")
