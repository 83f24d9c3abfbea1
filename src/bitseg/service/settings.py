"""Settings of a server: addresses, credentials and limits."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitseg.errors import InvalidArgumentError
from bitseg.service.access import Role

DEFAULT_ADDRESS = "127.0.0.1:50051"


def _option(purpose: str, *, name: str = "", unit: int = 1, metavar: str = "") -> dict[str, Any]:
    """The metadata of a field: the help text of its option, and the option's name if it differs from the field's.

    The value of the option is multiplied by `unit`. `metavar` stands for the value in the help.
    """
    return {"help": purpose, "name": name, "unit": unit, "metavar": metavar}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server. `bitseg serve` has an option for every field.

    Without `tokens` and `tls_client_ca`, every caller has every role. This is refused unless only this machine can
    reach the server, or `insecure` is set. Producers may wait between batches as long as they like.
    """

    address: str = field(
        default=DEFAULT_ADDRESS,
        metadata=_option("Address to listen on; port 0 takes any free one.", name="listen", metavar="HOST:PORT"),
    )
    metrics_address: str = field(
        default="",
        metadata=_option("Address of metrics for Prometheus; empty for none.", name="metrics", metavar="HOST:PORT"),
    )
    tokens: Path | None = field(
        default=None,
        metadata=_option("File of tokens, see bitseg token. Default: tokens.json in the data directory."),
    )
    tls_certificate: Path | None = field(
        default=None,
        metadata=_option(
            "Certificate chain of the server, PEM. It and the next two files are read again when they change."
        ),
    )
    tls_key: Path | None = field(default=None, metadata=_option("Private key of the certificate, PEM."))
    tls_client_ca: Path | None = field(
        default=None,
        metadata=_option(
            "Authorities that must have signed a caller's certificate, PEM. Unset, callers need no certificate."
        ),
    )
    certificate_role: Role = field(
        default=Role.READER, metadata=_option("Role of a caller with a certificate and no token.")
    )
    insecure: bool = field(
        default=False, metadata=_option("Let other machines connect even without credentials or TLS.")
    )
    max_message_bytes: int = field(
        default=16 * 2**20,
        metadata=_option("Largest message that the server takes, in MiB.", name="max_message_mib", unit=2**20),
    )
    max_streams: int = field(default=64, metadata=_option("How many streams of members may be open."))
    max_producers: int = field(default=32, metadata=_option("How many ingest streams may be open."))
    max_query_seconds: float = field(default=120.0, metadata=_option("Longest time for a query."))
    stall_seconds: float = field(
        default=60.0,
        metadata=_option("End a call whose caller does not send its request or read a response for this long."),
    )
    grace_seconds: float = field(
        default=30.0, metadata=_option("Time for calls under way to end when the server stops.")
    )


def host_and_port(address: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT; InvalidArgumentError for any other text."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65_535:
        raise InvalidArgumentError(f"{address!r} is not an address", hint="write HOST:PORT")
    return host, int(port)


def is_loopback(address: str) -> bool:
    """True if only this machine can reach HOST:PORT."""
    host = host_and_port(address)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
