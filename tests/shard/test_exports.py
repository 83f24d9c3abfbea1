"""Exports read one version; snapshots wait for active readers, and end the exports of inactive ones."""

import threading
import time

import pytest

from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.errors import VersionGoneError
from bitseg.operations import Delete, Identify, Track
from bitseg.shard.exports import Exports
from tests.conftest import NOW_MS, until


def users(numbers, prefix=""):
    return [Identify(f"u{number}", {"name": f"{prefix}{number}"}, NOW_MS + len(prefix)) for number in numbers]


@pytest.fixture
def opened(tmp_path):
    with Engine.open(tmp_path / "data", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        engine.ingest([*users(range(100)), *(Track(f"u{number}", "E", {}, NOW_MS) for number in range(10))])
        yield engine


def in_thread(work):
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    return thread, done


def names(blocks):
    return [
        block.values["name"].entries[code] for block in blocks for code in block.values["name"].data if code is not None
    ]


def test_Snapshot_ends_an_export_whose_reader_stopped_reading(opened):
    opened._shard.snapshots._exports = Exports(idle_seconds=0.2)
    tables = opened.tables()
    _, _, blocks = next(tables)
    thread, done = in_thread(opened.snapshot)
    thread.join(20)
    assert done[0].version == opened.version
    with pytest.raises(VersionGoneError, match=r"the export of version \d+ has ended: .* no rows were read for 0.2"):
        next(blocks)
    with pytest.raises(VersionGoneError, match="begin a new export"):
        next(tables)
    again = opened.tables()
    assert len(names(next(again)[2])) == 100


@pytest.mark.slow
def test_Regular_snapshots_go_on_when_a_reader_stops_reading(tmp_path):
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS), snapshot_after_bytes=1_000) as engine:
        engine._exports = Exports(idle_seconds=0.1)
        engine.ingest(users(range(5)))
        tables = engine.tables()
        next(tables)
        engine.ingest(users(range(1_000)))
        until(lambda: engine.statistics().journal_bytes < 1_000)
        assert engine.snapshot_failures == 0


def test_Snapshot_waits_for_an_export_that_is_read(opened):
    opened._shard.snapshots._exports = Exports(idle_seconds=30)
    tables = opened.tables()
    _, _, blocks = next(tables)
    thread, done = in_thread(opened.snapshot)
    time.sleep(0.1)
    opened.ingest(users(range(50, 150), "later"))
    assert sorted(names(blocks)) == sorted(map(str, range(100)))
    assert [(event, sum(len(block.user_ids) for block in each)) for event, _, each in tables] == [("E", 10)]
    thread.join(20)
    assert done[0].version == opened.version


def test_Capture_is_not_released_while_a_block_is_built(opened):
    exports, entered, go_on = Exports(idle_seconds=0), threading.Event(), threading.Event()
    released = []

    def blocks():
        yield 1
        entered.set()
        assert go_on.wait(30)
        assert not released
        yield 2

    export = exports.begin(1, lambda: released.append(None))
    export_blocks = export.blocks(blocks())
    assert next(export_blocks) == 1
    reader, read = in_thread(lambda: next(export_blocks))
    assert entered.wait(30)
    waiter, _ = in_thread(exports.give_way)
    time.sleep(0.05)
    assert waiter.is_alive()
    go_on.set()
    reader.join(20)
    waiter.join(20)
    assert (read, released) == ([2], [None])
    with pytest.raises(VersionGoneError):
        next(export_blocks)


def test_Reader_that_takes_a_snapshot_ends_its_own_export(opened):
    started = time.monotonic()
    with pytest.raises(VersionGoneError, match="needs another capture"):  # noqa: PT012
        for _ in opened.tables():
            opened.snapshot()
    assert time.monotonic() - started < 5
    first, second = opened.tables(), opened.tables()
    next(first)
    _, _, blocks = next(second)
    with pytest.raises(VersionGoneError):
        next(first)
    assert len(names(blocks)) == 100


def test_Snapshot_without_a_change_leaves_an_export_alone(opened):
    opened.snapshot()
    tables = opened.tables()
    next(tables)
    opened.snapshot()
    assert [event for event, _, _ in tables] == ["E"]


def test_Closing_ends_an_export_at_once(tmp_path):
    engine = Engine.open(tmp_path, clock=FixedClock(NOW_MS))
    engine.ingest(users(range(10)))
    tables = engine.tables()
    _, _, blocks = next(tables)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 5
    with pytest.raises(VersionGoneError, match="the workspace was closed"):
        next(blocks)
    with Engine.open(tmp_path) as again:
        assert (again.user_count, again.recovered.records) == (10, 0)


def test_Abandoned_export_releases_its_capture(opened):
    tables = opened.tables()
    next(tables)
    opened.ingest([Delete("u3")])
    assert opened._shard.state.index.users._to_blank
    del tables
    assert opened._shard.state.index.users._to_blank is None
    started = time.monotonic()
    thread, done = in_thread(opened.snapshot)
    thread.join(20)
    assert done
    assert time.monotonic() - started < 5
