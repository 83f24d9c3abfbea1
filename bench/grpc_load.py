"""Measurements through gRPC: a server process of its own, forked so that it has the loaded engine without a copy."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bitseg.cli.process import switch_threads_often
from bitseg.client import Client
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.pb import query_pb2, query_pb2_grpc
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.strings import StringArray
from bitseg.values import Column, ValueType
from data import NOW_MS

INGEST_BATCH = 5_000


@contextmanager
def served(engine: Engine) -> Iterator[str]:
    """The address of a forked process that serves the engine. gRPC must not have been used in this one before."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reading)
            switch_threads_often()
            server = Server(engine, Settings(address="127.0.0.1:0"))
            server.start()
            os.write(writing, server.address.encode())
            os.close(writing)
            signal.pause()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        address = pipe.read()
    try:
        yield address
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def in_process_of_its_own(work: Callable[..., object], *arguments: object) -> object:
    """What a function returns when run in a fresh process, so that gRPC's threads stay out of this one."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)


def latencies(call: Callable[[], object], rounds: int, warm_up: int = 20) -> list[float]:
    """Seconds of each of some calls in a row."""
    for _ in range(warm_up):
        call()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken


def count_latencies(address: str, texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Latencies of Count for each segment, and of a health check, the emptiest call there is, under the name ""."""
    with grpc.insecure_channel(address) as channel:
        query, health = query_pb2_grpc.QueryServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        empty = health_pb2.HealthCheckRequest()
        found: dict[str, list[float]] = {"": []}
        for text in texts:
            request = query_pb2.CountRequest(expression=text)
            # By turns, so that both meet the same noise.
            found[text] = []
            for _ in range(5):
                found[text] += latencies(lambda request=request: query.Count(request), rounds // 5)
                found[""] += latencies(lambda: health.Check(empty), rounds // 5)
        return found


def batch_rate(address: str, texts: Sequence[str], rounds: int) -> float:
    """Counts a second by BatchCount of all the segments at once, by the median call."""
    with grpc.insecure_channel(address) as channel:
        query = query_pb2_grpc.QueryServiceStub(channel)
        request = query_pb2.BatchCountRequest(queries=[query_pb2.SegmentQuery(expression=text) for text in texts])
        response = query.BatchCount(request)
        assert not any(result.HasField("error") for result in response.results)
        return len(texts) / float(np.median(latencies(lambda: query.BatchCount(request), rounds)))


def stream_rate(address: str, text: str, kind: int, page_size: int) -> float:
    """Members a second of StreamMembers, read to the end."""
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        request = query_pb2.StreamMembersRequest(expression=text, id_kind=kind, page_size=page_size)
        started = time.perf_counter()
        total = 0
        for page in query_pb2_grpc.QueryServiceStub(channel).StreamMembers(request):
            total += len(page.dense_ids) + len(page.user_ids)
        assert total == page.total
        return total / (time.perf_counter() - started)


def event_columns(users: int, rows: int, seed: int, time_ms: int) -> Columns:
    """Purchases of random users with an amount, at one instant."""
    source = np.random.default_rng(seed)
    ids = StringArray.of([f"u-{number:09d}" for number in source.integers(0, users, rows).tolist()])
    amounts = Column(ValueType.NUMBER, np.round(source.lognormal(4, 1, rows), 2))
    return Columns("Purchased", ids, np.full(rows, time_ms), {"amount": amounts}, np.arange(rows))


def columns_rate(address: str, users: int, batches: int) -> float:
    """Events a second by batches of columns, one after the other."""
    blocks = [event_columns(users, 50_000, seed, NOW_MS) for seed in range(batches)]
    with Client(address) as client:
        started = time.perf_counter()
        for block in blocks:
            assert client.ingest_columns(block).accepted == 50_000
        return batches * 50_000 / (time.perf_counter() - started)


def ingest_steadily(address: str, users: int, per_second: int, seconds: float) -> float:
    """Send batches at a steady rate; the rate that came of it."""
    blocks = [event_columns(users, INGEST_BATCH, seed, NOW_MS) for seed in range(20)]
    sent, started = 0, time.perf_counter()
    with Client(address) as client:
        while time.perf_counter() - started < seconds:
            client.ingest_columns(blocks[sent % len(blocks)])
            sent += 1
            ahead = sent * INGEST_BATCH / per_second - (time.perf_counter() - started)
            time.sleep(max(ahead, 0))
    return sent * INGEST_BATCH / (time.perf_counter() - started)


def count_coldly(address: str, seconds: float) -> int:
    """One aggregate after the other, each of them new; how many."""
    done, started = 0, time.perf_counter()
    with Client(address) as client:
        while time.perf_counter() - started < seconds:
            client.count(f'did "Purchased" with sum(amount) > {700 + done / 100} in last 100 days')
            done += 1
    return done


def beside_load(address: str, users: int, texts: Sequence[str], seconds: float) -> dict[str, object]:
    """Latencies of short counts while 50,000 events a second come in and one cold aggregate at a time is asked for."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        ingest = pool.apply_async(ingest_steadily, (address, users, 50_000, seconds))
        cold = pool.apply_async(count_coldly, (address, seconds))
        with grpc.insecure_channel(address) as channel:
            query = query_pb2_grpc.QueryServiceStub(channel)
            requests = [query_pb2.CountRequest(expression=text) for text in texts]
            # The others need a moment to start.
            time.sleep(3)
            taken: list[float] = []
            while not ingest.ready():
                for request in requests:
                    started = time.perf_counter()
                    query.Count(request)
                    taken.append(time.perf_counter() - started)
                    time.sleep(0.002)
        return {"latencies": taken, "events_per_second": ingest.get(), "cold_aggregates": cold.get()}
