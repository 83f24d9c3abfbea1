"""The channel of a client: its credentials, its keep-alive, and which calls are made again when one fails."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import MethodOptions

from bitseg.client.policy import RETRY
from bitseg.errors import InvalidArgumentError
from bitseg.files import read_file
from bitseg.protocol import SERVICES, methods

_REPEATABLE = {MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows and whom it trusts.

    `token` is one of `bitseg token create`. TLS is used where `tls` is set or any file is named: `ca` holds the
    certificates that are trusted, instead of the system's, and `certificate` and `key` are the client's own. All PEM.
    """

    token: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or any(each is not None for each in (self.ca, self.certificate, self.key))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel with TLS; InvalidArgumentError for files that cannot be read."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgumentError("a client's certificate needs its key, and the key its certificate")
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.certificate))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


def _content(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path, InvalidArgumentError)


def channel_options() -> list[tuple[str, Any]]:
    """The options of a channel: answers of any size, keep-alive, and repeated calls where the protocol allows them."""
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.service_config", json.dumps(_service_config())),
    ]


def stubs(channel: Any) -> dict[str, Any]:
    """The stubs of all services by their names."""
    return {service.name: service.stub(channel) for service in SERVICES}


def _service_config() -> dict[str, Any]:
    """Calls that change nothing, or may be made twice, are made again; the protocol says which those are."""
    repeatable = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods()
        if method.GetOptions().idempotency_level in _REPEATABLE
    ]
    return {"methodConfig": [{"name": repeatable, "retryPolicy": RETRY.service_config()}]}
