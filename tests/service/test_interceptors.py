"""The interceptors one by one, and the order in which calls pass them, without sockets."""

import gc
from contextlib import suppress
from types import SimpleNamespace

import grpc
import pytest

from bitseg.errors import OverloadedError, UnauthenticatedError
from bitseg.service.access import Role
from bitseg.service.interceptors.call import Call, Caller, Method
from bitseg.service.interceptors.call_log import CallLog
from bitseg.service.interceptors.errors import ErrorStatuses
from bitseg.service.interceptors.limits import StreamLimits
from bitseg.service.interceptors.pipeline import Pipeline
from bitseg.service.interceptors.threads import ThreadPools
from bitseg.service.metrics import Metrics
from bitseg.service.readiness import Readiness
from bitseg.service.streams import ConcurrencyLimit, StallDetector

COUNT = Method("/bitseg.v1.QueryService/Count", False, False)
MEMBERS = Method("/bitseg.v1.QueryService/StreamMembers", False, True)
UPLOAD = Method("/bitseg.v1.CatalogService/UploadList", True, False)


class Context:
    """A servicer's context that notes how the call was ended."""

    def __init__(self):
        self.status, self.trailing = None, None

    def abort_with_status(self, status):
        self.status = status
        raise RuntimeError("aborted")

    def set_trailing_metadata(self, metadata):
        self.trailing = metadata

    def is_active(self):
        return True

    def peer(self):
        return "peer"


class Noting:
    """An interceptor that notes when a call passes it."""

    def __init__(self, name, notes):
        self.name, self.notes = name, notes

    def wrap(self, method, inner):
        def answer(call, requests, context):
            self.notes.append(f"into {self.name}")
            try:
                return inner(call, requests, context)
            finally:
                self.notes.append(f"out of {self.name}")

        return answer


class Door:
    """An authentication that admits every call except "/refused"."""

    def admit(self, call):
        if call.method == "/refused":
            raise UnauthenticatedError("not you")
        return Caller("someone", Role.READER)


def call_of(method=COUNT.path, *metadata):
    return Call.arriving(SimpleNamespace(method=method, invocation_metadata=metadata))


def metric(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def metrics():
    return Metrics(Readiness())


@pytest.fixture
def threads():
    pools = ThreadPools(1)
    yield pools
    pools.close()


def piped(threads, notes, method, requests):
    """The result of a call through a pipeline of noting interceptors, and the pool on which it would run."""

    def count(request, context):
        notes.append(f"count {request}")
        return "answer"

    pipeline = Pipeline(
        Door(),
        always=[Noting("log", notes), Noting("errors", notes)],
        admitted=[Noting("limits", notes), Noting("deadlines", notes)],
        threads=threads,
        stalls=StallDetector(1.0),
    )
    details = SimpleNamespace(method=method, invocation_metadata=())
    handler = pipeline.intercept_service(lambda _: grpc.unary_unary_rpc_method_handler(count), details)
    return handler.stream_unary(requests, Context()), handler.stream_unary.experimental_thread_pool


def test_Admitted_call_passes_all_interceptors_outermost_first(threads):
    notes = []
    answer, pool = piped(threads, notes, "/known", iter(["request"]))
    assert (answer, pool) == ("answer", threads.unary)
    names = ["log", "errors", "limits", "deadlines"]
    assert notes == [*(f"into {name}" for name in names), "count request", *(f"out of {each}" for each in names[::-1])]


def test_Refused_call_is_logged_and_its_request_is_not_read(threads):
    notes, requests = [], iter(["request"])
    with pytest.raises(UnauthenticatedError, match="not you"):
        piped(threads, notes, "/refused", requests)
    assert notes == ["into log", "into errors", "out of errors", "out of log"]
    assert next(requests) == "request"


def test_Refused_calls_leave_no_cycles(threads):
    def refused():
        with suppress(UnauthenticatedError):
            piped(threads, [], "/refused", iter([]))

    gc.collect()
    gc.disable()
    try:
        refused()
        assert not [each for each in gc.get_objects() if isinstance(each, UnauthenticatedError)]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("metadata", "is_taken"),
    [
        ([("x-request-id", "order-17")], True),
        ([("x-request-id", "first"), ("x-request-id", "second")], True),
        ([("x-request-id", "x" * 129)], False),
        ([("x-request-id", "with space")], False),
        ([("x-request-id", b"bytes")], False),
        ([], False),
    ],
)
def test_Request_id_of_a_caller_is_taken_if_it_is_printable_and_short(metadata, is_taken):
    call = call_of(COUNT.path, *metadata)
    assert call.has_callers_request_id is is_taken
    assert call.request_id == metadata[0][1] if is_taken else len(call.request_id) == 16


