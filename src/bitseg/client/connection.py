"""The channel of a client: its credentials, its keep-alive, and which failed calls are retried."""

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
    """The credentials of a client, and the certificates that it trusts.

    `token` is printed by `bitseg token create`. TLS is used if `tls` is set or any file is named. `ca` has the trusted
    certificates, instead of the system's; `certificate` and `key` are the client's own. All files are PEM.
    """

    token: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or any(file is not None for file in (self.ca, self.certificate, self.key))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel with TLS; InvalidArgumentError for files that cannot be read."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgumentError("a client needs both its certificate and its key, or neither")
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.certificate))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata that every call sends."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


def _content(path: Path | None) -> bytes | None:
    return None if path is None else read_file(path, InvalidArgumentError)


def channel_options() -> list[tuple[str, Any]]:
    """The options of a channel: answers of any size, keep-alive, and retries where the protocol allows them."""
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
    """Retries calls that change nothing or are idempotent, according to the protocol."""
    repeatable = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods()
        if method.GetOptions().idempotency_level in _REPEATABLE
    ]
    return {"methodConfig": [{"name": repeatable, "retryPolicy": RETRY.service_config()}]}
