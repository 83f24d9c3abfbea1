"""Calls of the health service, which need no credentials and are not recorded."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc

from bitseg.errors import BitsegError
from bitseg.service.access import OPEN_METHODS
from bitseg.service.interceptors.messages import only_request
from bitseg.service.streams import ConcurrencyLimit, StallDetector
from bitseg.wire.errors import STATUS_CODES

MAX_WATCHERS = 64
_PREFIX = "/grpc.health.v1.Health/"


class HealthInterceptor(grpc.ServerInterceptor):
    """Runs health checks on threads of their own, and limits watchers, which occupy no thread."""

    def __init__(self, threads: ThreadPoolExecutor, stalls: StallDetector) -> None:
        self._threads = threads
        self._stalls = stalls
        self._watchers = ConcurrencyLimit("watchers of the health", MAX_WATCHERS)

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """A handler for a health call; for any other call, the handler of the next interceptor."""
        handler = continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith(_PREFIX) or method not in OPEN_METHODS:
            return handler
        watch: Any = handler.unary_stream
        check: Any = handler.unary_unary
        behaviour: Any
        if watch is not None:
            make, behaviour = grpc.stream_stream_rpc_method_handler, partial(self._watch, watch)
            # With this attribute, grpc lets the behaviour send its responses by a callback.
            behaviour.experimental_non_blocking = True
        else:
            make, behaviour = grpc.stream_unary_rpc_method_handler, partial(self._check, check)
        behaviour.experimental_thread_pool = self._threads
        return make(behaviour, handler.request_deserializer, handler.response_serializer)

    def _check(self, check: Callable[..., Any], requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return check(self._request(requests, context), context)

    def _watch(
        self,
        watch: Callable[..., Any],
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        send_response_callback: Callable[[Any], None],
    ) -> None:
        request = self._request(requests, context)
        try:
            self._watchers.acquire()
        except BitsegError as error:
            _abort(context, error)
        if not context.add_callback(self._watchers.release):
            # The call has ended already.
            self._watchers.release()
            return
        watch(request, context, send_response_callback=send_response_callback)

    def _request(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        try:
            return only_request(requests, context, self._stalls)
        except BitsegError as error:
            _abort(context, error)


def _abort(context: grpc.ServicerContext, error: BitsegError) -> None:
    context.abort(STATUS_CODES[type(error)], str(error))
