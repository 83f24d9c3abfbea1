"""What every call passes through: who may call, how many at once, how long; errors as statuses; notes of the end."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import code_pb2, status_pb2

from bitseg.errors import BitsegError, CancelledError, InvalidArgumentError, TimeLimitError
from bitseg.runtime.cancellation import interruptible
from bitseg.service import tracing
from bitseg.service.access import Access, Caller
from bitseg.service.metrics import Metrics
from bitseg.service.settings import Settings
from bitseg.service.streams import ConcurrencyLimit, StallDetector
from bitseg.wire.errors import STATUS_CODES, to_status

REQUEST_ID = "x-request-id"
DETAILS = "grpc-status-details-bin"
MAX_UPLOADS = 8
MAX_REFLECTIONS = 8
MAX_WATCHERS = 64
# Calls that take longer are worth a line in the log.
_SLOW_SECONDS = 1.0
_MORE_THREADS = 8

_HEALTH = "/grpc.health.v1.Health/"
_QUERIES = "/bitseg.v1.QueryService/"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_GIVEN_UP = "the caller has given up"
_REQUEST_ID = re.compile(r"[!-~]{1,128}")

_log = logging.getLogger("bitseg.calls")

Continuation = Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"]
Metadata = tuple[tuple[str, str | bytes], ...]
Behaviour = Callable[..., Any]


@dataclass(slots=True)
class Call:
    """A call under way."""

    method: str
    metadata: Metadata
    request_id: str
    # Whether the caller gave it the id.
    is_named: bool
    caller: Caller | None = None
    span: Any = None
    started: float = field(default_factory=time.perf_counter)


class CallInterceptor(grpc.ServerInterceptor):
    """Guards all methods of a server. Streams have threads of their own, so that they leave those of short calls."""

    def __init__(self, settings: Settings, access: Access, metrics: Metrics, streams: StallDetector) -> None:
        self._access = access
        self._metrics = metrics
        self._streams = streams
        self._max_query_seconds = settings.max_query_seconds
        self._places = {
            _QUERIES + "StreamMembers": ConcurrencyLimit("streams of members", settings.max_streams),
            "/bitseg.v1.IngestService/Ingest": ConcurrencyLimit("producers", settings.max_producers),
            "/bitseg.v1.CatalogService/UploadList": ConcurrencyLimit("uploads of lists", MAX_UPLOADS),
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ConcurrencyLimit(
                "reflections", MAX_REFLECTIONS
            ),
        }
        total = settings.max_streams + settings.max_producers + MAX_UPLOADS + MAX_REFLECTIONS + _MORE_THREADS
        self._stream_threads = ThreadPoolExecutor(total, thread_name_prefix="bitseg-stream")
        # Nobody has to say who they are to ask for the health or to be refused: both have threads of their own.
        self._health_threads = ThreadPoolExecutor(_MORE_THREADS, thread_name_prefix="bitseg-health")
        self._refusal_threads = ThreadPoolExecutor(_MORE_THREADS, thread_name_prefix="bitseg-refusal")
        self._watchers = ConcurrencyLimit("watchers of the health", MAX_WATCHERS)

    def close(self) -> None:
        """Let the threads go that have ended their calls."""
        for pool in (self._stream_threads, self._health_threads, self._refusal_threads):
            pool.shutdown(wait=False)

    def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            return None
        metadata: Metadata = tuple(handler_call_details.invocation_metadata or ())
        given = _request_id(metadata)
        call = Call(method, metadata, given or secrets.token_hex(8), is_named=given is not None)
        try:
            call.caller = self._access.admit(method, metadata)
        except BitsegError as error:
            # Before anything of the request is read.
            return grpc.stream_stream_rpc_method_handler(
                self._pooled(self._refusal(call, error), self._refusal_threads)
            )
        if method.startswith(_HEALTH):
            return self._health(handler)
        call.span = tracing.begin(method, call.request_id, metadata)
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            # As a stream of one message: the wait for it can be ended then, which else holds a thread for good.
            return grpc.stream_unary_rpc_method_handler(self._unary(call, handler.unary_unary), *codecs)
        if handler.unary_stream:
            behaviour = self._stream(call, handler.unary_stream)
            return grpc.stream_stream_rpc_method_handler(self._pooled(behaviour, self._stream_threads), *codecs)
        if handler.stream_unary:
            behaviour = self._upload(call, handler.stream_unary)
            return grpc.stream_unary_rpc_method_handler(self._pooled(behaviour, self._stream_threads), *codecs)
        assert handler.stream_stream is not None
        behaviour = self._conversation(call, handler.stream_stream)
        return grpc.stream_stream_rpc_method_handler(self._pooled(behaviour, self._stream_threads), *codecs)

    @staticmethod
    def _pooled(behaviour: Behaviour, pool: ThreadPoolExecutor) -> Behaviour:
        """The behaviour, to be run by threads of a pool; grpc looks for the attribute."""
        behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined]
        return behaviour

    # The kinds of calls

    def _unary(self, call: Call, behaviour: Behaviour) -> Behaviour:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            request = self._only(requests, context)
            with self._bounded(call, context):
                return behaviour(request, context)

        return self._answered(call, answer)

    def _upload(self, call: Call, behaviour: Behaviour) -> Behaviour:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            places = self._places[call.method]
            places.take()
            try:
                return behaviour(self._received(call, context, requests), context)
            finally:
                places.give_back()

        return self._answered(call, answer)

    def _answered(self, call: Call, answer: Behaviour) -> Behaviour:
        """What gives a single answer, or ends with the status that stands for an error."""

        def run(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            try:
                response = answer(requests, context)
            except Exception as error:
                return self._failed(call, context, error)
            self._ended(call, context, "OK")
            return response

        return run

    def _stream(self, call: Call, behaviour: Behaviour) -> Behaviour:
        def run(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            return self._sent(call, context, lambda: behaviour(self._only(requests, context), context))

        return run

    def _conversation(self, call: Call, behaviour: Behaviour) -> Behaviour:
        def run(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            return self._sent(call, context, lambda: behaviour(self._received(call, context, requests), context))

        return run

    def _refusal(self, call: Call, error: BitsegError) -> Behaviour:
        def run(_: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            return iter(self._failed(call, context, error))

        return run

    def _health(self, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            inner = handler.unary_unary

            def check(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
                return inner(self._asked(requests, context), context)

            return grpc.stream_unary_rpc_method_handler(self._pooled(check, self._health_threads), *codecs)
        watched: Any = handler.unary_stream
        places = self._watchers

        def watch(requests: Iterator[Any], context: grpc.ServicerContext, send_response_callback: Any) -> None:
            request = self._asked(requests, context)
            try:
                places.take()
            except BitsegError as error:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            if not context.add_callback(places.give_back):
                places.give_back()
                return
            watched(request, context, send_response_callback=send_response_callback)

        # A watcher holds no thread.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(self._pooled(watch, self._health_threads), *codecs)

    def _asked(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The message of a call of the health service, which has no errors of its own."""
        try:
            return self._only(requests, context)
        except BitsegError as error:
            context.abort(STATUS_CODES[type(error)], str(error))

    # What they have in common

    def _sent(self, call: Call, context: grpc.ServicerContext, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """The messages of a stream, one after the other as its caller takes them."""
        places, code = self._places[call.method], "CANCELLED"
        try:
            places.take()
        except BitsegError as error:
            self._failed(call, context, error)
        self._metrics.streams(call.method, 1)
        try:
            responses = begin()
            # Only what comes before the first message takes long, and bounds must not outlast a yield.
            with self._bounded(call, context):
                response = next(responses, None)
            while response is not None:
                with self._streams.waiting_for_peer(context):
                    yield response
                self._require_wanted(call, context)
                response = next(responses, None)
            code = "OK"
        except Exception as error:
            code = ""
            self._failed(call, context, error)
        finally:
            places.give_back()
            self._metrics.streams(call.method, -1)
            if code:
                self._ended(call, context, code)

    def _only(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The message of a call that has one."""
        try:
            with self._streams.waiting_for_peer(context):
                request = next(requests, None)
        except grpc.RpcError:
            raise CancelledError(_GIVEN_UP) from None
        if request is None:
            raise InvalidArgumentError("the call has no request")
        return request

    def _received(self, call: Call, context: grpc.ServicerContext, requests: Iterator[Any]) -> Iterator[Any]:
        """The messages of a caller; an error where the server stops, so that what came is not taken for the whole."""
        while True:
            try:
                with self._streams.waiting(context):
                    request = next(requests, None)
            except grpc.RpcError:
                raise CancelledError(_GIVEN_UP) from None
            if request is None:
                return
            self._require_wanted(call, context)
            yield request

    def _require_wanted(self, call: Call, context: grpc.ServicerContext) -> None:
        assert call.caller is not None
        self._access.require_valid(call.caller)
        if not context.is_active():
            raise CancelledError(_GIVEN_UP)

    def _bounded(self, call: Call, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        """A query ends when its caller has given up, or it has had its time; what changes something goes on."""
        if not call.method.startswith(_QUERIES):
            return nullcontext()
        limit = self._max_query_seconds
        ends_at = call.started + limit

        def require_wanted() -> None:
            if time.perf_counter() > ends_at:
                raise TimeLimitError(f"the answer took more than {limit:g} seconds, the limit of the server")
            if not context.is_active():
                raise CancelledError(_GIVEN_UP)

        return interruptible(require_wanted)

    def _failed(self, call: Call, context: grpc.ServicerContext, error: Exception) -> Any:
        """End a call with the status that stands for an error."""
        if isinstance(error, BitsegError):
            status = to_status(error)
        else:
            _log.exception("unforeseen error", exc_info=error, extra=_fields(call))
            status = status_pb2.Status(
                code=code_pb2.INTERNAL,
                message=f"internal error; the server's log has the details under the request id {call.request_id}",
            )
        self._ended(call, context, code_pb2.Code.Name(status.code), status)
        context.abort_with_status(_Status(status, call.request_id))

    def _ended(
        self, call: Call, context: grpc.ServicerContext, code: str, status: status_pb2.Status | None = None
    ) -> None:
        seconds = time.perf_counter() - call.started
        self._metrics.ended(call.method, code, seconds)
        tracing.end(call.span, code)
        if status is None and call.is_named:
            context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        is_slow = seconds > _SLOW_SECONDS and call.method not in self._places
        level = logging.INFO if is_slow or code != "OK" else logging.DEBUG
        if _log.isEnabledFor(level):
            fields = {"code": code, "ms": round(seconds * 1000, 3), "peer": context.peer()}
            if status is not None:
                fields["error"] = status.message
            _log.log(level, "call", extra=_fields(call, **fields))


class _Status(grpc.Status):
    """A status with its details and the request id in the trailing metadata."""

    def __init__(self, status: status_pb2.Status, request_id: str) -> None:
        self.code = _CODES[status.code]
        self.details = status.message
        self.trailing_metadata = ((DETAILS, status.SerializeToString()), (REQUEST_ID, request_id))


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _request_id(metadata: Metadata) -> str | None:
    """The id that the caller gave the call, if it is one."""
    given = next((value for key, value in metadata if key == REQUEST_ID), None)
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else None


def _fields(call: Call, **more: Any) -> dict[str, Any]:
    caller = "" if call.caller is None else call.caller.name
    return {"fields": {"request_id": call.request_id, "method": call.method, "caller": caller, **more}}
