"""An engine in a directory answers like one in memory, however often it is closed, killed and reopened."""

import threading
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine, Workspace
from bitseg.errors import InvalidArgumentError
from bitseg.index import attributes, deduplication, dictionary, users
from bitseg.operations import Delete, Identify
from bitseg.values import Column, SparseValues, ValueType
from tests.conftest import NOW_MS
from tests.generate import EPOCH, HOUR_MS, Generator, workspace
from tests.storage.harness import CLOCK, crash, opened, track

DAY_MS = 24 * HOUR_MS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63))
@pytest.mark.slow
def test_History_survives_snapshots_closings_and_crashes(tmp_path_factory, seed):
    """A durable engine, reopened in every way between batches, answers as one in memory that never stopped."""
    generator = Generator(seed)
    folder = tmp_path_factory.mktemp("history")
    clock = FixedClock(generator.now_ms + 100 * DAY_MS)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    memory = workspace(generator)
    path = folder / "0"
    engine = Engine.create(path, Workspace(generator.zone), clock=clock, default_segments=False)
    for name, user_ids in generator.lists.items():
        engine.catalog.save_list(name, user_ids)
    for name, condition in generator.saved.items():
        engine.catalog.save_segment(name, condition)
    with pytest.MonkeyPatch.context() as patch:
        # Small parts, to have many of them.
        patch.setattr(attributes, "_STRETCH_BITS", 2)
        patch.setattr(users, "_PART_USERS", 4)
        patch.setattr(dictionary, "_PART_ENTRIES", 3)
        for number, batch in enumerate(generator.batches()):
            half = len(batch) // 2
            for part in (batch[:half], batch[half:]):
                assert engine.ingest(part) == memory.ingest(part)
                step = generator.random.choice(["snapshot", "close", "crash", "go on"])
                if step == "snapshot":
                    engine.snapshot()
                elif step == "close":
                    engine.close()
                    engine = opened(path, clock)
                elif step == "crash":
                    copy = folder / f"{number}-{len(part)}-{id(part)}"
                    survivor = crash(path, copy, clock)
                    engine.close()
                    path = copy
                    engine = survivor
                assert engine.version == memory.version
                assert engine.schema() == memory.schema()
                assert engine.verify() == []
                for _ in range(6):
                    segment = generator.segment()
                    found = [
                        {user for page in each.members(segment, as_of).pages for user in page}
                        for each in (engine, memory)
                    ]
                    assert found[0] == found[1]
    engine.close()


def test_Batch_of_any_values_is_replayed_exactly(tmp_path):
    """Rejected values, and values of types that JSON lacks, have the same effect when they are replayed."""
    odd = [
        2**70, -(2**70), float("nan"), float("inf"), 1e308, "x" * 9_000, "\ud800", b"bytes", {1, 2},
        {"lat": 1, "lon": 2}, {"lat": "x", "lon": {}}, {(1, 2): 3}, [1, 2], ["a", "b"], ("a",), [[[[]]]], None,
        ["\ud800"], True, object(), np.float64(2.5), np.int64(3), NOW_MS, ["x"] * 1_001, "2024-01-31",
        "2024-01-31T10:00:00Z", "9999-12-31", "0001-01-01",
    ]  # fmt: skip
    memory = Engine(clock=CLOCK)
    with opened(tmp_path / "a") as engine:
        for each in (engine, memory):
            for first, value in enumerate(odd):
                for second, other in enumerate(odd):
                    name = f"a{first}_{second}"
                    each.ingest([Identify("u", {name: value}, NOW_MS), Identify("v", {name: other}, NOW_MS)])
            each.ingest_columns(
                Columns(
                    None,
                    ["u", "w", "é"],
                    np.full(3, NOW_MS),
                    {
                        "number": Column(ValueType.NUMBER, np.array([1, 2, 3], ">i2")),
                        "place": Column(ValueType.GEO, np.array([[1.0, 2], [np.nan, np.nan], [0, 0]])),
                        "tags": Column(ValueType.LIST, np.array([0, -1, 1]), [("a",), ()]),
                        "sparse": SparseValues([1], ["x"]),
                    },
                    np.arange(3),
                )
            )
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.recovered.records > len(odd) ** 2
            assert survivor.schema() == memory.schema() == engine.schema()
            for field in memory.schema():
                text = f"{field.name} is set"
                assert survivor.count(text).count == memory.count(text).count
            assert survivor.explain("é", "tags is set").explanation.value == []


def test_Queries_and_writes_go_on_while_a_snapshot_is_taken(tmp_path):
    """A snapshot has exactly the state at its start, whatever is changed while it is written."""
    engine = opened(tmp_path / "a")
    engine.ingest([Identify(f"u{number}", {"n": number, "s": f"s{number}"}, NOW_MS) for number in range(5_000)])
    engine.ingest([track(f"u{number}", number) for number in range(5_000)])
    stop, failures = threading.Event(), []

    def change():
        round_number = 0
        try:
            while not stop.is_set():
                round_number += 1
                users = [f"u{(round_number * 37 + number) % 5_000}" for number in range(50)]
                engine.ingest(
                    [
                        Identify(user, {"n": -round_number, "s": f"t{round_number}"}, NOW_MS + round_number)
                        for user in users
                    ]
                    + [track(user, round_number) for user in users]
                    + [Delete(users[0])]
                )
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(8):
            result = engine.backup(tmp_path / f"backup{number}")
            with opened(tmp_path / f"backup{number}") as copy:
                assert copy.version == result.version
                assert copy.verify() == []
                # Every batch is whole: 50 events for 50 users with both attributes, one of whom it deletes.
                assert copy.count("n is set and s is not set").count == 0
                changed = copy.count('s starts with "t"').count
                assert copy.count("n < 0").count == changed
    finally:
        stop.set()
        thread.join()
    assert not failures
    engine.close()
    with opened(tmp_path / "a") as engine:
        assert engine.verify() == []


def test_Batches_of_a_producer_are_taken_once_and_in_order(tmp_path):
    with opened(tmp_path / "a") as engine:
        assert engine.last_sequence("p") == 0
        for sequence in (1, 2):
            result, _ = engine.ingest_all([track("u", sequence)], (), producer="p", sequence=sequence)
            assert (result.accepted, result.duplicates) == (1, 0)
        result, _ = engine.ingest_all([track("u", 2)], (), producer="p", sequence=2)
        assert (result.accepted, result.duplicates) == (0, 1)
        with pytest.raises(InvalidArgumentError, match="batch 4 after batch 2"):
            engine.ingest_all([track("u", 4)], (), producer="p", sequence=4)
        # A batch whose rows were all rejected counts as well.
        engine.ingest_all([], (), producer="p", sequence=3)
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.last_sequence("p") == 3
            assert survivor.event_count == 2
            survivor.snapshot()
    with opened(tmp_path / "b") as engine:
        assert engine.last_sequence("p") == 3


def test_Message_ids_are_known_after_a_crash_and_within_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr(deduplication, "_PART_IDS", 2)
    monkeypatch.setattr(deduplication.SeenMessages.__init__, "__defaults__", (5,))
    engine = opened(tmp_path / "0")
    for number in range(20):
        assert engine.ingest([track("u", message_id=f"m{number}")]).accepted == 1
        if number % 3 == 0:
            engine.snapshot()
        survivor = crash(tmp_path / f"{number}", tmp_path / f"{number + 1}")
        engine.close()
        engine = survivor
        last = [track("u", message_id=f"m{each}") for each in range(max(number - 4, 0), number + 1)]
        assert engine.ingest(last).duplicates == len(last)
    engine.close()
