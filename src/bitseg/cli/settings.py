"""Options of `bitseg serve` that are fields of the server's settings."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from bitseg.service.access import ROLE_NAMES, Role
from bitseg.service.settings import Settings

Command = Callable[..., Any]

_TYPES = get_type_hints(Settings)


def option(name: str, **parameters: Any) -> Callable[[Command], Command]:
    """An option that the environment and the configuration file can also set. `name` has underscores."""
    flag = "--" + name.replace("_", "-")
    return click.option(flag, envvar=f"BITSEG_{name.upper()}", show_envvar=True, show_default=True, **parameters)


def settings_options(command: Command) -> Command:
    """Add an option for every field of Settings, in their order."""
    for setting in reversed(fields(Settings)):
        command = option(_option_name(setting), help=setting.metadata["help"], **_parameters(setting))(command)
    return command


def to_settings(options: Mapping[str, Any]) -> Settings:
    """The settings for the values of all options."""
    return Settings(**{setting.name: _value(setting, options[_option_name(setting)]) for setting in fields(Settings)})


def _option_name(setting: Field[Any]) -> str:
    return str(setting.metadata["name"] or setting.name)


def _parameters(setting: Field[Any]) -> dict[str, Any]:
    """The arguments of click.option for a field, by its type; TypeError for a type without an option."""
    kind, metavar = _TYPES[setting.name], setting.metadata["metavar"]
    default: Any = setting.default
    if kind is str:
        return {"default": default, "metavar": metavar}
    if kind == Path | None:
        return {"type": click.Path(path_type=Path, dir_okay=False), "metavar": metavar or "FILE"}
    if kind is Role:
        return {"type": click.Choice(ROLE_NAMES), "default": default.title}
    if kind is bool:
        return {"is_flag": True, "default": default}
    if kind is int:
        return {"type": click.IntRange(min=1), "default": default // setting.metadata["unit"], "metavar": "N"}
    if kind is float:
        return {"type": click.FloatRange(min=0, min_open=True), "default": default, "metavar": "N"}
    raise TypeError(f"no option can be made of {setting.name}, which has the type {kind}")


def _value(setting: Field[Any], value: Any) -> Any:
    kind = _TYPES[setting.name]
    if kind is Role:
        return Role.named(value)
    return value * setting.metadata["unit"] if kind is int else value
