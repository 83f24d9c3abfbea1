"""The common base of both clients: the connection, and every call with a single answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from bitseg.calendar import Calendar
from bitseg.client import calls, convert
from bitseg.client.connection import Credentials, channel_options, stubs
from bitseg.client.unary import Call, Query, UnaryMethods, unary

DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_RETRY_SECONDS = 60.0


class Calls(UnaryMethods):
    """The base of `Client` and `AsyncClient`: a call with a single answer is one line here."""

    count = unary(calls.count)
    count_all = unary(calls.count_all)
    evaluate = unary(calls.evaluate)
    explain = unary(calls.explain)
    user = unary(calls.user)
    user_segments = unary(calls.user_segments)
    ingest = unary(calls.ingest)
    statistics = unary(calls.statistics)
    snapshot = unary(calls.snapshot)
    backup = unary(calls.backup)

    def __init__(
        self,
        target: str,
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        credentials = credentials or Credentials()
        self._target = target
        self._timeout = timeout_seconds
        self._retry_seconds = retry_seconds
        self._metadata = credentials.metadata()
        channels: Any = grpc.aio if self.is_async else grpc
        options = channel_options()
        self._channel: Any = (
            channels.secure_channel(target, credentials.channel_credentials(), options=options)
            if credentials.is_tls
            else channels.insecure_channel(target, options=options)
        )
        self._stubs = stubs(self._channel)
        self._calendar: Calendar | None = None

    def _begin(self, call: Call[Any]) -> Any:
        """Start a call; returns its response, or an awaitable of it."""
        method = getattr(self._stubs[call.service], call.method)
        return method(call.request, timeout=self._timeout if call.is_short else None, metadata=self._metadata)

    def _begin_stream(self, service: str, method: str, request: Message | Iterator[Message]) -> Any:
        """Start a streaming call, which has no deadline."""
        return getattr(self._stubs[service], method)(request, metadata=self._metadata)

    @contextmanager
    def _errors(self, query: Query | None = None) -> Iterator[None]:
        """Raise the errors of failed calls as errors of bitseg."""
        try:
            yield
        except grpc.RpcError as error:
            raise convert.as_bitseg_error(error, self._target, query) from None
