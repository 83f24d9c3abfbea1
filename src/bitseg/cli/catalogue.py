"""`bitseg segments`, `bitseg lists` and `bitseg schema`: what a workspace keeps beside users and events."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from bitseg.cli.output import print_json
from bitseg.cli.query import definition_option, expression_argument, query_of
from bitseg.cli.target import data_option, opened
from bitseg.errors import ImportFileError, NotFoundError
from bitseg.segment import format
from bitseg.values import ValueType

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print_by_name(found: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        click.echo(f"{name}: {value}")


@click.group("segments")
def segments_group() -> None:
    """Segments saved by name, for use as 'in segment "NAME"'."""


@segments_group.command("set")
@click.argument("name")
@expression_argument
@definition_option
@data_option
def set_segment(name: str, expression: str | None, definition: Path | None, data: Path) -> None:
    """Save a segment under NAME, in place of the one that had it."""
    with opened(data) as engine:
        engine.save_segment(name, query_of(expression, definition))


@segments_group.command("list")
@json_option
@data_option
def list_segments(as_json: bool, data: Path) -> None:
    """Print the saved segments, one a line."""
    with opened(data, create=False) as engine:
        texts = {name: format(condition) for name, condition in sorted(engine.segments.items())}
    _print_by_name(texts, as_json)


@segments_group.command("show")
@click.argument("name")
@data_option
def show_segment(name: str, data: Path) -> None:
    """Print the definition of a saved segment."""
    with opened(data, create=False) as engine:
        condition = engine.segments.get(name)
    if condition is None:
        raise NotFoundError(f'there is no segment "{name}"')
    click.echo(format(condition))


@segments_group.command("delete")
@click.argument("name")
@data_option
def delete_segment(name: str, data: Path) -> None:
    """Forget a saved segment that no other uses. Users stay."""
    with opened(data, create=False) as engine:
        engine.delete_segment(name)


@click.group("lists")
def lists_group() -> None:
    """Static lists of user ids, for use as 'in list "NAME"'."""


@lists_group.command("set")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_option
def set_list(name: str, file: Path, data: Path) -> None:
    """Save the ids in FILE, one a line ("-" is standard input), in place of the list that had the name."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFileError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    with opened(data) as engine:
        count = engine.save_list(name, (line for line in text.splitlines() if line))
    click.echo(count)


@lists_group.command("list")
@json_option
@data_option
def list_lists(as_json: bool, data: Path) -> None:
    """Print the lists and how many ids each has."""
    with opened(data, create=False) as engine:
        sizes = dict(sorted(engine.lists.items()))
    _print_by_name(sizes, as_json)


@lists_group.command("delete")
@click.argument("name")
@data_option
def delete_list(name: str, data: Path) -> None:
    """Forget a list that no saved segment uses. Users stay."""
    with opened(data, create=False) as engine:
        engine.delete_list(name)


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
