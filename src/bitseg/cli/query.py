"""The two ways to give a segment on the command line."""

from pathlib import Path

import click

from bitseg.errors import ImportFileError
from bitseg.segment.nodes import Condition
from bitseg.wire.segments import from_json


def query_of(expression: str | None, definition: Path | None) -> str | Condition:
    """The query that the argument or the option gives; click.UsageError unless it is one of them."""
    if (expression is None) == (definition is None):
        raise click.UsageError("give an expression, or --definition FILE with its JSON form")
    if definition is None:
        assert expression is not None
        return expression
    try:
        return from_json(definition.read_bytes())
    except OSError as error:
        raise ImportFileError(f"cannot read {definition}: {error.strerror}") from error


expression_argument = click.argument("expression", required=False)
definition_option = click.option(
    "--definition", type=click.Path(path_type=Path, dir_okay=False), help="File with the segment's JSON form."
)
