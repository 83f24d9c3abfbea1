"""The options of commands that evaluate a segment, which is an expression or a file."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bitseg.cli.target import as_of_option, target_options
from bitseg.errors import ImportFileError
from bitseg.files import read_file
from bitseg.segment.nodes import Condition
from bitseg.wire.segments import from_json

expression_argument = click.argument("expression", required=False)
definition_option = click.option(
    "--definition", type=click.Path(path_type=Path, dir_okay=False), help="File with the segment's JSON form."
)


def query_of(expression: str | None, definition: Path | None) -> str | Condition:
    """The query of the argument or the option; click.UsageError unless exactly one is given."""
    if (expression is None) == (definition is None):
        raise click.UsageError("give an expression, or --definition FILE with its JSON form")
    if definition is None:
        assert expression is not None
        return expression
    return from_json(read_file(definition, ImportFileError))


def query_options(json_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add EXPRESSION, --definition, --json, --as-of and the target.

    The command gets `query`, `as_json`, `as_of`, `data` and `server`.
    """
    as_json = click.option("--json", "as_json", is_flag=True, help=json_help)

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_query(*arguments: Any, expression: str | None, definition: Path | None, **options: Any) -> Any:
            return command(*arguments, query=query_of(expression, definition), **options)

        return expression_argument(definition_option(as_json(as_of_option(target_options(with_query)))))

    return decorated
