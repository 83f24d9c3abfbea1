"""`bitseg segments`, `bitseg lists` and `bitseg schema`: the contents of a workspace beside users and events."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bitseg.cli.named import Kind, details_options, etag_option, json_option, resource_commands
from bitseg.cli.output import print_json
from bitseg.cli.query import definition_option, expression_argument, query_of
from bitseg.cli.target import Remote, Target, data_option, opened, target_options
from bitseg.entries import SavedSegment, StaticList
from bitseg.errors import ImportFileError
from bitseg.files import read_file
from bitseg.formats.csv import read_user_ids
from bitseg.segment.nodes import Condition
from bitseg.values import ValueType


@click.group("segments")
def segments_group() -> None:
    """Segments saved by name, for use as 'in segment "NAME"'."""


def _query_values(expression: str | None, definition: Path | None) -> dict[str, str | Condition]:
    return {} if expression is None and definition is None else {"query": query_of(expression, definition)}


SEGMENTS: Kind[SavedSegment] = Kind(
    "segment",
    "segments",
    fields=lambda segment: {"expression": segment.text},
    line=lambda segment: segment.text,
    used_by="segments",
    update_options=lambda command: expression_argument(definition_option(command)),
    update_values=_query_values,
)
resource_commands(segments_group, SEGMENTS)


@segments_group.command("create")
@click.argument("name")
@expression_argument
@definition_option
@details_options
@target_options
def create_segment(
    name: str,
    expression: str | None,
    definition: Path | None,
    description: str | None,
    labels: dict[str, str] | None,
    data: Path,
    server: Remote | None,
) -> None:
    """Save a segment under NAME, which must be unused."""
    query = query_of(expression, definition)
    with Target(data, server).opened(create=True) as target:
        target.catalog.create_segment(name, query, description=description or "", labels=labels)


@segments_group.command("set")
@click.argument("name")
@expression_argument
@definition_option
@details_options
@etag_option
@target_options
def set_segment(
    name: str, expression: str | None, definition: Path | None, data: Path, server: Remote | None, **details: Any
) -> None:
    """Save a segment under NAME, replacing its definition if it exists."""
    query = query_of(expression, definition)
    with Target(data, server).opened(create=True) as target:
        target.catalog.save_segment(name, query, **details)


@segments_group.command("clone")
@click.argument("name")
@click.argument("new_name")
@target_options
def clone_segment(name: str, new_name: str, data: Path, server: Remote | None) -> None:
    """Save a copy of the segment NAME under NEW_NAME."""
    with Target(data, server).opened() as target:
        target.catalog.clone_segment(name, new_name)


@click.group("lists")
def lists_group() -> None:
    """Static lists of user ids, for use as 'in list "NAME"'."""


LISTS: Kind[StaticList] = Kind(
    "list",
    "lists",
    fields=lambda user_list: {"size": user_list.size},
    line=lambda user_list: user_list.size,
    used_by="segments",
)
resource_commands(lists_group, LISTS)


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add FILE and --column."""
    file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
    column = click.option(
        "--column", metavar="COLUMN", help="Read the ids from this column of FILE, which is CSV with a header."
    )
    return file(column(command))


def _user_ids(file: Path, column: str | None) -> list[str]:
    """The ids in a file: one per line, or in a column of CSV."""
    content = sys.stdin.buffer.read() if str(file) == "-" else read_file(file, ImportFileError)
    if column is not None:
        return list(read_user_ids(content, column))
    try:
        return [line for line in content.decode("utf-8-sig").splitlines() if line]
    except UnicodeDecodeError as error:
        raise ImportFileError(f"cannot read {file}: it is not UTF-8 at byte {error.start:,}") from error


@lists_group.command("create")
@click.argument("name")
@_file_options
@details_options
@target_options
def create_list(
    name: str,
    file: Path,
    column: str | None,
    description: str | None,
    labels: dict[str, str] | None,
    data: Path,
    server: Remote | None,
) -> None:
    """Save the ids in FILE, one per line ("-" is standard input), under the unused NAME; print how many."""
    user_ids = _user_ids(file, column)
    with Target(data, server).opened(create=True) as target:
        saved = target.catalog.create_list(name, user_ids, description=description or "", labels=labels)
    click.echo(saved.size)


@lists_group.command("set")
@click.argument("name")
@_file_options
@details_options
@etag_option
@target_options
def set_list(name: str, file: Path, column: str | None, data: Path, server: Remote | None, **details: Any) -> None:
    """Save the ids in FILE, one per line ("-" is standard input), as the list NAME, replacing it; print how many."""
    user_ids = _user_ids(file, column)
    with Target(data, server).opened(create=True) as target:
        saved = target.catalog.save_list(name, user_ids, **details)
    click.echo(saved.size)


@click.group("schema")
def schema_group() -> None:
    """Types of attributes and of the properties of events."""


@schema_group.command("set")
@click.argument("name")
@click.argument("type_", metavar="TYPE", type=click.Choice([kind.value for kind in ValueType]))
@click.option("--event", metavar="EVENT", help="The event of the property NAME; without one, NAME is an attribute.")
@data_option
def set_type(name: str, type_: str, event: str | None, data: Path) -> None:
    """Fix the type of an attribute or a property before its first value does."""
    with opened(data) as engine:
        engine.declare(name, ValueType(type_), event)


@schema_group.command("list")
@json_option
@data_option
def list_types(as_json: bool, data: Path) -> None:
    """Print every attribute and property with its type, and whether it was declared."""
    with opened(data, create=False) as engine:
        fields = engine.schema()
    if as_json:
        print_json([{"event": f.event, "name": f.name, "type": f.type.value, "declared": f.declared} for f in fields])
        return
    for field in fields:
        owner = "attribute" if field.event is None else f'property of "{field.event}"'
        click.echo(f"{field.name}: {field.type.value}, {owner}{', declared' if field.declared else ''}")
