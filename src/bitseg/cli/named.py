"""The commands for every kind of catalog entry: show, list, rename, delete and update, made from a `Kind`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from bitseg.api import Catalog
from bitseg.calendar import format_instant
from bitseg.cli.output import print_json
from bitseg.cli.target import Remote, Target, target_options
from bitseg.client.paging import on_all_pages
from bitseg.entries import Entry

T = TypeVar("T", bound=Entry)
Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
etag_option = click.option("--etag", default="", help="Fail unless this is the current etag.")
contains_option = click.option(
    "--contains", default="", metavar="TEXT", help="Only entries with TEXT in their names, ignoring case."
)


def _labels(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, str] | None:
    pairs = [label.partition("=") for label in given]
    if not all(separator for _, separator, _ in pairs):
        raise click.BadParameter("write KEY=VALUE")
    return {key: value for key, _, value in pairs} or None


label_option = click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", callback=_labels, help="A label; can be repeated."
)


def details_options(command: Command) -> Command:
    """Add --description and --label."""
    description = click.option("--description", metavar="TEXT", help="A description.")
    return description(label_option(command))


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of catalog entry: its methods of the catalog, and how an entry is printed.

    `fields` are printed by `show` between the name and the details, `line` by `list` after the name.
    `update_options` are options of `update` beside --description, --label and --etag, and `update_values` turns their
    values into arguments of the catalog's method.
    """

    noun: str
    plural: str
    fields: Callable[[T], dict[str, object]]
    line: Callable[[T], object]
    used_by: str
    update_options: Callable[[Command], Command] = lambda command: command
    update_values: Callable[..., dict[str, Any]] = dict

    def method(self, catalog: Catalog, verb: str) -> Callable[..., Any]:
        """A method of the catalog, such as `get_segment`."""
        noun = self.plural if verb == "list" else self.noun
        method: Callable[..., Any] = getattr(catalog, f"{verb}_{noun}")
        return method

    def all_fields(self, entry: T) -> dict[str, object]:
        """All fields of an entry, by their names in the JSON output."""
        details = entry.details
        return {
            "name": entry.name,
            **self.fields(entry),
            "description": details.description,
            "labels": details.labels,
            "created": format_instant(details.created_ms) if details.created_ms else None,
            "updated": format_instant(details.updated_ms) if details.updated_ms else None,
            "etag": entry.etag,
        }


def resource_commands(group: click.Group, kind: Kind[Any]) -> None:
    """Add show, list, rename, delete and update to a group."""

    def add(verb: str, purpose: str, *decorators: Callable[[Command], Command]) -> Callable[[Command], None]:
        def added(command: Command) -> None:
            for decorator in reversed((*decorators, target_options)):
                command = decorator(command)
            group.command(verb, help=purpose)(command)

        return added

    name, new_name = click.argument("name"), click.argument("new_name")

    @add("show", f"Print the {kind.noun} NAME with its description, labels, times and etag.", name, json_option)
    def show(name: str, as_json: bool, data: Path, server: Remote | None) -> None:
        with Target(data, server).opened() as target:
            entry = kind.method(target.catalog, "get")(name)
        _print_fields(kind.all_fields(entry), as_json)

    @add("list", f"Print the {kind.plural} by name, one per line.", contains_option, label_option, json_option)
    def list_all(
        contains: str, labels: dict[str, str] | None, as_json: bool, data: Path, server: Remote | None
    ) -> None:
        with Target(data, server).opened() as target:
            page_of = kind.method(target.catalog, "list")
            entries = [*on_all_pages(lambda token: page_of(name_contains=contains, labels=labels, page_token=token))]
        if as_json:
            print_json([kind.all_fields(entry) for entry in entries])
            return
        for entry in entries:
            click.echo(f"{entry.name}: {kind.line(entry)}")

    @add(
        "rename",
        f"Rename the {kind.noun} NAME to NEW_NAME, also in the {kind.used_by} that refer to it.",
        name,
        new_name,
        etag_option,
    )
    def rename(name: str, new_name: str, etag: str, data: Path, server: Remote | None) -> None:
        with Target(data, server).opened() as target:
            kind.method(target.catalog, "rename")(name, new_name, etag=etag)

    @add("delete", f"Delete the {kind.noun} NAME unless {kind.used_by} refer to it. Users stay.", name, etag_option)
    def delete(name: str, etag: str, data: Path, server: Remote | None) -> None:
        with Target(data, server).opened() as target:
            kind.method(target.catalog, "delete")(name, etag=etag)

    @add(
        "update",
        f"Change the given fields of the {kind.noun} NAME.",
        name,
        kind.update_options,
        details_options,
        etag_option,
    )
    def update(
        name: str,
        description: str | None,
        labels: dict[str, str] | None,
        etag: str,
        data: Path,
        server: Remote | None,
        **options: Any,
    ) -> None:
        values = kind.update_values(**options)
        with Target(data, server).opened() as target:
            update = kind.method(target.catalog, "update")
            update(name, description=description, labels=labels, etag=etag, **values)


def _print_fields(fields: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    labels = fields.pop("labels")
    assert isinstance(labels, dict)
    for name, value in (*fields.items(), *((f"label {key}", value) for key, value in labels.items())):
        if value not in ("", None):
            click.echo(f"{name}: {value}")
