"""Retries, deadlines and keep-alive of the clients."""

import asyncio
import threading
import time
from concurrent import futures

import grpc
import pytest

from bitseg.client import AsyncClient, Client, connection
from bitseg.errors import RequestError, ServerUnavailableError
from bitseg.operations import Identify
from bitseg.pb import catalog_pb2, catalog_pb2_grpc, ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.service.access import METHOD_ROLES
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from tests.conftest import NOW_MS

USERS = [Identify("u1", {}, NOW_MS)]


class Flaky:
    """Services that fail a number of times before they answer; `seen` counts the calls."""

    def __init__(self, failures, code=grpc.StatusCode.UNAVAILABLE, wait_seconds=0.0):
        self.failures, self.code, self.wait_seconds, self.seen = failures, code, wait_seconds, 0

    def answer(self, response, context):
        self.seen += 1
        time.sleep(self.wait_seconds)
        if self.seen <= self.failures:
            context.abort(self.code, "not now")
        return response

    def Count(self, request, context):
        return self.answer(query_pb2.CountResponse(count=7), context)

    def IngestBatch(self, request, context):
        return self.answer(ingest_pb2.IngestBatchResponse(accepted=1), context)

    def DeleteSegment(self, request, context):
        return self.answer(catalog_pb2.DeleteSegmentResponse(), context)

    def __getattr__(self, name):
        return None


@pytest.fixture
def flaky(request):
    service = Flaky(**request.param)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    query_pb2_grpc.add_QueryServiceServicer_to_server(service, server)
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(service, server)
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(0)


@pytest.mark.parametrize("flaky", [{"failures": 2}], indirect=True)
def test_Call_that_changes_nothing_is_retried(flaky):
    with Client(flaky.address) as client:
        assert client.count("everyone").count == 7
    assert flaky.seen == 3


@pytest.mark.parametrize("flaky", [{"failures": 2}], indirect=True)
def test_Asyncio_client_retries_too(flaky):
    async def count():
        async with AsyncClient(flaky.address) as client:
            return (await client.count("everyone")).count

    assert asyncio.run(count()) == 7
    assert flaky.seen == 3


@pytest.mark.parametrize("flaky", [{"failures": 9}], indirect=True)
def test_Call_is_not_retried_for_ever(flaky):
    with Client(flaky.address) as client, pytest.raises(ServerUnavailableError):
        client.count("everyone")
    assert flaky.seen == 4


@pytest.mark.parametrize("flaky", [{"failures": 2}], indirect=True)
def test_Call_that_changes_something_is_not_retried(flaky):
    with Client(flaky.address) as client:
        for number, call in enumerate((lambda: client.ingest(USERS), lambda: client.catalog.delete_segment("S")), 1):
            with pytest.raises(ServerUnavailableError):
                call()
            assert flaky.seen == number


@pytest.mark.parametrize("flaky", [{"failures": 2, "code": grpc.StatusCode.INTERNAL}], indirect=True)
def test_Other_failures_are_raised_at_once(flaky):
    with Client(flaky.address) as client, pytest.raises(RequestError, match="INTERNAL: not now"):
        client.count("everyone")
    assert flaky.seen == 1


@pytest.mark.parametrize("flaky", [{"failures": 0, "wait_seconds": 1.0}], indirect=True)
def test_Call_ends_at_its_deadline(flaky):
    started = time.monotonic()
    with Client(flaky.address, timeout_seconds=0.2) as client, pytest.raises(RequestError, match="DEADLINE_EXCEEDED"):
        client.count("everyone")
    assert time.monotonic() - started < 0.9


def test_Protocol_says_which_calls_are_retried():
    (config,) = connection._service_config()["methodConfig"]
    repeated = {f"/{each['service']}/{each['method']}" for each in config["name"]}
    writes = {"Create", "Update", "Rename", "Clone", "Delete", "Upload", "Ingest"}
    assert repeated == {
        method
        for method in METHOD_ROLES
        if method.startswith("/bitseg.")
        and (method.endswith("/CreateSnapshot") or not any(method.split("/")[2].startswith(each) for each in writes))
    }


def test_Client_waits_for_a_server_that_restarts(engine):
    first = Server(engine, Settings(address="127.0.0.1:0"))
    first.start()
    with Client(first.address) as client:
        assert client.count("everyone").count == 0
        first_failed = threading.Event()

        def note(state):
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                first_failed.set()

        client._channel.subscribe(note)
        first.stop(0)
        second = []

        def start():
            assert first_failed.wait(10)
            second.append(Server(engine, Settings(address=first.address)))
            second[0].start()

        starting = threading.Thread(target=start)
        starting.start()
        assert client.count("everyone").count == 0
        starting.join()
        client._channel.unsubscribe(note)
        second[0].stop(0)
