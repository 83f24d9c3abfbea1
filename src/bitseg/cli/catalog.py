"""`bitseg segments`, `bitseg lists` and `bitseg schema`: what a workspace keeps beside users and events."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bitseg.calendar import format_instant
from bitseg.cli.output import print_json
from bitseg.cli.query import definition_option, expression_argument, query_of
from bitseg.cli.target import Remote, Target, data_option, opened, target_options
from bitseg.client.paging import on_all_pages
from bitseg.entries import Details, SavedSegment, StaticList
from bitseg.errors import ImportFileError
from bitseg.formats.csv import read_user_ids
from bitseg.values import ValueType

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
contains_option = click.option(
    "--contains", default="", metavar="TEXT", help="Only those with TEXT in their names, whatever the case."
)
etag_option = click.option("--etag", default="", help="Refuse unless this is the etag of what is there.")


def _labels(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, str] | None:
    pairs = [each.partition("=") for each in given]
    if not all(separator for _, separator, _ in pairs):
        raise click.BadParameter("write KEY=VALUE")
    return {key: value for key, _, value in pairs} or None


label_option = click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", callback=_labels, help="A label; can be repeated."
)


def _details_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --description and --label."""
    description = click.option("--description", metavar="TEXT", help="What it is for.")
    return description(label_option(command))


def _given(details: Details) -> dict[str, object]:
    return {
        "description": details.description,
        "labels": details.labels,
        "created": format_instant(details.created_ms) if details.created_ms else None,
        "updated": format_instant(details.updated_ms) if details.updated_ms else None,
    }


def _segment_fields(segment: SavedSegment) -> dict[str, object]:
    return {"name": segment.name, "expression": segment.text, **_given(segment.details), "etag": segment.etag}


def _list_fields(found: StaticList) -> dict[str, object]:
    return {"name": found.name, "size": found.size, **_given(found.details), "etag": found.etag}


