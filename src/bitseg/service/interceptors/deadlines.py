"""Ends work that takes too long, or whose caller has cancelled."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc

from bitseg.errors import CancelledError, TimeLimitError
from bitseg.protocol import QUERY
from bitseg.runtime.cancellation import interruptible
from bitseg.service.interceptors.call import Call, Endpoint, Method

_QUERIES = f"/{QUERY.full_name}/"
GIVEN_UP = "the caller has given up"


def require_active(context: grpc.ServicerContext) -> None:
    """Raise CancelledError if the caller has cancelled, or the call has ended."""
    if not context.is_active():
        raise CancelledError(GIVEN_UP)


class Deadlines:
    """Ends queries after `max_query_seconds` and when their callers cancel. Calls that change something go on."""

    def __init__(self, max_query_seconds: float) -> None:
        self._max_query_seconds = max_query_seconds

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """Bound the time of a query, or of the first message of its stream."""
        if method.path.startswith(_QUERIES):
            return self._bounded_stream(inner) if method.streams_responses else self._bounded(inner)
        return _cancellable_stream(inner) if method.streams_responses else inner

    def _bounded(self, inner: Endpoint) -> Endpoint:
        def answer(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._bounds(call, context):
                return inner(call, requests, context)

        return answer

    def _bounded_stream(self, inner: Endpoint) -> Endpoint:
        def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            responses = inner(call, requests, context)
            # Only the work before the first message takes long, and the bounds must end before a yield.
            with self._bounds(call, context):
                response = next(responses, None)
            while response is not None:
                yield response
                require_active(context)
                response = next(responses, None)

        return respond

    def _bounds(self, call: Call, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        limit = self._max_query_seconds
        ends_at = call.arrived + limit

        def require_wanted() -> None:
            if time.perf_counter() > ends_at:
                raise TimeLimitError(f"the query took more than {limit:g} seconds, the limit of the server")
            require_active(context)

        return interruptible(require_wanted)


def _cancellable_stream(inner: Endpoint) -> Endpoint:
    def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for response in inner(call, requests, context):
            yield response
            require_active(context)

    return respond
