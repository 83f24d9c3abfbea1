"""Prints results to standard output, and everything else to standard error."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import click
import orjson

from bitseg.errors import BitsegError, SegmentError
from bitseg.results import PlanStep


def print_json(value: object) -> None:
    """Print one line of JSON on standard output."""
    click.echo(orjson.dumps(value))


def message(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print the warnings of an answer on standard error."""
    for warning in warnings:
        message(f"warning: {warning}")


def print_plan(step: PlanStep, depth: int = 0) -> None:
    """Print a query plan on standard error: sizes and times of every step, with its parts indented below it."""
    if depth == 0:
        message(f"{'estimated':>12} {'users':>12} {'ms':>9}")
    where = "" if not step.is_known else "  (cached)"
    message(f"{step.estimated:12,} {step.members:12,} {step.seconds * 1000:9.3f}  {'  ' * depth}{step.title}{where}")
    for part in step.steps:
        print_plan(part, depth + 1)


def print_error(error: BitsegError) -> None:
    """Print an error on standard error, with the line of the expression that it points into."""
    message(f"error: {_printable(error.message)}")
    if isinstance(error, SegmentError) and error.position is not None and error.text is not None:
        position = error.position
        lines = error.text.split("\n")
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        start = max(position.column - 61, 0)
        message(f"  at {position}:")
        message(f"  {_printable(line[start : start + 100].replace(chr(9), ' '))}")
        message(f"  {' ' * (position.column - 1 - start)}^")
    if error.hint:
        message(f"hint: {_printable(error.hint)}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class Advance(Protocol):
    """Called with the work done so far, a note on it, and the total if it is known by then."""

    def __call__(self, done: int, note: str = "", total: int | None = None) -> None: ...


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar on standard error, if that is a terminal.

    With an unknown `total`, only the note is shown.
    """
    if not sys.stderr.isatty():
        yield lambda done, note="", total=None: None
        return
    known = total
    with click.progressbar(length=total or 1, label=title, file=sys.stderr, item_show_func=lambda note: note) as bar:

        def advance(done: int, note: str = "", total: int | None = known) -> None:
            bar.length = max(total or done, done, 1)
            bar.update(done - bar.pos, note)

        yield advance
