"""`bitseg explain` and `bitseg explain-window`."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import orjson

from bitseg.api import Query
from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar, format_instant
from bitseg.cli.output import print_json, print_warnings
from bitseg.cli.query import query_options
from bitseg.cli.target import Remote, Target, as_of_option, data_option
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.results import Explanation
from bitseg.segment import parse_window


@click.command("explain")
@click.argument("user")
@query_options("Print the explanation as JSON.")
def explain_command(
    user: str, query: Query, as_json: bool, as_of: datetime | None, data: Path, server: Remote | None
) -> None:
    """Print why USER is in a segment or not: each condition, with the values and events behind it."""
    with Target(data, server).opened() as target:
        result = target.explain(user, query, as_of)
    calendar = Calendar(result.timezone)
    if as_json:
        print_json(
            {
                "explanation": _as_json(result.explanation),
                "version": result.version,
                "as_of": format_instant(result.as_of_ms),
                "timezone": result.timezone,
                "warnings": result.warnings,
            }
        )
    else:
        print_warnings(result.warnings)
        click.echo("\n".join(_lines(result.explanation, calendar)))


def _as_json(explanation: Explanation) -> dict[str, object]:
    fields: dict[str, object] = {"condition": explanation.condition, "matches": explanation.matches}
    if explanation.value is not None:
        fields["value"] = explanation.value
    if explanation.interval_ms is not None:
        fields["interval"] = [format_instant(instant_ms) for instant_ms in explanation.interval_ms]
    if explanation.events:
        fields["event_count"] = explanation.event_count
        fields["events"] = [
            {"event": event.event, "time": format_instant(event.timestamp_ms), "properties": event.properties}
            for event in explanation.events
        ]
    if explanation.note:
        fields["note"] = explanation.note
    if explanation.conditions:
        fields["conditions"] = [_as_json(condition) for condition in explanation.conditions]
    return fields


def _lines(explanation: Explanation, calendar: Calendar, depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}{'yes' if explanation.matches else 'no ':3}  {explanation.condition}"
    indent += "       "
    if explanation.value is not None:
        yield f"{indent}is {orjson.dumps(explanation.value).decode()}"
    if explanation.note:
        yield f"{indent}{explanation.note}"
    if explanation.interval_ms is not None:
        yield f"{indent}window {_interval(explanation.interval_ms, calendar)}"
    left_out = explanation.event_count - len(explanation.events)
    if left_out:
        yield f"{indent}({left_out:,} earlier events are not shown)"
    for event in explanation.events:
        properties = orjson.dumps(event.properties).decode()
        yield f"{indent}{calendar.format_local(event.timestamp_ms)}  {event.event}  {properties}"
    for below in explanation.conditions:
        yield from _lines(below, calendar, depth + 1)


def _interval(interval_ms: tuple[int, int], calendar: Calendar) -> str:
    start_ms, end_ms = interval_ms
    start = "ever" if start_ms == FIRST_INSTANT_MS else f"from {calendar.format_local(start_ms)}"
    end = "" if end_ms == LAST_INSTANT_MS else f" until before {calendar.format_local(end_ms)}"
    return f"{start}{end} ({calendar.zone_name})"


@click.command("explain-window")
@click.argument("window")
@click.option("--timezone", metavar="ZONE", help="An IANA zone, instead of the zone of the workspace.")
@click.option("--json", "as_json", is_flag=True, help="Print the interval as JSON.")
@as_of_option
@data_option
def explain_window_command(
    window: str, timezone: str | None, as_json: bool, as_of: datetime | None, data: Path
) -> None:
    """Print the interval that WINDOW means, such as "in last 3 days" or "in next 7 days"."""
    parsed = parse_window(window)
    with Engine(WorkspaceSettings(timezone)) if timezone is not None else Engine.open(data, create=False) as engine:
        interval = engine.window(parsed, as_of)
        calendar = engine.calendar
    if as_json:
        print_json(
            {
                "start": format_instant(interval.start_ms),
                "end": format_instant(interval.end_ms),
                "local_start": calendar.format_local(interval.start_ms),
                "local_end": calendar.format_local(interval.end_ms),
                "timezone": calendar.zone_name,
            }
        )
        return
    click.echo(_interval((interval.start_ms, interval.end_ms), calendar))
    hours = (interval.end_ms - interval.start_ms) / 3_600_000
    if interval.start_ms != FIRST_INSTANT_MS and interval.end_ms != LAST_INSTANT_MS:
        click.echo(f"in UTC {format_instant(interval.start_ms)} until before {format_instant(interval.end_ms)}")
        click.echo(f"{hours:g} hours")
