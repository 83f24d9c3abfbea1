"""The order in which calls pass the interceptors."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from bitseg.errors import BitsegError
from bitseg.service.access import OPEN_METHODS
from bitseg.service.interceptors import messages
from bitseg.service.interceptors.authentication import Authentication
from bitseg.service.interceptors.call import Call, Endpoint, Interceptor, Method
from bitseg.service.interceptors.call_log import CallLog
from bitseg.service.interceptors.deadlines import Deadlines
from bitseg.service.interceptors.errors import ErrorStatuses
from bitseg.service.interceptors.health import HealthInterceptor
from bitseg.service.interceptors.limits import StreamLimits
from bitseg.service.interceptors.threads import ThreadPools
from bitseg.service.metrics import Metrics
from bitseg.service.settings import Settings
from bitseg.service.streams import ConcurrencyLimit, StallDetector

_handler, _stream_handler = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler


def build_interceptors(
    settings: Settings,
    limits: dict[str, ConcurrencyLimit],
    threads: ThreadPools,
    stalls: StallDetector,
    metrics: Metrics,
) -> list[grpc.ServerInterceptor]:
    """The interceptors of every call, outermost first."""
    authentication = Authentication(settings)
    return [
        Pipeline(
            authentication,
            always=[CallLog(metrics), ErrorStatuses()],
            admitted=[StreamLimits(limits, metrics), authentication, Deadlines(settings.max_query_seconds)],
            threads=threads,
            stalls=stalls,
        ),
        HealthInterceptor(threads.health, stalls),
    ]


class Pipeline(grpc.ServerInterceptor):
    """Admits calls, and answers them by the handler of their method within interceptors.

    Refused calls pass only the interceptors in `always`, and their requests are not read. Both sequences are outermost
    first. The endpoint of a method is composed once, by its first call.
    """

    def __init__(
        self,
        authentication: Authentication,
        *,
        always: Sequence[Interceptor],
        admitted: Sequence[Interceptor],
        threads: ThreadPools,
        stalls: StallDetector,
    ) -> None:
        self._authentication = authentication
        self._always = always
        self._admitted = admitted
        self._threads = threads
        self._stalls = stalls
        self._routes: dict[str, _Routes] = {}

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of one call; None for a method that the server does not have. Open methods pass unchanged."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method in OPEN_METHODS:
            return handler
        call = Call.arriving(handler_call_details)
        routes = self._routes.get(call.method)
        if routes is None:
            routes = self._routes[call.method] = self._compose(call.method, handler)
        try:
            call.caller = self._authentication.admit(call)
        except BitsegError as error:
            call.refusal = error.with_traceback(None)
            return routes.refused.handler(call)
        return routes.admitted.handler(call)

    def _compose(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "_Routes":
        method = Method(path, handler.request_streaming, handler.response_streaming)
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        assert behaviour is not None
        # A single request is received like a stream of one, because only a wait for a stream can be interrupted.
        make = partial(
            _stream_handler if method.streams_responses else _handler,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        endpoint = messages.endpoint(method, behaviour, self._stalls)
        endpoint = _within([*self._always, *self._admitted], method, endpoint)
        pool = self._threads.streams if method.is_stream else self._threads.unary
        refusal = _within(self._always, method, _refusing_stream if method.streams_responses else _refusing)
        return _Routes(_Route(endpoint, pool, make), _Route(refusal, self._threads.refusals, make))


@dataclass(frozen=True, slots=True)
class _Route:
    """How calls of a method run: their endpoint, its threads, and the function that makes a handler of a behaviour."""

    endpoint: Endpoint
    threads: ThreadPoolExecutor
    make: "Callable[[Callable[..., Any]], grpc.RpcMethodHandler[Any, Any]]"

    def handler(self, call: Call) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler of one call."""
        behaviour: Any = partial(self.endpoint, call)
        # grpc looks for this attribute.
        behaviour.experimental_thread_pool = self.threads
        return self.make(behaviour)


@dataclass(frozen=True, slots=True)
class _Routes:
    admitted: _Route
    refused: _Route


def _within(interceptors: Sequence[Interceptor], method: Method, endpoint: Endpoint) -> Endpoint:
    """The endpoint within interceptors, the first one outermost."""
    for interceptor in reversed(interceptors):
        endpoint = interceptor.wrap(method, endpoint)
    return endpoint


def _refusing(call: Call, _: Iterator[Any], __: grpc.ServicerContext) -> Any:
    raise call.take_refusal()


def _refusing_stream(call: Call, _: Iterator[Any], __: grpc.ServicerContext) -> Iterator[Any]:
    raise call.take_refusal()
    yield
