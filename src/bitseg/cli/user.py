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
    """Print USER: attributes, what happened how often and when, and the saved segments with USER in them.

    --as-of is for the segments alone.
    """
    with Target(data, server).opened() as target:
        record = target.user(user)
        found = target.user_segments(user, as_of)
    if as_json:
        events = [
            {
                "event": each.event,
                "count": each.count,
                "first": format_instant(each.first_ms),
                "last": format_instant(each.last_ms),
            }
            for each in record.events
        ]
        print_json(
            {
                "user": record.user_id,
                "attributes": record.attributes,
                "events": events,
                "segments": found.segments,
                "version": record.version,
                "warnings": found.warnings,
            }
        )
        return
    print_warnings(found.warnings)
    for name, value in record.attributes.items():
        click.echo(f"{name}: {orjson.dumps(value).decode()}")
    for each in record.events:
        first, last = format_instant(each.first_ms), format_instant(each.last_ms)
        when = f"at {first}" if each.count == 1 else f"from {first} to {last}"
        click.echo(f"{each.event}: {each.count:,} {when}")
    for name in found.segments:
        click.echo(f'in segment "{name}"')
