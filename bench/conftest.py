"""The demo store, imported once for all benchmarks. BENCH_USERS scales it."""

import os

import pytest

from bitseg.calendar import Calendar
from bitseg.cli.process import collecting_seldom
from bitseg.clock import SystemClock
from bitseg.demo.store import write_store
from bitseg.engine import Engine
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load

USERS = int(os.environ.get("BENCH_USERS", "100000"))


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The JSONL files of the demo store."""
    today = Calendar("UTC").day_of(SystemClock().now_ms())
    return write_store(tmp_path_factory.mktemp("store"), USERS, today)


def imported(paths, engine):
    """The engine, with the files in it."""
    for path in paths:
        batches = read_jsonl(path, engine.calendar, engine.now_ms())
        with RejectsFile(path.with_suffix(".rejects")) as rejects, collecting_seldom():
            summary = load(batches, engine, rejects, lambda done, account: None)
        assert summary.rejected_lines == summary.rejected_values == 0
    return engine


@pytest.fixture(scope="session")
def engine(store):
    return imported(store, Engine())


@pytest.fixture(scope="session")
def cold_engine(store):
    """The same without room for materialised conditions: every count works everything out."""
    return imported(store, Engine(materialised_bytes=0))
