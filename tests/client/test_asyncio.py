"""The parts that only the asyncio client has: members, a producer, and the catalog."""

import asyncio
from datetime import datetime

import numpy as np
import pytest

from bitseg.client import AsyncClient, Client
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.errors import ServerUnavailableError
from bitseg.operations import Identify
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.values import Column, ValueType
from tests.conftest import NOW_MS
from tests.proxy import BreakingProxy

USERS = [Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(1_000)]
IDS = [f"u{number}" for number in range(1_000)]


def run(address, use):
    async def using():
        async with AsyncClient(address, timeout_seconds=20) as client:
            return await use(client)

    return asyncio.run(using())


def test_Members_are_iterated_by_id_and_by_page(engine, server):
    engine.ingest(USERS)

    async def members(client):
        ids = [user async for user in await client.members("n >= 0", page_size=300)]
        pages = [len(page) async for page in (await client.members("n >= 0", page_size=300)).pages]
        return ids, pages

    assert run(server.address, members) == (IDS, [300, 300, 300, 100])
    with Client(server.address) as client:
        assert [*client.members("n >= 0", page_size=300)] == IDS
        assert [*engine.members("n >= 0", page_size=300)] == IDS
        assert [int(user) for user in engine.dense_members("n >= 0", page_size=300)] == [*range(1_000)]


def test_Iteration_by_id_goes_on_after_the_page_of_the_last_one(engine, server):
    engine.ingest(USERS)
    with Client(server.address) as client:
        for workspace in (engine, client):
            members = workspace.members("n >= 0", page_size=300)
            assert next(iter(members)) == "u0"
            assert [*workspace.members(resume_token=members.resume_token)] == IDS[300:]


def test_Members_arrive_exactly_once_over_connections_that_break(engine, server):
    engine.ingest(USERS)

    async def members(client):
        return [user async for user in await client.members("n >= 0", page_size=10)]

    with BreakingProxy(server.address, cut_after_bytes=4_000) as proxy:
        assert run(proxy.address, members) == IDS
        assert proxy.connections > 1


def test_Producer_applies_each_batch_once_over_connections_that_break(engine, server):
    async def produce(client):
        producer = await client.producer("p")
        for start in range(0, 1_000, 50):
            await producer.ingest(USERS[start : start + 50])
        last = producer.last_sequence
        await producer.close()
        async with await client.producer("p") as again:
            return last, again.last_sequence

    with BreakingProxy(server.address, cut_after_bytes=400) as proxy:
        assert run(proxy.address, produce) == (20, 20)
        assert proxy.connections > 2
    assert (engine.user_count, engine.last_sequence("p")) == (1_000, 20)


@pytest.mark.slow
def test_Producer_waits_for_a_server_that_restarts(engine):
    first = Server(engine, Settings(address="127.0.0.1:0"))
    first.start()

    async def produce(client):
        async with await client.producer("p", retry_seconds=20) as producer:
            await producer.ingest(USERS[:10])
            first.stop(0)
            waiting = asyncio.ensure_future(producer.ingest(USERS[10:20]))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            second = Server(engine, Settings(address=first.address))
            second.start()
            result = await waiting
            second.stop(0)
            return result.accepted, producer.last_sequence

    assert run(first.address, produce) == (10, 2)
    assert engine.last_sequence("p") == 2


def test_Producer_gives_up_when_its_time_is_up():
    async def produce(client):
        await client.producer("p", retry_seconds=0.2)

    with pytest.raises(ServerUnavailableError):
        run("127.0.0.1:1", produce)


def test_Producer_sends_columns(engine, server):
    block = Columns(
        None,
        ["a", "b"],
        np.full(2, NOW_MS),
        {"n": Column(ValueType.NUMBER, np.array([1.0, 2.0]))},
        np.array([7, 9]),
    )

    async def produce(client):
        async with await client.producer("p") as producer:
            return await producer.ingest_columns(block)

    assert run(server.address, produce).accepted == 2
    assert engine.count("n > 0").count == 2


def test_Properties_are_awaited(engine, server):
    engine.catalog.create_segment("S", "everyone")
    engine.catalog.create_list("L", ["a"])

    async def read(client):
        catalog = client.catalog
        assert client.catalogue is catalog
        saved = await catalog.save_segment("T", 'in segment "S"', description="d")
        return sorted(await catalog.segments), [*await catalog.lists], saved.details.description, await client.calendar

    segments, lists, description, calendar = run(server.address, read)
    assert (segments, lists, description, calendar.zone_name) == (["S", "T"], ["L"], "d", "UTC")


def test_Time_zone_is_requested_once_and_only_for_local_times(engine, server, monkeypatch):
    requests = []
    statistics = Engine.statistics
    monkeypatch.setattr(Engine, "statistics", lambda self: (requests.append(1), statistics(self))[1])
    with Client(server.address) as client:
        client.count("everyone")
        assert requests == []
        for _ in range(3):
            client.count("everyone", datetime(2024, 1, 31))
        assert requests == [1]
