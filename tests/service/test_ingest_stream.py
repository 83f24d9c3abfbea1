"""The Ingest stream and AdminService over sockets: exactly once, even if the connection or the server fails."""

import asyncio
import socket
import threading

import grpc
import pytest

from bitseg.client import AsyncClient, Client
from bitseg.client.connection import channel_options
from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.errors import (
    DataDirectoryError,
    DiskFullError,
    InvalidArgumentError,
    NotDurableError,
    OverloadedError,
    ServerUnavailableError,
)
from bitseg.operations import Track
from bitseg.pb import ingest_pb2, ingest_pb2_grpc
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.storage.store import Store
from bitseg.values import Column, ValueType
from tests.conftest import NOW_MS

CLOCK = FixedClock(NOW_MS)


@pytest.fixture
def durable(tmp_path):
    with Engine.open(tmp_path / "data", clock=CLOCK) as engine:
        yield engine


@pytest.fixture
def serving(durable):
    server = Server(durable, Settings(address="127.0.0.1:0"))
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def client(serving):
    with Client(serving.address, timeout_seconds=20) as client:
        yield client


def track(number):
    return Track(f"u{number}", "E", {"n": number}, NOW_MS)


def request(sequence, *operations):
    from bitseg.wire.operations import to_operation

    batch = ingest_pb2.IngestBatchRequest(operations=map(to_operation, operations))
    return ingest_pb2.IngestRequest(sequence=sequence, batch=batch)


def test_Producer_continues_after_its_last_batch(client, durable):
    with client.producer("shop") as producer:
        assert producer.last_sequence == 0
        assert producer.ingest([track(1), Track("", "E", {}, NOW_MS)]).rejections[0].reason == "the user id is empty"
        assert producer.ingest([track(2)]).accepted == 1
        assert producer.last_sequence == 2
    with client.producer("shop") as producer, client.producer("other") as other:
        assert (producer.last_sequence, other.last_sequence) == (2, 0)
        assert producer.ingest([track(3)]).accepted == other.ingest([track(4)]).accepted == 1
    assert (durable.event_count, durable.last_sequence("shop")) == (4, 3)


def test_Idle_producers_leave_room_for_queries(client, serving):
    producers = [client.producer(f"p{number}") for number in range(32)]
    with pytest.raises(OverloadedError, match="32 producers are open already"):
        client.producer("one more", retry_seconds=0)
    assert producers[0].ingest([track(1)]).accepted == 1
    assert client.count("everyone").count == 1
    for producer in producers:
        producer.close()
    for _ in range(200):
        try:
            client.producer("one more", retry_seconds=0).close()
            break
        except OverloadedError:
            threading.Event().wait(0.05)
    else:
        raise AssertionError("closed producers kept their places")


def test_Producer_sends_columns_too(client, durable):
    import numpy as np

    total = 150_000
    values = {"n": Column(ValueType.NUMBER, np.arange(total, dtype=float))}
    users = [f"u{number}" for number in range(total)]
    columns = Columns("E", users, np.full(total, NOW_MS), values, np.arange(total))
    with client.producer("loader") as producer:
        result = producer.ingest_columns(columns)
        assert (result.accepted, result.duplicates) == (total, 0)
        assert producer.last_sequence > 1
    assert durable.count('did "E" where n >= 149000').count == 1_000


