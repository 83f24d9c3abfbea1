"""The five segments of the demo, and the work around them, at BENCH_USERS users (default 100,000)."""

import pytest

from bench.conftest import imported
from bitseg.cli.demo import SEGMENTS
from bitseg.cli.process import switch_threads_often
from bitseg.client import Client
from bitseg.engine import Engine
from bitseg.segment import parse
from bitseg.service.server import Server
from bitseg.service.settings import Settings


@pytest.fixture(scope="session")
def client(engine):
    server = Server(engine, Settings(address="127.0.0.1:0"))
    switch_threads_often()
    server.start()
    with Client(server.address) as client:
        yield client
    server.stop(0)


@pytest.mark.benchmark(group="count in the engine, warm: conditions materialised, the tree evaluated each time")
@pytest.mark.parametrize("name", SEGMENTS)
def test_warm(benchmark, engine, name):
    expected = engine.count(SEGMENTS[name]).count
    assert benchmark(engine.count, SEGMENTS[name]).count == expected > 0


@pytest.mark.benchmark(group="count in the engine, cold: nothing materialised")
@pytest.mark.parametrize("name", SEGMENTS)
def test_cold(benchmark, engine, cold_engine, name):
    assert benchmark(cold_engine.count, SEGMENTS[name]).count == engine.count(SEGMENTS[name]).count


@pytest.mark.benchmark(group="count over gRPC on loopback, warm")
@pytest.mark.parametrize("name", SEGMENTS)
def test_grpc(benchmark, engine, client, name):
    assert benchmark(client.count, SEGMENTS[name]).count == engine.count(SEGMENTS[name]).count


@pytest.mark.benchmark(group="all members")
@pytest.mark.parametrize("through", ["engine", "gRPC"])
def test_members(benchmark, engine, client, through):
    source = engine if through == "engine" else client

    def read():
        return sum(len(page) for page in source.members("everyone").pages)

    assert benchmark.pedantic(read, rounds=3, warmup_rounds=1) == engine.user_count


@pytest.mark.benchmark(group="parse an expression")
def test_parse(benchmark):
    benchmark(parse, 'plan = "platinum" and city = "New York" and did "Charged" at least 3 times in last 30 days')


@pytest.mark.benchmark(group="import the store from JSONL, save it, open it again")
def test_import(benchmark, store, engine):
    again = benchmark.pedantic(imported, args=(store, Engine()), rounds=1)
    assert (again.user_count, again.event_count) == (engine.user_count, engine.event_count)


@pytest.mark.benchmark(group="import the store from JSONL, save it, open it again")
@pytest.mark.parametrize("step", ["save", "open"])
def test_reopen(benchmark, store, tmp_path, step):
    with imported(store, Engine.open(tmp_path)) as saved:
        if step == "save":
            benchmark.pedantic(saved.save, rounds=1)
    if step == "open":
        with benchmark.pedantic(Engine.open, args=(tmp_path,), rounds=1) as opened:
            assert (opened.user_count, opened.event_count) == (saved.user_count, saved.event_count)
