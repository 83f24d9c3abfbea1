"""Readiness a data directory, writing to it so that nothing is lost, and snapshots of it while it answers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import data
from bitseg.cli.process import switch_threads_often
from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.operations import Identify, Track
from queries import QUERIES

SHORT = ("one attribute", "three attributes", "abandoned cart")
VALUES = {"string": "changed", "number": 1.5, "boolean": True, "date": "2024-01-01", "datetime": "2024-01-01T00:00:00Z"}


def measure(folder: str, users: int) -> dict[str, float]:
    """Seconds to open and prepare, acknowledged writes a second, and how long counts wait while a snapshot is taken."""
    switch_threads_often()
    started = time.perf_counter()
    engine = Engine.open(folder, create=False, clock=FixedClock(data.NOW_MS))
    engine.count("everyone")
    opened = time.perf_counter()
    engine.prepare()
    found = {"open_seconds": opened - started, "prepare_seconds": time.perf_counter() - opened}
    with engine:
        for writers in (1, 32):
            found[f"acknowledged_writes_per_second: {writers}"] = write_rate(engine, writers)
        change_everywhere(engine, users)
        found |= snapshot_beside_counts(engine, users)
    return found


def write_rate(engine: Engine, writers: int, seconds: float = 3.0) -> float:
    """Batches of one event a second, each on disk before the next of the same writer."""
    deadline = time.perf_counter() + seconds

    def write(writer: int) -> int:
        done = 0
        while time.perf_counter() < deadline:
            engine.ingest([Track(f"u-{writer:09d}", "Visited", {}, data.NOW_MS)])
            done += 1
        return done

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(write, range(writers))) / seconds


def change_everywhere(engine: Engine, users: int) -> None:
    """A change in every stretch of users of every attribute, so that a snapshot has to write all of them."""
    some = [f"u-{user:09d}" for user in range(0, users, max(users // 200, 1))]
    for field in engine.schema():
        if field.event is None:
            value = VALUES[field.type.value]
            engine.ingest([Identify(user, {field.name: value}, data.NOW_MS) for user in some])


def snapshot_beside_counts(engine: Engine, users: int) -> dict[str, float]:
    """The slowest short count, in milliseconds, while a snapshot is written and 50,000 events a second come in."""
    texts = [query.text for query in QUERIES if query.name in SHORT]
    stopped, waits = threading.Event(), []

    def count() -> None:
        while not stopped.is_set():
            for text in texts:
                started = time.perf_counter()
                engine.count(text)
                waits.append((started, time.perf_counter() - started))
            time.sleep(0.001)

    def ingest() -> None:
        source = np.random.default_rng(7)
        while not stopped.wait(0.1):
            user_ids = [f"u-{user:09d}" for user in source.integers(0, users, 5_000)]
            times_ms = np.full(5_000, data.NOW_MS)
            engine.ingest_columns(Columns("Visited", user_ids, times_ms, {}, np.arange(5_000)))

    for text in texts:
        engine.count(text)
    threads = [threading.Thread(target=work) for work in (count, ingest)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    started = time.perf_counter()
    engine.snapshot()
    ended = time.perf_counter()
    stopped.set()
    for thread in threads:
        thread.join()
    beside = [wait for start, wait in waits if started <= start < ended]
    return {"snapshot_seconds": ended - started, "slowest_count_beside_snapshot_ms": max(beside) * 1000}
