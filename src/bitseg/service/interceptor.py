"""What every call passes through: errors become statuses, and no traceback leaves the server."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from bitseg.errors import BitsegError
from bitseg.wire.errors import to_status

_log = logging.getLogger("bitseg.service")

Continuation = Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"]


class ErrorInterceptor(grpc.ServerInterceptor):
    """Turns errors raised by handlers into statuses with details; what nobody foresaw is logged and INTERNAL."""

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not str(method).startswith("/bitseg."):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _guarded(handler.unary_unary, method), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _guarded_stream(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _guarded_stream(handler.stream_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        raise NotImplementedError(f"no guard for the kind of {method}")


def _guarded(behaviour: Callable[[Any, Any], Any], method: str) -> Callable[[Any, Any], Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except Exception as error:
            status = _status(error, method)
        context.abort_with_status(rpc_status.to_status(status))
        return None

    return call


def _guarded_stream(behaviour: Callable[[Any, Any], Any], method: str) -> Callable[[Any, Any], Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(request, context)
            return
        except Exception as error:
            status = _status(error, method)
        context.abort_with_status(rpc_status.to_status(status))

    return call


def _status(error: Exception, method: str) -> status_pb2.Status:
    if isinstance(error, BitsegError):
        return to_status(error)
    _log.exception("unforeseen error in %s", method, exc_info=error)
    return status_pb2.Status(code=code_pb2.INTERNAL, message="internal error; the server's log has the details")
