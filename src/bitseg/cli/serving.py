"""`bitseg serve`: the options, where they come from, and the life of the server."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from prometheus_client import disable_created_metrics

from bitseg.cli.output import message
from bitseg.cli.process import raise_file_limit, share_heaps, switch_threads_often
from bitseg.cli.signals import stop_on_signals
from bitseg.cli.target import DEFAULT_DATA, opened
from bitseg.cli.token import tokens_path
from bitseg.engine.engine import DEFAULT_SNAPSHOT_AFTER_BYTES
from bitseg.errors import InvalidArgumentError
from bitseg.service import logs
from bitseg.service.access import ROLE_NAMES, Role
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.storage.journal import SyncPolicy

_DEFAULTS = Settings()
_SOURCES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "configuration file",
    ParameterSource.DEFAULT: "default",
}

Decorated = Callable[..., Any]


def _option(name: str, **options: Any) -> Callable[[Decorated], Decorated]:
    """An option that the environment and the configuration file can set as well."""
    envvar = "BITSEG_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=envvar, show_envvar=True, show_default=True, **options)


def _file(name: str, purpose: str) -> Callable[[Decorated], Decorated]:
    return _option(name, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=purpose)


def _number(name: str, default: float, purpose: str) -> Callable[[Decorated], Decorated]:
    kind = click.IntRange(min=1) if isinstance(default, int) else click.FloatRange(min=0, min_open=True)
    return _option(name, type=kind, default=default, metavar="N", help=purpose)


def _read_configuration(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take what the file says as defaults, which the environment and the command line go before."""
    if path is None:
        return None
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgumentError(f"cannot read the configuration in {path}: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "print_config", "help"}
    unknown = found.keys() - known
    if unknown:
        raise InvalidArgumentError(
            f"{path} sets {', '.join(sorted(unknown))}, which bitseg serve does not know",
            hint=f"it knows {', '.join(sorted(map(str, known)))}",
        )
    context.default_map = found
    return path


@click.command("serve")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    envvar="BITSEG_CONFIG",
    show_envvar=True,
    is_eager=True,
    callback=_read_configuration,
    help="TOML file with any of the options below, named as in --print-config.",
)
@click.option("--print-config", is_flag=True, help="Print all options as TOML, with where they come from, and stop.")
@_option("--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, help="Data directory.")
@_option("--listen", default=_DEFAULTS.address, metavar="HOST:PORT", help="Port 0: any free.")
@_option("--metrics", default="", metavar="HOST:PORT", help="Where Prometheus finds metrics; empty for none.")
@_option(
    "--sync",
    type=click.Choice([policy.value for policy in SyncPolicy]),
    default=SyncPolicy.ALWAYS.value,
    help="When a write is on disk: before it is acknowledged, within a second, or when the system sees fit.",
)
@_number("--snapshot-mib", DEFAULT_SNAPSHOT_AFTER_BYTES >> 20, "Take a snapshot when the journal has grown by N MiB.")
@_file("--tokens", "File of tokens, see bitseg token.  [default: tokens.json in the data directory]")
@_file("--tls-certificate", "Certificate chain of the server, PEM. Read again when it changes, as are the next two.")
@_file("--tls-key", "Its private key, PEM.")
@_file("--tls-client-ca", "Certificates of those who sign callers' certificates, PEM; callers then need one.")
@_option(
    "--certificate-role",
    type=click.Choice(ROLE_NAMES),
    default=Role.READER.title,
    help="Role of a caller with a certificate and no token.",
)
@_option("--insecure", is_flag=True, help="Listen off loopback even without credentials or TLS.")
@_number("--max-message-mib", _DEFAULTS.max_message_bytes >> 20, "Largest message that is taken, in MiB.")
@_number("--max-streams", _DEFAULTS.max_streams, "Streams of members at the same time.")
@_number("--max-producers", _DEFAULTS.max_producers, "Ingest streams at the same time.")
@_number("--max-query-seconds", _DEFAULTS.max_query_seconds, "Longest time for the answer to a query.")
@_number(
    "--stall-seconds", _DEFAULTS.stall_seconds, "End calls whose callers neither send nor take a message for so long."
)
@_number("--grace-seconds", _DEFAULTS.grace_seconds, "Time for calls under way to end when the server stops.")
@_option("--log-format", type=click.Choice(logs.FORMATS), default="text", help="How logs are written.")
@_option("--log-level", type=click.Choice(logs.LEVELS), default="info", help="debug has a line for every call.")
@click.pass_context
def serve_command(context: click.Context, /, config: Path | None, print_config: bool, **options: Any) -> None:
    """Serve the workspace over gRPC until interrupted, then save it.

    Options come from the command line, else the environment, else the configuration file.
    """
    data: Path = options["data"]
    options["tokens"] = options["tokens"] or tokens_path(data)
    if print_config:
        _print(context, options)
        return
    logs.configure(options["log_format"], options["log_level"])
    raise_file_limit()
    share_heaps()
    switch_threads_often()
    # When each counter was made is of no use to anybody, and doubles their number.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    server = Server(None, _settings(options))
    server.start()
    sync, snapshot_after_bytes = SyncPolicy(options["sync"]), options["snapshot_mib"] << 20
    try:
        with opened(data, with_account=True, sync=sync, snapshot_after_bytes=snapshot_after_bytes) as engine:
            # Now rather than while the first callers wait.
            engine.prepare()
            stopped = stop_on_signals()
            server.serve(engine)
            also = f", metrics on http://{server.metrics_address}/metrics" if server.metrics_address else ""
            size = f"{engine.user_count:,} users, {engine.event_count:,} events"
            message(f"serving {data} ({size}) on {server.address}{also}; Ctrl-C saves and stops")
            stopped.wait()
            message("stopping")
            server.stop()
    finally:
        server.stop(0)


def _settings(options: Mapping[str, Any]) -> Settings:
    same = {field.name for field in fields(Settings)} & options.keys() - {"certificate_role"}
    return Settings(
        address=options["listen"],
        metrics_address=options["metrics"],
        certificate_role=Role.named(options["certificate_role"]),
        max_message_bytes=options["max_message_mib"] << 20,
        **{name: options[name] for name in same},
    )


def _print(context: click.Context, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        source = _SOURCES.get(context.get_parameter_source(name) or ParameterSource.DEFAULT, "default")
        if value is None:
            click.echo(f"# {name} is not set")
        elif isinstance(value, bool | int | float):
            click.echo(f"{name} = {str(value).lower()}  # {source}")
        else:
            text = str(value).replace("\\", "\\\\").replace('"', '\\"')
            click.echo(f'{name} = "{text}"  # {source}')
