"""`bitseg token`: bearer tokens for the callers of a server."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bitseg.cli.output import message, print_json
from bitseg.cli.target import data_option
from bitseg.service.access import ROLE_NAMES, Role
from bitseg.service.tokens import Token, TokenFile


def tokens_path(data: Path) -> Path:
    """The file of tokens of a data directory, unless --tokens names another."""
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

    Once a token exists, every caller needs one. A running server follows changes within a second.
    """


@token_group.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLE_NAMES),
    required=True,
    help="What the caller may do: read, also write, or everything.",
)
@_tokens_options
def create_token(name: str, role: str, data: Path, tokens: Path | None) -> None:
    """Make a token for NAME and print it. Only its hash is stored; it cannot be shown again."""
    click.echo(TokenFile(tokens or tokens_path(data)).create(name, Role.named(role)))
    message(f"{name} has the role {role}; keep the token, it cannot be shown again")


@token_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_tokens_options
def list_tokens(as_json: bool, data: Path, tokens: Path | None) -> None:
    """Print all tokens, revoked ones too, without their secrets."""
    stored = TokenFile(tokens or tokens_path(data)).tokens()
    if as_json:
        print_json([_without_hash(token) for token in stored])
        return
    for token in stored:
        state = "valid" if token.revoked is None else f"revoked {token.revoked}"
        click.echo(f"{token.id}  {token.name}: {token.role.title}, created {token.created}, {state}")


def _without_hash(token: Token) -> dict[str, Any]:
    shown = {**asdict(token), "role": token.role.title}
    del shown["sha256"]
    return shown


@token_group.command("revoke")
@click.argument("name")
@_tokens_options
def revoke_token(name: str, data: Path, tokens: Path | None) -> None:
    """Revoke the token with the name or id NAME. Streams that were opened with it end."""
    revoked = TokenFile(tokens or tokens_path(data)).revoke(name)
    message(f"revoked the token of {revoked.name}")
