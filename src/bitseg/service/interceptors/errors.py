"""Errors as gRPC statuses."""

import logging
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
from google.rpc import code_pb2, status_pb2

from bitseg.errors import BitsegError
from bitseg.service.interceptors.call import REQUEST_ID, Call, Endpoint, Method
from bitseg.service.interceptors.call_log import log_fields
from bitseg.wire.errors import to_status

DETAILS = "grpc-status-details-bin"

_log = logging.getLogger("bitseg.calls")
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ErrorStatuses:
    """Ends a call with the status of the error that it raises. Unexpected errors are logged without telling callers."""

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """Turn the errors of the endpoint into statuses."""

        def answer(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            try:
                return inner(call, requests, context)
            except Exception as error:
                _abort(call, context, error)

        def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                yield from inner(call, requests, context)
            except Exception as error:
                _abort(call, context, error)

        return respond if method.streams_responses else answer


def _abort(call: Call, context: grpc.ServicerContext, error: Exception) -> NoReturn:
    if isinstance(error, BitsegError):
        call.status = to_status(error)
    else:
        _log.exception("unexpected error", exc_info=error, extra=log_fields(call))
        message = f"internal error; the server's log has the details under the request id {call.request_id}"
        call.status = status_pb2.Status(code=code_pb2.INTERNAL, message=message)
    context.abort_with_status(_Status(call.status, call.request_id))
    raise AssertionError("abort_with_status returned")


class _Status(grpc.Status):
    """A status with its details and the request id in the trailing metadata."""

    def __init__(self, status: status_pb2.Status, request_id: str) -> None:
        self.code = _CODES[status.code]
        self.details = status.message
        self.trailing_metadata = ((DETAILS, status.SerializeToString()), (REQUEST_ID, request_id))
