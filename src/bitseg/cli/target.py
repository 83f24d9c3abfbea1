"""The options for the target of a command: a data directory or a server."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import click

from bitseg.api import Workspace
from bitseg.cli.output import message, progress
from bitseg.client import Client, Credentials
from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError
from bitseg.files import read_text
from bitseg.results import Recovered
from bitseg.runtime.interrupts import interrupts_deferred
from bitseg.storage.journal import SyncPolicy

DEFAULT_DATA = Path("bitseg-data")


@dataclass(frozen=True, slots=True)
class Remote:
    """A server, and the credentials for it."""

    address: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Target:
    """A data directory; or `server`, if it is given."""

    data: Path
    server: Remote | None

    @contextmanager
    def opened(self, *, create: bool = False) -> Iterator[Workspace]:
        """The engine of the directory, made if it is missing and `create` is set, or a client of the server."""
        with self.opened_with_engine(create=create) as (workspace, _):
            yield workspace

    @contextmanager
    def opened_with_engine(
        self, *, create: bool = False, sync: SyncPolicy = SyncPolicy.ALWAYS
    ) -> Iterator[tuple[Workspace, Engine | None]]:
        """The same, and the engine for what only an engine can do; None with a server."""
        if self.server is not None:
            # The user at a terminal can interrupt a long query.
            with Client(self.server.address, credentials=self.server.credentials, timeout_seconds=None) as client:
                yield client, None
        else:
            with opened(self.data, create=create, sync=sync) as engine:
                yield engine, engine


@contextmanager
def opened(data: Path, *, with_account: bool = False, **options: Any) -> Iterator[Engine]:
    """The engine of a directory, opened with a progress bar; Ctrl-C does not interrupt its last snapshot.

    Reports bytes that were cut off the journal, and `with_account` also what was read.
    """
    with progress(f"opening {data}", 1) as advance:
        engine = Engine.open(data, progress=lambda done, total: advance(done, total=total), **options)
    try:
        if engine.recovered is not None:
            _report(data, engine.recovered, with_account=with_account)
        yield engine
    finally:
        with interrupts_deferred():
            engine.close()


def _report(data: Path, recovered: Recovered, *, with_account: bool) -> None:
    if with_account:
        message(
            f"opened {data} in {recovered.seconds:.1f} s: {recovered.snapshot_bytes:,} bytes of snapshot, "
            f"{recovered.records:,} records of the journal"
        )
    if recovered.torn_bytes:
        message(
            f"cut {recovered.torn_bytes:,} bytes off the journal: a write that a crash interrupted and was not "
            f"acknowledged; they are in {recovered.torn_saved_as}"
        )


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA,
    envvar="BITSEG_DATA",
    show_default=True,
    show_envvar=True,
    help="Data directory.",
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data, --server and the credentials for a server; the command gets `data` and `server`."""

    @functools.wraps(command)
    def with_server(
        *arguments: Any,
        server: str | None,
        token_file: Path | None,
        tls: bool,
        tls_ca: Path | None,
        tls_certificate: Path | None,
        tls_key: Path | None,
        **options: Any,
    ) -> Any:
        remote = None
        if server is not None:
            credentials = Credentials(_token(token_file), tls, tls_ca, tls_certificate, tls_key)
            remote = Remote(server, credentials)
        return command(*arguments, server=remote, **options)

    for option in reversed(_SERVER_OPTIONS):
        with_server = option(with_server)
    return data_option(with_server)


def _file_option(name: str, purpose: str) -> Callable[..., Any]:
    return click.option(name, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=purpose)


_SERVER_OPTIONS = (
    click.option("--server", metavar="HOST:PORT", help="Use a running server instead of a data directory."),
    _file_option("--token-file", "File with the token for the server. Default: the token in BITSEG_TOKEN."),
    click.option("--tls", is_flag=True, help="Encrypt the connection. The next three options imply it."),
    _file_option("--tls-ca", "Certificates to trust instead of the system's, PEM."),
    _file_option("--tls-certificate", "Certificate of the client, PEM."),
    _file_option("--tls-key", "Private key of the client, PEM."),
)


def _token(file: Path | None) -> str | None:
    """The token in a file, or in the environment. Other users of the machine could see arguments."""
    if file is None:
        return os.environ.get("BITSEG_TOKEN")
    return read_text(file, InvalidArgumentError, "the token").strip()


def _as_of(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """The datetime of --as-of; InvalidArgumentError for an invalid text."""
    if text is None:
        return None
    try:
        if len(text) == len("2024-05-31"):
            return datetime.combine(date.fromisoformat(text), time(23, 59, 59, 999_000))
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgumentError(
            f"--as-of {text!r} is not an instant", hint="write 2024-05-31T18:00:00Z or 2024-05-31"
        ) from None


as_of_option = click.option(
    "--as-of",
    metavar="TIME",
    callback=_as_of,
    help="Answer as of this instant, such as 2024-05-31T18:00:00Z, or the end of a day. "
    "Without an offset it is local to the workspace.",
)
