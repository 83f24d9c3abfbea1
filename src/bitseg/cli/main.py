"""The command `bitseg`."""

import sys
from datetime import datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import click

from bitseg.api import Query
from bitseg.cli.catalog import lists_group, schema_group, segments_group
from bitseg.cli.demo import demo_command
from bitseg.cli.explain import explain_command, explain_window_command
from bitseg.cli.importing import import_command
from bitseg.cli.output import message, print_error, print_json, print_plan, print_warnings
from bitseg.cli.query import definition_option, expression_argument, query_of, query_options
from bitseg.cli.serving import serve_command
from bitseg.cli.storage import (
    backup_command,
    export_command,
    restore_command,
    snapshot_command,
    statistics_command,
    verify_command,
)
from bitseg.cli.target import Remote, Target, data_option
from bitseg.cli.token import token_group
from bitseg.cli.user import user_command
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.errors import BitsegError, InvalidArgumentError
from bitseg.segment import format, parse
from bitseg.wire.segments import to_json


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version("bitseg"), prog_name="bitseg")
def cli() -> None:
    """Exact, live user segments: import users and events, then count and list who is in a segment.

    A segment is an expression such as 'country = "US" and did "Charged" at least 3 times in last 30 days'.
    """


@cli.command("init")
@data_option
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="IANA time zone of the days.")
@click.option("--retention-days", type=int, metavar="N", help="Keep events of the last N days only.")
def init_command(data: Path, timezone: str, retention_days: int | None) -> None:
    """Make a workspace; its time zone cannot be changed later.

    Without this, the first import makes one in UTC that retains all events.
    """
    Engine.create(data, WorkspaceSettings(timezone, retention_days)).close()
    message(f"made a workspace in {data}, time zone {timezone}")


@cli.command("count")
@query_options("Print count, version, time and warnings as JSON.")
@click.option("--explain", "with_plan", is_flag=True, help="Print how the count is computed (not with --server).")
def count_command(
    query: Query, as_json: bool, with_plan: bool, as_of: datetime | None, data: Path, server: Remote | None
) -> None:
    """Print how many users are in a segment."""
    if with_plan and server is not None:
        raise click.UsageError("--explain works on a data directory, not with --server")
    with Target(data, server).opened_with_engine() as (target, engine):
        plan = engine.explain_plan(query, as_of) if with_plan and engine is not None else None
        result = target.count(query, as_of)
    if as_json:
        print_json(
            {
                "count": result.count,
                "version": result.version,
                "elapsed_ms": round(result.elapsed_seconds * 1000, 3),
                "warnings": result.warnings,
            }
        )
    else:
        print_warnings(result.warnings)
        if plan is not None:
            print_plan(plan)
        click.echo(result.count)


@cli.command("members")
@query_options("Print total, version, warnings and members as JSON.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Print the first N only.")
def members_command(
    query: Query, limit: int | None, as_json: bool, as_of: datetime | None, data: Path, server: Remote | None
) -> None:
    """Print the ids of the users in a segment, one per line."""
    with Target(data, server).opened() as target:
        members = target.members(query, as_of)
        left = members.total if limit is None else limit
        shown: list[str] = []
        if not as_json:
            print_warnings(members.warnings)
        for page in members.pages:
            page = page[:left]
            left -= len(page)
            if as_json:
                shown += page
            elif page:
                click.echo("\n".join(page))
            if not left:
                break
    if as_json:
        print_json({"total": members.total, "version": members.version, "warnings": members.warnings, "members": shown})


@cli.command("format")
@expression_argument
@definition_option
@click.option("--json", "as_json", is_flag=True, help="Print the JSON form instead of text.")
def format_command(expression: str | None, definition: Path | None, as_json: bool) -> None:
    """Check a segment and print its canonical text, or its JSON form."""
    query = query_of(expression, definition)
    condition = parse(query) if isinstance(query, str) else query
    click.echo(to_json(condition) if as_json else format(condition))


for command in (
    serve_command,
    token_group,
    import_command,
    demo_command,
    explain_command,
    explain_window_command,
    segments_group,
    lists_group,
    schema_group,
    user_command,
    statistics_command,
    snapshot_command,
    backup_command,
    restore_command,
    verify_command,
    export_command,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line. Exits with status 0, 1 for a failure, or 2 for wrong usage."""
    context: click.Context | None = None
    try:
        with cli.make_context("bitseg", sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        message("interrupted")
        sys.exit(1)
    except BrokenPipeError:
        # The reader of a pipe has closed it; without this, Python reports it again when it closes the stream.
        sys.stdout = None
        sys.exit(1)
    except BitsegError as error:
        print_error(error)
        sys.exit(2 if isinstance(error, InvalidArgumentError) else 1)
