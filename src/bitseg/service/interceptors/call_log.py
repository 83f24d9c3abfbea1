"""Records calls: metrics, a span, a line in the log, and the request id in the answer."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.rpc import code_pb2

from bitseg.service import tracing
from bitseg.service.interceptors.call import REQUEST_ID, Call, Endpoint, Method
from bitseg.service.metrics import Metrics

# A call that takes longer is logged at the level "info".
_SLOW_SECONDS = 1.0

_log = logging.getLogger("bitseg.calls")


class CallLog:
    """Records calls when they end, including refused ones."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """Record the end of the call, whether it succeeds, fails or is cancelled."""
        return self._responding(method, inner) if method.streams_responses else self._answering(method, inner)

    def _answering(self, method: Method, inner: Endpoint) -> Endpoint:
        def answer(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            span = _span(call)
            code = "UNKNOWN"
            try:
                response = inner(call, requests, context)
                code = "OK"
            finally:
                self._record(method, call, context, code, span)
            return response

        return answer

    def _responding(self, method: Method, inner: Endpoint) -> Endpoint:
        def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            span = _span(call)
            # A stream that its caller cancels is closed at a yield, without an error.
            code = "CANCELLED"
            try:
                yield from inner(call, requests, context)
                code = "OK"
            finally:
                self._record(method, call, context, code, span)

        return respond

    def _record(self, method: Method, call: Call, context: grpc.ServicerContext, code: str, span: Any) -> None:
        """Record a call with the code of the error that ended it, or with `code` if it has none."""
        seconds = time.perf_counter() - call.arrived
        if call.status is not None:
            code = code_pb2.Code.Name(call.status.code)
        elif call.has_callers_request_id:
            context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        self._metrics.ended(method.path, code, seconds)
        tracing.end(span, code)
        is_slow = seconds > _SLOW_SECONDS and not method.is_stream
        level = logging.INFO if is_slow or code != "OK" else logging.DEBUG
        if _log.isEnabledFor(level):
            fields = {"code": code, "ms": round(seconds * 1000, 3), "peer": context.peer()}
            if call.status is not None:
                fields["error"] = call.status.message
            _log.log(level, "call", extra=log_fields(call, **fields))


def log_fields(call: Call, **more: Any) -> dict[str, Any]:
    """The fields of a log record about a call, as the argument `extra` of a logger's methods."""
    caller = "" if call.caller is None else call.caller.name
    return {"fields": {"request_id": call.request_id, "method": call.method, "caller": caller, **more}}


def _span(call: Call) -> Any:
    """The span of an admitted call, from its arrival on. Callers without credentials cannot create spans."""
    if call.caller is None:
        return None
    return tracing.begin(call.method, call.request_id, call.metadata, time.perf_counter() - call.arrived)
