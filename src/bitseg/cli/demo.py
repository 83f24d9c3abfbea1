"""`bitseg demo`: a made-up store: imported from files, counted and served."""

import statistics
import sys
import tempfile
from pathlib import Path

import click

from bitseg.calendar import Calendar
from bitseg.cli.output import message, progress
from bitseg.cli.process import collecting_seldom, switch_threads_often
from bitseg.cli.signals import stop_on_signals
from bitseg.clock import SystemClock
from bitseg.demo.store import write_store
from bitseg.engine import Engine
from bitseg.formats.base import size_bytes
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load
from bitseg.service.server import Server
from bitseg.service.settings import DEFAULT_ADDRESS, Settings

SEGMENTS = {
    "Abandoned cart": 'did "Added To Cart" in last 3 days and did not "Charged" in last 3 days',
    "Frequent buyers": 'did "Charged" at least 3 times in last 30 days',
    "High spenders": 'did "Charged" with sum(amount) > 700 in last 100 days',
    "Lapsed": 'did "Page Viewed" in last 90 days and did not "Page Viewed" in last 7 days',
    "Bought a TV": 'did "Charged" where product = "TV" in last 10 days',
}
_WARM_RUNS = 21


@click.command("demo")
@click.option("--users", type=click.IntRange(min=10), default=100_000, show_default=True, help="How many users.")
@click.option(
    "--write", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the JSONL to DIR and stop."
)
@click.option("--listen", default=DEFAULT_ADDRESS, show_default=True, metavar="HOST:PORT", help="Port 0: any free.")
@click.option("--no-serve", is_flag=True, help="Stop after the counts.")
def demo_command(users: int, write: Path | None, listen: str, no_serve: bool) -> None:
    """Make up a store of 90 days, import it, count five well-known segments, and serve it.

    The same number of users gives the same counts on every day.
    """
    calendar = Calendar("UTC")
    today = calendar.day_of(SystemClock().now_ms())
    if write is not None:
        for path in write_store(write, users, today):
            click.echo(path)
        return
    with tempfile.TemporaryDirectory(prefix="bitseg-demo-") as folder, Engine() as engine:
        server = Server(engine, Settings(address=listen))
        message(f"Making up a store of {users:,} users and 90 days …")
        for path in write_store(Path(folder), users, today):
            _import(path, engine)
        click.echo(f"{engine.user_count:,} users, {engine.event_count:,} events\n")
        engine.count("everyone")
        for name, expression in SEGMENTS.items():
            _show(name, expression, engine)
        engine.catalog.add_default_segments()
        for name, expression in SEGMENTS.items():
            engine.catalog.save_segment(name, expression)
        if no_serve:
            return
        stopped = stop_on_signals()
        switch_threads_often()
        server.start()
        _suggest(server.address)
        stopped.wait()
        server.stop()


def _import(path: Path, engine: Engine) -> None:
    rejects = RejectsFile(path.with_suffix(".rejects"))
    batches = read_jsonl(path, engine.calendar, engine.now_ms())
    with rejects, progress(f"importing {path.name}", size_bytes(path)) as advance, collecting_seldom():
        load(batches, engine, rejects, lambda done, account: advance(done, f"{account.accepted:,} rows"))


def _show(name: str, expression: str, engine: Engine) -> None:
    first = engine.count(expression)
    warm = statistics.median(engine.count(expression).elapsed_seconds for _ in range(_WARM_RUNS))
    click.echo(
        f"{name:16} {first.count:>9,} users   first {first.elapsed_seconds * 1000:8.3f} ms   warm {warm * 1000:6.3f} ms"
    )
    click.echo(f"                 {expression}")


def _suggest(address: str) -> None:
    click.echo(f"\nServing gRPC on {address} (health and reflection on); Ctrl-C stops. In another terminal, try:\n")
    for command in (
        """count 'plan = "platinum" and city = "New York" and did "Charged" at least 2 times in last 60 days'""",
        """count 'did "Added To Cart" then did not "Charged" within 30 minutes in last 7 days'""",
        """members 'birthday anniversary in next 7 days and email_opt_in = true' --limit 5""",
        """segments list""",
        """count 'in segment "Lapsed" and not in segment "Have not logged in recently"'""",
        """count 'home within 10 km of (51.51, -0.13) and app_version >= version "4.10"' --json""",
    ):
        # The path of this command, so that the printed commands also run when bitseg is not on PATH.
        click.echo(f"  {sys.argv[0]} {command} --server {address}")
