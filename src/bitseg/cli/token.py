"""`bitseg token`: who may call a server."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bitseg.cli.output import message, print_json
from bitseg.cli.target import data_option
from bitseg.service.access import ROLE_NAMES, Role
from bitseg.service.tokens import TokenFile


def tokens_path(data: Path) -> Path:
    """Where the tokens of a data directory are, unless another file is named."""
    return data / "tokens.json"


def _tokens_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data and --tokens."""
    tokens = click.option(
        "--tokens",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="BITSEG_TOKENS",
        show_envvar=True,
        metavar="FILE",
        help="File of tokens.  [default: tokens.json in the data directory]",
    )
    return data_option(tokens(command))


@click.group("token")
def token_group() -> None:
    """Bearer tokens for callers of a server.

    Once there is one, the server asks everybody for one. It heeds changes at once, without a restart.
    """


@token_group.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(ROLE_NAMES), required=True, help="What its holder may do: read, also write, or all."
)
@_tokens_options
def create_token(name: str, role: str, data: Path, tokens: Path | None) -> None:
    """Make a token for NAME and print it. It is kept as a hash only, so that it cannot be shown again."""
    click.echo(TokenFile(tokens or tokens_path(data)).create(name, Role.named(role)))
    message(f"{name} has the role {role}; keep the token, it cannot be shown again")


@token_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_tokens_options
def list_tokens(as_json: bool, data: Path, tokens: Path | None) -> None:
    """Print the tokens without their secrets, also revoked ones."""
    found = TokenFile(tokens or tokens_path(data)).tokens()
    if as_json:
        shown = [{**asdict(each), "role": each.role.title} for each in found]
        print_json([{name: value for name, value in each.items() if name != "sha256"} for each in shown])
        return
    for each in found:
        state = "valid" if each.revoked is None else f"revoked {each.revoked}"
        click.echo(f"{each.id}  {each.name}: {each.role.title}, created {each.created}, {state}")


@token_group.command("revoke")
@click.argument("name")
@_tokens_options
def revoke_token(name: str, data: Path, tokens: Path | None) -> None:
    """Make the token of NAME, which may be an id, invalid; calls under way with it end."""
    revoked = TokenFile(tokens or tokens_path(data)).revoke(name)
    message(f"revoked the token of {revoked.name}")
