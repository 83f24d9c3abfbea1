"""What a server can be told: where it listens, whom it lets in, and how much it takes."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from bitseg.errors import InvalidArgumentError
from bitseg.service.access import Role

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is set up.

    `address` is HOST:PORT, port 0 for any free one. Without `tokens`, the file that has them, and `tls_client_ca`,
    everybody may do everything, which is refused off loopback unless `insecure` is set. Who has a certificate of
    `tls_client_ca` and no token has the `certificate_role`. A call whose caller has to send or take a message, and does
    not for `stall_seconds`, is ended; producers may wait as long as they like.
    """

    address: str = DEFAULT_ADDRESS
    metrics_address: str = ""
    tokens: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    certificate_role: Role = Role.READER
    insecure: bool = False
    max_message_bytes: int = 16 * 2**20
    max_streams: int = 64
    max_producers: int = 32
    max_query_seconds: float = 120.0
    stall_seconds: float = 60.0
    grace_seconds: float = 30.0


def host_and_port(address: str) -> tuple[str, int]:
    """Both parts of HOST:PORT; InvalidArgumentError for what is not that."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65_535:
        raise InvalidArgumentError(f"{address!r} is not an address", hint="write HOST:PORT")
    return host, int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches HOST:PORT."""
    host = host_and_port(address)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
