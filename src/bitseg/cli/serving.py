"""`bitseg serve`: the options, their sources, and the life of the server."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from prometheus_client import disable_created_metrics

from bitseg.cli.output import message
from bitseg.cli.process import raise_file_limit, share_heaps, switch_threads_often
from bitseg.cli.settings import option, settings_options, to_settings
from bitseg.cli.signals import stop_on_signals
from bitseg.cli.target import DEFAULT_DATA, opened
from bitseg.cli.token import tokens_path
from bitseg.engine.options import DEFAULT_SNAPSHOT_AFTER_BYTES
from bitseg.errors import InvalidArgumentError
from bitseg.service import logs
from bitseg.service.server import Server
from bitseg.storage.journal import SyncPolicy

# How often it is looked whether the workspace is sound.
_LOOK_SECONDS = 0.5

_SOURCES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "configuration file",
    ParameterSource.DEFAULT: "default",
}


def _read_configuration(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Use the file's values as defaults, which the environment and the command line override."""
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgumentError(f"cannot read the configuration in {path}: {error}") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "print_config", "help"}
    unknown = values.keys() - known
    if unknown:
        raise InvalidArgumentError(
            f"{path} has unknown options: {', '.join(sorted(unknown))}",
            hint=f"the options are {', '.join(sorted(map(str, known)))}",
        )
    context.default_map = values
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
@click.option("--print-config", is_flag=True, help="Print all options and their sources as TOML, and exit.")
@option("data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, help="Data directory.")
@option(
    "sync",
    type=click.Choice([policy.value for policy in SyncPolicy]),
    default=SyncPolicy.ALWAYS.value,
    help="When a write is durable: before it is acknowledged, within a second, or when the operating system decides.",
)
@option(
    "snapshot_mib",
    type=click.IntRange(min=1),
    default=DEFAULT_SNAPSHOT_AFTER_BYTES >> 20,
    metavar="N",
    help="Take a snapshot when the journal has grown by N MiB.",
)
@settings_options
@option("log_format", type=click.Choice(logs.FORMATS), default="text", help="How logs are written.")
@option("log_level", type=click.Choice(logs.LEVELS), default="info", help="debug logs every call.")
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
    # The creation times of counters are useless, and double the number of series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    server = Server(None, to_settings(options))
    server.start()
    sync, snapshot_after_bytes = SyncPolicy(options["sync"]), options["snapshot_mib"] << 20
    try:
        with opened(data, with_account=True, sync=sync, snapshot_after_bytes=snapshot_after_bytes) as engine:
            # At the start, so that the first callers do not wait.
            engine.prepare()
            stopped = stop_on_signals()
            server.serve(engine)
            also = f", metrics on http://{server.metrics_address}/metrics" if server.metrics_address else ""
            size = f"{engine.user_count:,} users, {engine.event_count:,} events"
            message(f"serving {data} ({size}) on {server.address}{also}; Ctrl-C saves and stops")
            while not stopped.wait(_LOOK_SECONDS):
                # The process ends with an error then, and whoever runs it starts it again.
                engine.require_sound()
            message("stopping")
            server.stop()
    finally:
        server.stop(0)


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
