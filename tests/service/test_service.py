"""The gRPC services through real sockets: the Python clients, and bare stubs where the wire itself matters."""

import asyncio
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from pyroaring import BitMap

from bitseg import errors
from bitseg.client import AsyncClient, Client
from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.errors import (
    BitsegError,
    InvalidArgumentError,
    NotFoundError,
    RequestError,
    SegmentSyntaxError,
    ServerUnavailableError,
    UnknownAttributeError,
    UnknownListError,
    UnknownSegmentError,
)
from bitseg.operations import Identify, Track
from bitseg.pb import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.segment import parse
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.values import Column, ValueType, empty
from bitseg.wire.errors import STATUS_CODES, from_status, to_status
from bitseg.wire.segments import to_message
from tests.conftest import NOW_MS

USERS = [Identify(f"u{number}", {"n": number, "even": number % 2 == 0}, NOW_MS) for number in range(10)]


@pytest.fixture
def client(server):
    with Client(server.address, timeout_seconds=10) as client:
        yield client


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def test_Client_answers_what_the_engine_answers(engine, client):
    assert client.ingest(USERS).accepted == 10
    for query in ("even = true", parse("n >= 3 and not even = true")):
        assert client.count(query).count == engine.count(query).count > 0
        assert client.count(query).version == engine.version
        remote, local = (
            client.evaluate(query, sample_size=3, include_bitmap=True),
            engine.evaluate(query, sample_size=3),
        )
        assert (remote.count, remote.sample) == (local.count, local.sample)
        assert len(BitMap.deserialize(remote.bitmap)) == remote.count
        assert list(client.members(query, page_size=2).pages) == list(engine.members(query, page_size=2).pages)
    assert client.count("even = true").elapsed_seconds > 0


def test_As_of_reaches_the_server(client):
    client.ingest([Track("u", "E", {}, NOW_MS)])
    assert client.count('did "E"', datetime(2024, 1, 31, 12, tzinfo=UTC)).count == 1
    assert client.count('did "E"', datetime(2024, 1, 31, 11, 59, 59, 999_000, tzinfo=UTC)).count == 0
    # The workspace is in UTC.
    assert client.count('did "E"', datetime(2024, 1, 31, 12)).count == 1


def test_Warnings_reach_the_client(client):
    client.ingest([Track("u", "Charged", {}, NOW_MS)])
    for answer in (client.count, client.evaluate, client.members):
        assert "Charged" in answer('did "Chargd"').warnings[0]


def test_Segment_without_members_is_one_empty_page(client, channel):
    assert client.members("everyone").total == 0
    assert list(client.members("everyone").pages) == []
    stub = query_pb2_grpc.QueryServiceStub(channel)
    pages = list(stub.StreamMembers(query_pb2.StreamMembersRequest(expression="everyone")))
    assert [(list(page.user_ids), page.total) for page in pages] == [([], 0)]


def test_Dense_members_are_those_of_the_bitmap(client, channel):
    client.ingest(USERS)
    stub = query_pb2_grpc.QueryServiceStub(channel)
    request = query_pb2.StreamMembersRequest(expression="even = true", page_size=2, id_kind=query_pb2.ID_KIND_DENSE)
    pages = list(stub.StreamMembers(request))
    assert [list(page.dense_ids) for page in pages] == [[0, 2], [4, 6], [8]]
    assert {page.total for page in pages} == {5}
    bitmap = stub.Evaluate(query_pb2.EvaluateRequest(expression="even = true", include_bitmap=True)).bitmap
    assert list(BitMap.deserialize(bitmap)) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("even = ", SegmentSyntaxError),
        ("evn = true", UnknownAttributeError),
        ('in list "x"', UnknownListError),
        ('in segment "x"', UnknownSegmentError),
    ],
)
def test_Client_raises_the_engine_s_errors(client, engine, query, kind):
    client.ingest(USERS)
    with pytest.raises(kind) as remote:
        client.count(query)
    with pytest.raises(kind) as local:
        engine.count(query)
    assert str(remote.value) == str(local.value)
    assert remote.value.hint == local.value.hint
    assert remote.value.position == local.value.position
    with pytest.raises(kind):
        client.members(query)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("a" * 10_000_000, SegmentSyntaxError),
        ("(" * 100_000, SegmentSyntaxError),
        (f"`{'😀' * 50_000}` = 1", UnknownAttributeError),
        (f'in list "{"é" * 100_000}"', UnknownListError),
    ],
    ids=["10 MB", "nested", "emoji", "list"],
)
def test_Hostile_query_gets_its_error_over_the_wire(client, query, kind):
    """A message as long as the query once outgrew the headers that carry it."""
    with pytest.raises(kind):
        client.count(query)