def _print_fields(fields: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    labels = fields.pop("labels")
    assert isinstance(labels, dict)
    for name, value in (*fields.items(), *((f"label {key}", value) for key, value in labels.items())):
        if value not in ("", None):
            click.echo(f"{name}: {value}")


@click.group("segments")
def segments_group() -> None:
    """Segments saved by name, for use as 'in segment "NAME"'."""


@segments_group.command("create")
@click.argument("name")
@expression_argument
@definition_option
@_details_options
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
    """Save a segment under NAME, which no other has."""
    query = query_of(expression, definition)
    with Target(data, server).opened(create=True) as target:
        target.catalog.create_segment(name, query, description=description or "", labels=labels)


@segments_group.command("set")
@click.argument("name")
@expression_argument
@definition_option
@target_options
def set_segment(name: str, expression: str | None, definition: Path | None, data: Path, server: Remote | None) -> None:
    """Save a segment under NAME, in place of the definition that it had."""
    query = query_of(expression, definition)
    with Target(data, server).opened(create=True) as target:
        target.catalog.save_segment(name, query)


@segments_group.command("update")
@click.argument("name")
@expression_argument
@definition_option
@_details_options
@etag_option
@target_options
def update_segment(
    name: str,
    expression: str | None,
    definition: Path | None,
    description: str | None,
    labels: dict[str, str] | None,
    etag: str,
    data: Path,
    server: Remote | None,
) -> None:
    """Change what is given of the segment NAME."""
    query = None if expression is None and definition is None else query_of(expression, definition)
    with Target(data, server).opened() as target:
        target.catalog.update_segment(name, query=query, description=description, labels=labels, etag=etag)


@segments_group.command("list")
@contains_option
@label_option
@json_option
@target_options
def list_segments(
    contains: str, labels: dict[str, str] | None, as_json: bool, data: Path, server: Remote | None
) -> None:
    """Print the saved segments by name, one a line."""
    with Target(data, server).opened() as target:
        listed = target.catalog.list_segments
        found = [*on_all_pages(lambda token: listed(name_contains=contains, labels=labels, page_token=token))]
    if as_json:
        print_json([_segment_fields(each) for each in found])
        return
    for each in found:
        click.echo(f"{each.name}: {each.text}")


@segments_group.command("show")
@click.argument("name")
@json_option
@target_options
def show_segment(name: str, as_json: bool, data: Path, server: Remote | None) -> None:
    """Print a saved segment: its definition, description, labels, times and etag."""
    with Target(data, server).opened() as target:
        found = target.catalog.get_segment(name)
    _print_fields(_segment_fields(found), as_json)


@segments_group.command("rename")
@click.argument("name")
@click.argument("new_name")
@etag_option
@target_options
def rename_segment(name: str, new_name: str, etag: str, data: Path, server: Remote | None) -> None:
    """Call the segment NAME by NEW_NAME, also in the segments that refer to it."""
    with Target(data, server).opened() as target:
        target.catalog.rename_segment(name, new_name, etag=etag)


@segments_group.command("clone")
@click.argument("name")
@click.argument("new_name")
@target_options
def clone_segment(name: str, new_name: str, data: Path, server: Remote | None) -> None:
    """Save a copy of the segment NAME under NEW_NAME."""
    with Target(data, server).opened() as target:
        target.catalog.clone_segment(name, new_name)


@segments_group.command("delete")
@click.argument("name")
@etag_option
@target_options
def delete_segment(name: str, etag: str, data: Path, server: Remote | None) -> None:
    """Forget a saved segment that no other uses. Users stay."""
    with Target(data, server).opened() as target:
        target.catalog.delete_segment(name, etag=etag)


@click.group("lists")
def lists_group() -> None:
    """Static lists of user ids, for use as 'in list "NAME"'."""


def _file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add FILE and --column."""
    file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
    column = click.option(
        "--column", metavar="COLUMN", help="FILE is CSV with a header, and the ids are in this column."
    )
    return file(column(command))


def _user_ids(file: Path, column: str | None) -> list[str]:
    """The ids in a file: one a line, or in a column of CSV."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        if column is not None:
            return list(read_user_ids(content, column))
        return [line for line in content.decode("utf-8-sig").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFileError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


@lists_group.command("create")
@click.argument("name")
@_file_options
@_details_options
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
    """Save the ids in FILE, one a line ("-" is standard input), under NAME, which no other list has; print how many."""
    user_ids = _user_ids(file, column)
    with Target(data, server).opened(create=True) as target:
        found = target.catalog.create_list(name, user_ids, description=description or "", labels=labels)
    click.echo(found.size)


@lists_group.command("set")
@click.argument("name")
@_file_options
@_details_options
@etag_option
@target_options
def set_list(
    name: str,
    file: Path,
    column: str | None,
    description: str | None,
    labels: dict[str, str] | None,
    etag: str,
    data: Path,
    server: Remote | None,
) -> None:
    """Save the ids in FILE, one a line ("-" is standard input), in place of the list NAME; print how many."""
    user_ids = _user_ids(file, column)
    with Target(data, server).opened(create=True) as target:
        found = target.catalog.save_list(name, user_ids, description=description, labels=labels, etag=etag)
    click.echo(found.size)


@lists_group.command("update")
@click.argument("name")
@_details_options
@etag_option
@target_options
def update_list(
    name: str, description: str | None, labels: dict[str, str] | None, etag: str, data: Path, server: Remote | None
) -> None:
    """Change the description or the labels of the list NAME."""
    with Target(data, server).opened() as target:
        target.catalog.update_list(name, description=description, labels=labels, etag=etag)


@lists_group.command("list")
@contains_option
@label_option
@json_option
@target_options
def list_lists(contains: str, labels: dict[str, str] | None, as_json: bool, data: Path, server: Remote | None) -> None:
    """Print the lists by name and how many ids each has."""
    with Target(data, server).opened() as target:
        listed = target.catalog.list_lists
        found = [*on_all_pages(lambda token: listed(name_contains=contains, labels=labels, page_token=token))]
    if as_json:
        print_json([_list_fields(each) for each in found])
        return
    for each in found:
        click.echo(f"{each.name}: {each.size}")


@lists_group.command("show")
@click.argument("name")
@json_option
@target_options
def show_list(name: str, as_json: bool, data: Path, server: Remote | None) -> None:
    """Print a list without its ids: how many, description, labels, times and etag."""
    with Target(data, server).opened() as target:
        found = target.catalog.get_list(name)
    _print_fields(_list_fields(found), as_json)


@lists_group.command("rename")
@click.argument("name")
@click.argument("new_name")
@etag_option
@target_options
def rename_list(name: str, new_name: str, etag: str, data: Path, server: Remote | None) -> None:
    """Call the list NAME by NEW_NAME, also in the segments that refer to it."""
    with Target(data, server).opened() as target:
        target.catalog.rename_list(name, new_name, etag=etag)


@lists_group.command("delete")
@click.argument("name")
@etag_option
@target_options
def delete_list(name: str, etag: str, data: Path, server: Remote | None) -> None:
    """Forget a list that no saved segment uses. Users stay."""
    with Target(data, server).opened() as target:
        target.catalog.delete_list(name, etag=etag)


@click.group("schema")
def schema_group() -> None:
    """Types of attributes and of the properties of events."""


@schema_group.command("set")
@click.argument("name")
@click.argument("type_", metavar="TYPE", type=click.Choice([kind.value for kind in ValueType]))
@click.option("--event", metavar="EVENT", help="The event whose property it is; without one, NAME is an attribute.")
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
        found = engine.schema()
    if as_json:
        print_json([{"event": f.event, "name": f.name, "type": f.type.value, "declared": f.declared} for f in found])
        return
    for field in found:
        owner = "attribute" if field.event is None else f'property of "{field.event}"'
        click.echo(f"{field.name}: {field.type.value}, {owner}{', declared' if field.declared else ''}")