@pytest.mark.parametrize("method", [MEMBERS, UPLOAD], ids=["responses", "requests"])
def test_Stream_counts_against_its_limit_until_it_ends_in_any_way(metrics, method):
    def fail(*_):
        raise ZeroDivisionError
        yield

    limits = StreamLimits({method.path: ConcurrencyLimit("streams", 1)}, metrics)

    def run(inner):
        result = limits.wrap(method, inner)(call_of(method.path), iter([]), Context())
        return list(result) if method.streams_responses else result

    def nested(*_):
        assert metric(metrics, "bitseg_open_streams", method=method.path) == 1
        with pytest.raises(OverloadedError, match="1 streams are open already"):
            run(lambda *_: iter([]))
        return iter(["done"])

    for _ in range(2):
        assert list(run(nested)) == ["done"]
        assert metric(metrics, "bitseg_open_streams", method=method.path) == 0
        with pytest.raises(ZeroDivisionError):
            list(run(fail if method.streams_responses else lambda *_: 1 / 0))


def test_Stream_without_a_limit_is_an_error_and_single_calls_need_none(metrics):
    limits = StreamLimits({}, metrics)
    with pytest.raises(KeyError, match="StreamMembers"):
        limits.wrap(MEMBERS, lambda *_: None)
    inner = object()
    assert limits.wrap(COUNT, inner) is inner


def test_Every_end_of_a_call_is_counted_by_its_code(metrics):
    def outcome(method, inner):
        context = Context()
        endpoint = CallLog(metrics).wrap(method, ErrorStatuses().wrap(method, inner))
        return endpoint(call_of(method.path), iter([]), context), context

    def two(*_):
        yield 1
        yield 2

    def refuse(*_):
        raise OverloadedError("too much")

    assert outcome(COUNT, lambda *_: 7)[0] == 7
    assert list(outcome(MEMBERS, two)[0]) == [1, 2]
    left, _ = outcome(MEMBERS, two)
    next(left)
    left.close()
    for error, inner in (("aborted", refuse), ("aborted", lambda *_: 1 / 0)):
        with pytest.raises(RuntimeError, match=error):
            outcome(COUNT, inner)
    counted = {
        (sample.labels["method"], sample.labels["code"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "bitseg_requests_total"
    }
    assert counted == {
        (COUNT.path, "OK"): 1,
        (COUNT.path, "RESOURCE_EXHAUSTED"): 1,
        (COUNT.path, "INTERNAL"): 1,
        (MEMBERS.path, "OK"): 1,
        (MEMBERS.path, "CANCELLED"): 1,
    }


def test_Refused_caller_makes_no_spans(metrics, monkeypatch):
    begun = []
    monkeypatch.setattr("bitseg.service.tracing.begin", lambda *arguments: begun.append(arguments[0]))
    endpoint = CallLog(metrics).wrap(COUNT, lambda *_: None)
    refused, admitted = call_of(), call_of()
    admitted.caller = Caller("someone", Role.READER)
    endpoint(refused, iter([]), Context())
    assert begun == []
    endpoint(admitted, iter([]), Context())
    assert begun == [COUNT.path]
