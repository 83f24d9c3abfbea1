"""`bitseg user`."""

from datetime import datetime
from pathlib import Path

import click
import orjson

from bitseg.calendar import format_instant
from bitseg.cli.output import print_json, print_warnings
from bitseg.cli.target import Remote, Target, as_of_option, target_options


@click.command("user")
@click.argument("user")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@as_of_option
@target_options
def user_command(user: str, as_json: bool, as_of: datetime | None, data: Path, server: Remote | None) -> None:
    """Print USER: attributes, how often and when each event occurred, and the saved segments with USER.

    --as-of applies only to the segments.
    """
    with Target(data, server).opened() as target:
        record = target.user(user)
        membership = target.user_segments(user, as_of)
    if as_json:
        events = [
            {
                "event": summary.event,
                "count": summary.count,
                "first": format_instant(summary.first_ms),
                "last": format_instant(summary.last_ms),
            }
            for summary in record.events
        ]
        print_json(
            {
                "user": record.user_id,
                "attributes": record.attributes,
                "events": events,
                "segments": membership.segments,
                "version": record.version,
                "warnings": membership.warnings,
            }
        )
        return
    print_warnings(membership.warnings)
    for name, value in record.attributes.items():
        click.echo(f"{name}: {orjson.dumps(value).decode()}")
    for summary in record.events:
        first, last = format_instant(summary.first_ms), format_instant(summary.last_ms)
        when = f"at {first}" if summary.count == 1 else f"from {first} to {last}"
        click.echo(f"{summary.event}: {summary.count:,} {when}")
    for name in membership.segments:
        click.echo(f'in segment "{name}"')