def test_Syntax_error_carries_details_that_any_client_can_read(channel):
    stub = query_pb2_grpc.QueryServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Count(query_pb2.CountRequest(expression="country = US"))
    status = rpc_status.from_call(caught.value)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    located, bad_request, info = (
        query_pb2.ExpressionError(),
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(),
    )
    for detail in status.details:
        assert detail.Unpack(located) or detail.Unpack(bad_request) or detail.Unpack(info)
    assert (located.offset, located.line, located.column) == (10, 1, 11)
    assert "double quotes" in located.hint
    assert bad_request.field_violations[0].field == "query"
    assert (info.reason, info.domain) == ("SEGMENT_SYNTAX", "bitseg")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (query_pb2.CountRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (query_pb2.CountRequest(definition={}), grpc.StatusCode.INVALID_ARGUMENT),
        (query_pb2.CountRequest(expression="everyone", as_of={"seconds": 10**15}), grpc.StatusCode.INVALID_ARGUMENT),
        (query_pb2.CountRequest(expression='in segment "x"'), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_Bad_request_has_its_status(channel, request_, code):
    with pytest.raises(grpc.RpcError) as caught:
        query_pb2_grpc.QueryServiceStub(channel).Count(request_)
    assert caught.value.code() is code


def test_Page_and_sample_sizes_have_limits(channel):
    stub = query_pb2_grpc.QueryServiceStub(channel)
    for size in (-1, 100_001):
        with pytest.raises(grpc.RpcError, match="page size"):
            list(stub.StreamMembers(query_pb2.StreamMembersRequest(expression="everyone", page_size=size)))
    with pytest.raises(grpc.RpcError, match="sample"):
        stub.Evaluate(query_pb2.EvaluateRequest(expression="everyone", sample_size=-5))


def test_Ingest_takes_all_calls_and_reports_rejections_by_place(channel, engine):
    def struct(**values):
        made = Struct()
        made.update(values)
        return made

    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    operations = [
        ingest_pb2.Operation(),
        ingest_pb2.Operation(
            identify={"user_id": "a", "traits": struct(age=3, tags=["x"], home={"lat": 1, "lon": 2}, gone=None)}
        ),
        ingest_pb2.Operation(track={"user_id": "a", "event": "E", "properties": struct(ok=True), "message_id": "m"}),
        ingest_pb2.Operation(track={"user_id": "a", "event": "E", "properties": struct(ok=True), "message_id": "m"}),
        ingest_pb2.Operation(page={"user_id": "b", "name": "Home"}),
        ingest_pb2.Operation(identify={"user_id": "c", "traits": struct(age="old")}),
        ingest_pb2.Operation(track={"user_id": "c", "event": "E", "timestamp": {"seconds": NOW_MS // 1000 + 4000}}),
        ingest_pb2.Operation(identify={"user_id": "d"}),
        ingest_pb2.Operation(delete_user={"user_id": "d"}),
    ]
    response = stub.IngestBatch(ingest_pb2.IngestBatchRequest(operations=operations))
    assert (response.accepted, response.duplicates, response.version) == (6, 1, engine.version)
    assert [(each.operation, each.name) for each in response.rejections] == [(0, ""), (5, "age"), (6, "")]
    assert (
        engine.count('tags has "x" and home within 1 km of (1, 2) and did "E" where ok = true exactly 1 times').count
        == 1
    )
    assert engine.count('did "Page Viewed" where name = "Home" today').count == 1
    assert engine.user_count == 3


def test_Empty_operations_do_not_shift_the_places_of_other_rejections(channel):
    def named(user_id):
        return ingest_pb2.Operation(delete_user={"user_id": user_id})

    empty = ingest_pb2.Operation()
    block = ingest_pb2.Columns(user_ids=["b", ""], times_ms=[NOW_MS, NOW_MS])
    request = ingest_pb2.IngestBatchRequest(
        operations=[empty, named("a"), named(""), empty, named("b"), named("")], columns=[block]
    )
    response = ingest_pb2_grpc.IngestServiceStub(channel).IngestBatch(request)
    reasons = {each.operation: each.reason.split(":")[0] for each in response.rejections}
    assert [*reasons] == [0, 2, 3, 5]
    assert reasons[0] == reasons[3] == "the operation is empty"
    assert reasons[2] == reasons[5] != reasons[0]
    assert [(each.columns, each.row) for each in response.column_rejections] == [(0, 1)]
    assert response.accepted == 3


def test_Oversize_batch_is_refused_whole(channel, engine):
    many = ingest_pb2.IngestBatchRequest(operations=[ingest_pb2.Operation(delete_user={"user_id": "a"})] * 100_001)
    with pytest.raises(grpc.RpcError, match="limit is 100,000"):
        ingest_pb2_grpc.IngestServiceStub(channel).IngestBatch(many)
    assert engine.version == 0


def test_Oversize_message_is_refused(client):
    with pytest.raises(RequestError, match="RESOURCE_EXHAUSTED"):
        client.ingest([Identify(f"u{number}", {"a": "x" * 8_000}, NOW_MS) for number in range(2_200)])


def test_Explanation_reaches_the_client_complete(engine, client):
    at_ms = NOW_MS - 3_600_000
    engine.ingest(
        [
            Identify("u", {"n": 1, "tags": ["a"], "home": {"lat": 1, "lon": 2}, "ok": False}, NOW_MS),
            Track("u", "E", {"amount": 2.5, "tags": ["x"]}, at_ms),
        ]
    )
    engine.catalog.save_segment("S", "n = 1 and ok is set")
    text = 'in segment "S" and tags has "a" and home is set and not did "E" where amount > 1 in last 2 days and m = 1'
    engine.declare("m", ValueType.NUMBER)
    assert client.explain("u", text) == engine.explain("u", text)
    assert client.explain("u", text).explanation.conditions[0].conditions[0].conditions[1].value is False
    with pytest.raises(NotFoundError):
        client.explain("nobody", text)


def test_Health_and_reflection_answer(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "bitseg.v1.QueryService", "bitseg.v1.IngestService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {each.name for each in answer.list_services_response.service}
    assert {"bitseg.v1.QueryService", "bitseg.v1.IngestService", "grpc.health.v1.Health"} <= names


def test_No_server_is_one_clear_error():
    with (
        Client("127.0.0.1:1", timeout_seconds=10) as client,
        pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"),
    ):
        client.count("everyone")


def test_Address_in_use_or_nonsense_is_refused(server, engine):
    for address in (server.address, "nonsense", "127.0.0.1:99999", "no.such.host.invalid:0"):
        with pytest.raises(InvalidArgumentError):
            Server(engine, Settings(address=address))


def test_Asyncio_client_answers_the_same(server, engine):
    engine.ingest(USERS)

    async def ask():
        async with AsyncClient(server.address, timeout_seconds=10) as client:
            assert (await client.ingest([Identify("u10", {"n": 10}, NOW_MS)])).accepted == 1
            assert (await client.count("n >= 5")).count == 6
            assert (await client.evaluate("n >= 5", sample_size=2)).sample == ("u5", "u8")
            assert (await client.explain("u3", "n = 3")).explanation.matches
            assert [page async for page in (await client.members("n >= 9", page_size=1)).pages] == [["u9"], ["u10"]]
            with pytest.raises(UnknownAttributeError):
                await client.count("m = 1")
            with pytest.raises(SegmentSyntaxError):
                await client.members("m")

    asyncio.run(ask())


def concrete(kind):
    return [kind] + [each for below in kind.__subclasses__() for each in concrete(below)]


def test_Every_public_error_has_a_status_and_comes_back():
    abstract = {BitsegError, errors.SegmentError}
    public = set(concrete(BitsegError)) - abstract
    assert public == set(STATUS_CODES)
    for kind in public:
        more = {"position": errors.Position(1, 1, 2)} if kind is SegmentSyntaxError else {}
        error = kind("what happened", hint="what to do", **more)
        back = from_status(to_status(error))
        assert type(back) is kind
        assert str(back) == str(error)


def test_Definition_is_the_same_as_its_expression(channel, engine):
    engine.ingest(USERS)
    stub = query_pb2_grpc.QueryServiceStub(channel)
    text = "n >= 3 and not even = true"
    by_tree = stub.Count(query_pb2.CountRequest(definition=to_message(parse(text))))
    assert by_tree.count == stub.Count(query_pb2.CountRequest(expression=text)).count == 4


def test_Batch_counts_at_one_version_and_faults_stay_with_their_segment(engine, client, channel):
    client.ingest(USERS)
    queries = ["even = true", "n >= 3", parse("even = true and n >= 3"), "n =", "nobody = 1", 'did "Never"']
    outcomes, version = client.count_all(queries)
    assert version == engine.version
    assert [outcome.count for outcome in outcomes[:3]] == [5, 7, 3]
    assert isinstance(outcomes[3], SegmentSyntaxError)
    assert outcomes[3].position.column == 4
    assert isinstance(outcomes[4], UnknownAttributeError)
    assert (outcomes[5].count, len(outcomes[5].warnings)) == (0, 1)
    stub = query_pb2_grpc.QueryServiceStub(channel)
    assert stub.BatchCount(query_pb2.BatchCountRequest()).results == []
    with pytest.raises(grpc.RpcError) as caught:
        stub.BatchCount(query_pb2.BatchCountRequest(queries=[query_pb2.SegmentQuery(expression="everyone")] * 1_001))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1,000" in caught.value.details()
    past, _ = client.count_all(["everyone"], datetime(2020, 1, 1, tzinfo=UTC))
    assert past[0].count == 10


def columns(event, total, **values):
    users = [f"u{number}" for number in range(total)]
    return Columns(event, users, np.full(total, NOW_MS), values, np.arange(total) + 100)


@pytest.mark.parametrize("whole", [True, False])
def test_Columns_of_every_kind_reach_the_server(engine, client, whole):
    """Compared with an engine that ingests them directly."""
    sent = {
        "number": Column(ValueType.NUMBER, np.array([1.5, -2.0, 3.0])),
        "text": Column(ValueType.STRING, np.array([1, 0, 1], np.int32), ["unused" if whole else "a", "ü"]),
        "flag": Column(ValueType.BOOLEAN, np.array([1, 0, 1], np.int8)),
        "day": Column(ValueType.DATE, np.array([19_000, 1, -5], np.int32)),
        "at": Column(ValueType.DATETIME, np.array([NOW_MS, 5, -7])),
    }
    if not whole:
        for column in sent.values():
            column.data[1:2] = empty(column.type, 1)
    local = Engine(clock=FixedClock(NOW_MS))
    for event in (None, "A"):
        block = columns(event, 3, **sent)
        assert client.ingest_columns(block).accepted == local.ingest_columns(block).accepted == 3
    for user in ("u0", "u1", "u2"):
        for text in ('did "A"', "number > 0", 'text = "ü"', "flag = true", "day is set", "at is set"):
            assert client.explain(user, text).explanation == local.explain(user, text).explanation


def test_Columns_without_a_message_in_the_protocol_are_sent_as_operations(engine, client):
    points = Column(ValueType.GEO, np.array([[40.7, -74.0], [0.0, 0.0]]))
    assert client.ingest_columns(columns(None, 2, home=points)).accepted == 2
    assert client.count("home within 10 km of (40.71, -74.0)").count == 1


def test_Rejected_rows_of_columns_have_their_own_numbers(client):
    client.ingest([Identify("u0", {"n": "text"}, NOW_MS)])
    block = columns(None, 3, n=Column(ValueType.NUMBER, np.array([1.0, np.nan, 3.0])))
    block.timestamps_ms[2] = NOW_MS * 2
    result = client.ingest_columns(block)
    assert result.accepted == 2
    assert sorted((each.row, each.name) for each in result.rejections) == [(100, "n"), (102, None)]


def test_Many_rows_are_sent_in_messages_that_fit(client):
    long_ids = [f"{number:0>512}" for number in range(40_000)]
    block = Columns("A", long_ids, np.full(40_000, NOW_MS), {}, np.arange(40_000))
    assert client.ingest_columns(block).accepted == 40_000
    assert client.count('did "A"').count == 40_000


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"user_ids": ["a"], "times_ms": []}, "1 user ids and 0 times"),
        ({"values": [{"name": "n", "numbers": {"values": [1.0, 2.0]}}]}, "2 values for 1 rows"),
        ({"values": [{"name": "n", "numbers": {"values": [float("inf")]}}]}, "not finite"),
        ({"values": [{"name": "n", "rows": [3], "numbers": {"values": [1.0]}}]}, "must ascend and end at 0"),
        ({"values": [{"name": "n", "rows": [0, 0], "numbers": {"values": [1.0, 1.0]}}]}, "must ascend"),
        ({"values": [{"name": "s", "strings": {"entries": ["x"], "codes": [1]}}]}, "beyond its 1 entries"),
        ({"values": [{"name": "s", "strings": {"entries": ["x" * 9_000], "codes": [0]}}]}, "too long"),
        ({"values": [{"name": "d", "dates": {"days": [2**31 - 1]}}]}, "outside the supported years"),
        ({"values": [{"name": "t", "datetimes": {"times_ms": [2**62]}}]}, "outside the supported years"),
        ({"values": [{"name": "n", "numbers": {"values": [1.0]}}] * 2}, "two value columns"),
    ],
)
def test_Inconsistent_columns_are_refused_whole(channel, engine, message, reason):
    version = engine.version
    block = ingest_pb2.Columns(**({"user_ids": ["a"], "times_ms": [NOW_MS]} | message))
    with pytest.raises(grpc.RpcError) as caught:
        ingest_pb2_grpc.IngestServiceStub(channel).IngestBatch(ingest_pb2.IngestBatchRequest(columns=[block]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in caught.value.details()
    assert engine.version == version
