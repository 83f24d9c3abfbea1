"""A call under way, and the interface of interceptors."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from google.rpc import status_pb2

from bitseg.errors import BitsegError
from bitseg.service.access import Role
from bitseg.service.tokens import Token

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[!-~]{1,128}")

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """The name and the role of a caller, and the token if there is one."""

    name: str
    role: Role
    token: Token | None = None


@dataclass(slots=True)
class Call:
    """A call under way. `arrived` is a reading of `time.perf_counter`."""

    method: str
    metadata: Metadata
    request_id: str
    # True if the request id came from the caller.
    has_callers_request_id: bool
    # None until the caller is authenticated, and for refused calls.
    caller: Caller | None = None
    # Why the call is refused; None again once it is raised.
    refusal: BitsegError | None = None
    # The error that ended the call.
    status: status_pb2.Status | None = None
    arrived: float = field(default_factory=time.perf_counter)

    @classmethod
    def arriving(cls, details: grpc.HandlerCallDetails) -> "Call":
        """A call that has just arrived, with the request id of its metadata or a random one."""
        metadata: Metadata = tuple(details.invocation_metadata or ())
        request_id = next((value for key, value in metadata if key == REQUEST_ID), None)
        is_valid = isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id) is not None
        return cls(str(details.method), metadata, str(request_id) if is_valid else secrets.token_hex(8), is_valid)

    def take_refusal(self) -> BitsegError:
        """Remove and return the error of a refused call, whose traceback would form a cycle with the call."""
        error, self.refusal = self.refusal, None
        assert error is not None
        return error


# Answers a call. Requests are always an iterator, even of a single request. The result is an iterator if the method
# streams responses.
Endpoint = Callable[[Call, Iterator[Any], grpc.ServicerContext], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """The path of a service's method, and whether its requests and responses are streams."""

    path: str
    streams_requests: bool
    streams_responses: bool

    @property
    def is_stream(self) -> bool:
        """True if either side may send any number of messages."""
        return self.streams_requests or self.streams_responses


class Interceptor(Protocol):
    """Does something before, during or after the answer of another endpoint."""

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """An endpoint around `inner`, made once per method; `inner` itself if the method needs no such endpoint."""
        ...