def test_Batch_sent_again_changes_nothing_and_a_gap_is_refused(serving, durable):
    with grpc.insecure_channel(serving.address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        opening = ingest_pb2.IngestRequest(producer="p")
        # Several batches are under way before the first is answered.
        answers = list(stub.Ingest(iter([opening, request(1, track(1)), request(2, track(2)), request(2, track(2))])))
        assert [each.last_sequence for each in answers] == [0, 1, 2, 2]
        assert [each.result.accepted for each in answers[1:]] == [1, 1, 0]
        assert answers[3].result.duplicates == 1
        assert not answers[0].HasField("result")
        calls = stub.Ingest(iter([opening, request(4, track(4))]))
        assert next(calls).last_sequence == 2
        with pytest.raises(grpc.RpcError) as failure:
            next(calls)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "batch 4 after batch 2 (continue with batch 3)" in failure.value.details()
        for first in (
            ingest_pb2.IngestRequest(),
            request(1, track(1)),
            ingest_pb2.IngestRequest(producer="p", sequence=1),
        ):
            with pytest.raises(grpc.RpcError, match="first message"):
                next(stub.Ingest(iter([first])))
        with pytest.raises(grpc.RpcError, match="needs a sequence of 1 or more"):
            list(stub.Ingest(iter([opening, request(0, track(1))])))
        with pytest.raises(grpc.RpcError, match="257 bytes"):
            list(stub.Ingest(iter([ingest_pb2.IngestRequest(producer="x" * 257), request(1, track(1))])))
        assert list(stub.Ingest(iter([]))) == []
    assert durable.event_count == 2


@pytest.mark.slow
def test_Producer_survives_a_restart_of_the_server(tmp_path):
    """The producer waits for another server on the same port and directory, and every batch is applied once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    total, done = 60, threading.Event()
    results = []

    def produce():
        with Client(address) as client, client.producer("p", retry_seconds=60) as producer:
            results.extend(producer.ingest([track(number)]) for number in range(total))
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    lives = 0
    while not done.is_set():
        lives += 1
        with Engine.open(tmp_path / "data", clock=CLOCK) as engine:
            server = Server(engine, Settings(address=address))
            server.start()
            done.wait(0.15)
            server.stop(0)
    thread.join()
    assert lives > 1
    assert [each.accepted + each.duplicates for each in results] == [1] * total
    with Engine.open(tmp_path / "data", clock=CLOCK) as engine:
        assert (engine.event_count, engine.user_count, engine.last_sequence("p")) == (total, total, total)


def test_Producer_without_a_server_says_so():
    with Client("127.0.0.1:1") as client, pytest.raises(ServerUnavailableError, match="no bitseg server"):
        client.producer("p", retry_seconds=0.1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DiskFullError("no room"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (NotDurableError("may be lost"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_Disk_that_refuses_is_a_status_and_queries_go_on(serving, durable, monkeypatch, error, code):
    with grpc.insecure_channel(serving.address) as channel, Client(serving.address) as client:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        client.ingest([track(1)])
        with monkeypatch.context() as patch:

            def refuse(store, payload):
                raise error

            patch.setattr(Store, "append", refuse)
            with pytest.raises(grpc.RpcError) as failure:
                stub.IngestBatch(request(1, track(2)).batch)
            assert failure.value.code() is code
            with pytest.raises(type(error)), client.producer("p", retry_seconds=0.1) as producer:
                producer.ingest([track(2)])
            assert client.count("everyone").count == 1
        with client.producer("p") as producer:
            assert producer.ingest([track(2)]).accepted == 1


def test_Snapshots_and_backups_are_taken_while_serving(client, durable, tmp_path):
    client.ingest([track(1)])
    assert list((tmp_path / "data").glob("journal-*"))
    result = client.snapshot()
    assert result.version == durable.version
    assert not list((tmp_path / "data").glob("journal-*"))
    assert client.backup(tmp_path / "backup").size_bytes == result.size_bytes
    with Engine.open(tmp_path / "backup", clock=CLOCK) as engine:
        assert (engine.user_count, engine.event_count) == (1, 1)
    with pytest.raises(DataDirectoryError, match="has a workspace already"):
        client.backup(tmp_path / "backup")
    with pytest.raises(InvalidArgumentError, match="absolute"):
        client.backup("backup")


def test_Statistics_have_sizes_in_memory_and_on_disk(client, durable):
    client.ingest([track(1), track(2)])
    client.count('did "E"')
    statistics = client.statistics()
    assert statistics == durable.statistics()
    assert (statistics.version, statistics.users, statistics.events) == (2, 2, 2)
    assert statistics.journal_bytes > 0
    client.snapshot()
    after = client.statistics()
    assert (after.journal_bytes, after.snapshot_bytes > statistics.snapshot_bytes) == (0, True)
    assert statistics.event_bytes > 0
    assert statistics.materialised_conditions == 1


def test_Asyncio_client_takes_snapshots_and_backups(serving, durable, tmp_path):
    async def take():
        async with AsyncClient(serving.address, timeout_seconds=20) as client:
            await client.ingest([track(1)])
            assert (await client.snapshot()).version == durable.version
            assert await client.statistics() == durable.statistics()
            return await client.backup(tmp_path / "backup")

    assert asyncio.run(take()).size_bytes == durable.snapshot().size_bytes


def test_Workspace_in_memory_has_nothing_to_snapshot(server):
    with Client(server.address) as client, pytest.raises(InvalidArgumentError, match="only in memory"):
        client.snapshot()


def test_Hostile_operations_over_the_wire_are_rejected_one_by_one(serving, durable):
    """Every invalid operation gets a reason, the others are accepted, and statuses name the limits on messages."""
    from google.protobuf.timestamp_pb2 import Timestamp

    good = ingest_pb2.Operation(track={"user_id": "good", "event": "E", "properties": {"n": 1.0}})
    deep = {"a": 1.0}
    for _ in range(20):
        deep = {"a": deep}
    hostile = [
        ({"user_id": "x" * 513, "event": "E"}, "513 bytes, the limit is 512"),
        ({"user_id": "", "event": "E"}, "user id is empty"),
        ({"user_id": "u", "event": "x" * 257}, "257 bytes, the limit is 256"),
        ({"user_id": "u", "event": "E", "message_id": "x" * 129}, "129 bytes, the limit is 128"),
        ({"user_id": "u", "event": "E", "timestamp": Timestamp(seconds=-62_135_596_800)}, "supported years"),
        ({"user_id": "u", "event": "E", "timestamp": Timestamp(seconds=253_402_300_799)}, "supported years"),
        ({"user_id": "u", "event": "E", "timestamp": Timestamp(seconds=2**62)}, "supported years"),
        (
            {"user_id": "u", "event": "E", "timestamp": Timestamp(seconds=NOW_MS // 1000 + 3_601)},
            "one hour in the future",
        ),
    ]
    values = [
        (float("nan"), "not a finite number"),
        (float("inf"), "not a finite number"),
        ("x" * 8_193, "at most 8,192"),
    ]
    values += [(deep, "objects are not supported"), ([1.0, "a"], "list"), (["a"] * 1_001, "at most 1,000 items")]
    operations = [good, ingest_pb2.Operation()]
    operations += [ingest_pb2.Operation(track=fields) for fields, _ in hostile]
    operations += [
        ingest_pb2.Operation(identify={"user_id": f"v{place}", "traits": {f"a{place}": value}})
        for place, (value, _) in enumerate(values)
    ]
    operations += [ingest_pb2.Operation(track={"user_id": "a\0b", "event": "E\0", "properties": {"\0": "\0"}}), good]
    reasons = ["the operation is empty", *(reason for _, reason in hostile), *(reason for _, reason in values)]
    with grpc.insecure_channel(serving.address, options=channel_options()) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        response = stub.IngestBatch(ingest_pb2.IngestBatchRequest(operations=operations))
        assert response.accepted == 2 + 1 + len(values)
        assert [each.operation for each in response.rejections] == list(range(1, len(reasons) + 1))
        for rejection, reason in zip(response.rejections, reasons, strict=True):
            assert reason in rejection.reason
        names = {f"name {number}": 1.0 for number in range(100_000)}
        wide = ingest_pb2.Operation(identify={"user_id": "wide", "traits": names})
        response = stub.IngestBatch(ingest_pb2.IngestBatchRequest(operations=[wide]))
        assert response.accepted == 1
        assert len(response.rejections) > 97_000
        too_large = ingest_pb2.IngestBatchRequest(
            operations=[ingest_pb2.Operation(delete_user={"user_id": "x" * (17 * 2**20)})]
        )
        with pytest.raises(grpc.RpcError) as failure:
            stub.IngestBatch(too_large)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        too_many = ingest_pb2.IngestBatchRequest(operations=[ingest_pb2.Operation()] * 100_001)
        with pytest.raises(grpc.RpcError, match="the limit is 100,000"):
            stub.IngestBatch(too_many)
    assert durable.count('did "E"').count == 1
    assert durable.verify() == []
