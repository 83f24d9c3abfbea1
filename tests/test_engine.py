"""The engine's doors: opening and closing, batches and columns, retention, samples, threads."""

import cProfile
import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from bitseg.clock import FixedClock
from bitseg.columns import Columns, rows_of
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.errors import CorruptSnapshotError, DataDirectoryError, DirectoryLockedError, InvalidArgumentError
from bitseg.operations import Delete, Identify, Track
from bitseg.segment import parse
from bitseg.shard import snapshots
from bitseg.values import Column, SparseValues, ValueType
from tests.conftest import NOW_MS, until
from tests.generate import EPOCH, HOUR_MS, Generator, workspace

DAY_MS = 24 * HOUR_MS


def test_Ingested_data_is_there_after_reopening(tmp_path):
    generator = Generator(5)
    clock = FixedClock(generator.now_ms + 100 * DAY_MS)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    with Engine.create(tmp_path, WorkspaceSettings(generator.zone), clock=clock) as engine:
        for name, user_ids in generator.lists.items():
            engine.catalog.save_list(name, user_ids)
        for name, condition in generator.saved.items():
            engine.catalog.save_segment(name, condition)
    segments = [generator.segment() for _ in range(60)]
    for batch in generator.batches():
        with Engine.open(tmp_path, clock=clock) as engine:
            engine.ingest(batch)
            before = [list(engine.members(each, as_of).pages) for each in segments]
            version, users, events = engine.version, engine.user_count, engine.event_count
        with Engine.open(tmp_path, clock=clock) as engine:
            assert engine.workspace.timezone == generator.zone
            assert (engine.version, engine.user_count, engine.event_count) == (version, users, events)
            assert [list(engine.members(each, as_of).pages) for each in segments] == before


def test_Repeated_message_ids_are_known_after_reopening(tmp_path):
    for duplicates in (0, 1):
        with Engine.open(tmp_path, clock=FixedClock(NOW_MS)) as engine:
            assert engine.ingest([Track("u", "E", {}, NOW_MS, "m1")]).duplicates == duplicates


def test_Closing_without_a_change_writes_nothing(tmp_path):
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS)) as engine:
        engine.ingest([Track("u", "E", {}, NOW_MS)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with Engine.open(tmp_path) as engine:
        engine.count("everyone")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_Directory_open_elsewhere_is_refused(tmp_path):
    with Engine.open(tmp_path), pytest.raises(DirectoryLockedError):
        Engine.open(tmp_path)


def test_Damaged_snapshot_is_refused_and_the_directory_unlocked(tmp_path):
    Engine.create(tmp_path).close()
    path = tmp_path / "manifest"
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(CorruptSnapshotError, match="byte"):
            Engine.open(tmp_path)


def test_Workspace_is_made_once(tmp_path):
    Engine.create(tmp_path).close()
    with pytest.raises(DataDirectoryError, match="already"):
        Engine.create(tmp_path)
    with pytest.raises(DataDirectoryError, match="no workspace"):
        Engine.open(tmp_path / "other", create=False)
    assert not (tmp_path / "other").exists()


def test_Retention_refuses_and_drops_old_events():
    clock = FixedClock(NOW_MS)
    engine = Engine(WorkspaceSettings(retention_days=3), clock=clock)
    result = engine.ingest([Track("u", "E", {}, NOW_MS - back * DAY_MS) for back in range(5)])
    assert result.accepted == 3
    assert "older than the retention" in result.rejections[0].reason
    assert engine.event_count == 3
    clock.at_ms += 2 * DAY_MS
    engine.ingest([])
    assert engine.event_count == 1
    assert engine.count('did "E"').count == 1


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_Retention_out_of_range_is_refused(days):
    with pytest.raises(InvalidArgumentError, match="retention"):
        Engine(WorkspaceSettings(retention_days=days))


def columns(event, users, times, values):
    return Columns(event, users, np.array(times, np.int64), values, np.arange(len(users)) + 1)


def test_Columns_are_the_same_as_their_rows(engine):
    block = columns(
        "E",
        ["a", "b", "a", "c"],
        [NOW_MS, NOW_MS - 1, NOW_MS - 2, NOW_MS - 3],
        {
            "amount": Column(ValueType.NUMBER, np.array([1.0, np.nan, 3.0, 4.0])),
            "color": Column(ValueType.STRING, np.array([0, 1, -1, 0], np.int32), ["red", "blue"]),
            "odd": SparseValues([1, 3], [True, "x"]),
        },
    )
    other = Engine(clock=FixedClock(NOW_MS))
    by_columns, by_rows = engine.ingest_columns(block), other.ingest(rows_of(block))
    assert by_columns.accepted == by_rows.accepted == 4
    assert [each.name for each in by_columns.rejections] == [each.name for each in by_rows.rejections] == ["odd"]
    for text in ('did "E" with sum(amount) = 4', 'did "E" where color = "red"', 'did "E" where odd = true'):
        assert list(engine.members(text).pages) == list(other.members(text).pages) != []


def test_Malformed_rows_of_columns_are_left_out_by_their_own_numbers(engine):
    block = columns(
        "E",
        ["a", "", "b", "c" * 600, "d"],
        [NOW_MS, NOW_MS, NOW_MS + 2 * HOUR_MS, NOW_MS, NOW_MS],
        {"amount": Column(ValueType.NUMBER, np.arange(5.0)), "odd": SparseValues([0, 1, 4], ["x", "y", "z"])},
    )
    result = engine.ingest_columns(block)
    assert result.accepted == 2
    assert [(each.row, each.name) for each in result.rejections] == [(2, None), (3, None), (4, None)]
    assert list(engine.members('did "E" where amount = 4 and did "E" where odd = "z"').pages) == [["d"]]
    assert engine.user_count == 2


def test_Column_of_another_type_loses_its_values_only(engine):
    engine.ingest([Identify("a", {"zip": "01234"}, NOW_MS)])
    block = columns(None, ["a", "b"], [NOW_MS, NOW_MS], {"zip": Column(ValueType.NUMBER, np.array([1.0, np.nan]))})
    result = engine.ingest_columns(block)
    assert result.accepted == 2
    assert [(each.row, each.name) for each in result.rejections] == [(1, "zip")]
    assert engine.count('zip = "01234"').count == 1


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Identify("", {}, NOW_MS), "user id is empty"),
        (Identify("é" * 257, {}, NOW_MS), "514 bytes"),
        (Identify("\ud800", {}, NOW_MS), "not valid Unicode"),
        (Track("u", "", {}, NOW_MS), "event name is empty"),
        (Track("u", "E" * 300, {}, NOW_MS), "event name has 300"),
        (Track("u", "E", {}, NOW_MS, "m" * 200), "message id"),
        (Track("u", "E", {}, -(10**17)), "years"),
        (Delete(""), "user id is empty"),
    ],
)
def test_Malformed_operation_is_refused_whole(engine, operation, words):
    result = engine.ingest([operation, Identify("good", {}, NOW_MS)])
    assert result.accepted == 1
    assert words in result.rejections[0].reason
    assert engine.user_count == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (2**53 + 1, "exactly"),
        ("x" * 10_000, "8,192"),
        ("\ud800", "Unicode"),
        ({"lat": 91, "lon": 0}, "latitude"),
        ({"lat": "a", "lon": 0}, "number"),
        ({"a": 1}, "object"),
        ([1], "list"),
        ([["a"]], "list"),
    ],
)
def test_Bad_value_is_left_out_with_a_reason(engine, value, words):
    result = engine.ingest([Identify("u", {"a": value, "b": 1}, NOW_MS)])
    assert result.accepted == 1
    assert [each.name for each in result.rejections] == ["a"]
    assert words in result.rejections[0].reason
    assert engine.count("b = 1").count == 1


def test_Sample_is_spread_and_the_bitmap_holds_all_members(engine):
    engine.ingest([Identify(f"u{number:03}", {"even": number % 2 == 0}, NOW_MS) for number in range(100)])
    result = engine.evaluate("even = true", sample_size=5, include_bitmap=True)
    assert result.sample == ("u000", "u020", "u040", "u060", "u080")
    assert BitMap.deserialize(result.bitmap) == BitMap(range(0, 100, 2))
    with pytest.raises(InvalidArgumentError, match="sample"):
        engine.evaluate("everyone", sample_size=1_001)


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
def test_Pages_hold_every_member_once(engine, size):
    engine.ingest([Identify(f"u{number}", {}, NOW_MS) for number in range(100)])
    pages = list(engine.members("everyone", page_size=size).pages)
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert sorted(user for page in pages for user in page) == sorted(f"u{number}" for number in range(100))


def test_Members_are_of_one_version_while_users_come_and_go(engine):
    engine.ingest([Identify(f"u{number}", {"plan": "gold"}, NOW_MS) for number in range(10)])
    members = engine.members('plan = "gold"', page_size=3)
    first = next(members.pages)
    engine.ingest([Identify("late", {"plan": "gold"}, NOW_MS), Identify("u9", {"plan": "free"}, NOW_MS + 1)])
    engine.ingest([Delete("u8")])
    rest = [user for page in members.pages for user in page]
    assert [*first, *rest] == [f"u{number}" for number in (*range(8), 9)]


def test_Tree_given_as_nodes_is_validated(engine):
    from bitseg.errors import InvalidSegmentError
    from bitseg.segment.nodes import And, Everyone

    assert engine.count(parse("everyone")).count == 0
    with pytest.raises(InvalidSegmentError):
        engine.count(And((Everyone(),)))


def test_Queries_beside_ingest_see_whole_batches(engine):
    """Each batch moves one user in and one out of a segment, whose size therefore never changes."""
    engine.ingest([Identify(f"u{number}", {"on": number < 50}, NOW_MS) for number in range(100)])
    stop, seen, failures = threading.Event(), set(), []

    def ask():
        try:
            while not stop.is_set():
                seen.add(engine.count("on = true").count)
                seen.add(sum(map(len, engine.members("on = true").pages)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(300):
        swap = [Identify(f"u{step % 50}", {"on": step // 50 % 2 == 1}, NOW_MS + step)]
        swap.append(Identify(f"u{50 + step % 50}", {"on": step // 50 % 2 == 0}, NOW_MS + step))
        engine.ingest(swap)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert seen == {50}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.integers(1, 5))
def test_How_operations_are_batched_does_not_matter(seed, parts):
    generator = Generator(seed)
    operations = [operation for batch in generator.batches() for operation in batch]
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    whole, split = workspace(generator), workspace(generator)
    whole.ingest(operations)
    size = len(operations) // parts + 1
    for start in range(0, len(operations), size):
        split.ingest(operations[start : start + size])
    for _ in range(15):
        segment = generator.segment()
        answers = [{user for page in each.members(segment, as_of).pages for user in page} for each in (whole, split)]
        assert answers[0] == answers[1]


def test_Slow_scan_beside_new_values_is_exact():
    """A scan goes on while values come that its dictionary did not have when it began, from who never pauses."""
    engine = Engine(clock=FixedClock(NOW_MS))
    total = 3_000
    engine.ingest([Identify(f"u{number}", {"email": f"a{number}@x"}, NOW_MS) for number in range(total)])
    stop = threading.Event()

    def write():
        for round_number in range(1, 20_000):
            if stop.is_set():
                break
            emails = [f"{'ab'[number % 2]}{round_number}-{number}@y" for number in range(50)]
            engine.ingest([Identify(f"u{number}", {"email": each}, NOW_MS) for number, each in enumerate(emails)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(60):
            # Each pattern is one that was not asked for before.
            assert engine.count(f'email contains "a*@" and not email contains "zz{number}"').count >= total - 50
    finally:
        stop.set()
        writer.join()
    assert engine.count('email contains "a*@"').count == total - 25


def tails(engine):
    """The states of all partitions, by identity: whatever merges, joins or builds replaces one."""
    return {
        id(day._state): day._state
        for event in engine._shard.state.index.events.values()
        for day in event.partitions.values()
    }


def test_Statistics_merge_and_build_nothing(engine):
    engine.ingest([Identify(f"u{number}", {"plan": "ab"[number % 2], "n": number}, NOW_MS) for number in range(99)])
    for number in range(5):
        engine.ingest([Track(f"u{number}", "E", {"amount": 1.5}, NOW_MS - DAY_MS * day) for day in range(40)])
    before = tails(engine)
    assert all(len(state.tail) == 5 for state in before.values())
    first = engine.statistics()
    assert tails(engine).keys() == before.keys()
    assert all(attribute._value_bitmaps is None for attribute in engine._shard.state.index.attributes.values())
    assert not engine._shard.state.index.events["E"]._rollups
    assert (first.users, first.events) == (99, 200)
    # 4 bytes for the user, 4 for the time, 8 for the amount.
    assert first.event_bytes >= 200 * 16
    engine.ingest([Track("u1", "E", {"amount": 2.5}, NOW_MS)])
    assert engine.statistics().event_bytes == first.event_bytes + 16


def test_Sizes_follow_what_changes(engine):
    """Kept sizes are the same as those of a workspace in which nothing was measured before."""
    generator = Generator(11)
    measured, fresh = workspace(generator), workspace(generator)
    for batch in generator.batches():
        for each in (measured, fresh):
            each.ingest(batch)
        for _ in range(3):
            segment = generator.segment()
            assert measured.count(segment).count == fresh.count(segment).count
            measured.statistics()
    measured.ingest([Delete("u1")])
    fresh.ingest([Delete("u1")])
    after, expected = measured.statistics(), fresh.statistics()
    assert (after.event_bytes, after.attribute_bytes) == (expected.event_bytes, expected.attribute_bytes)
    assert after.event_bytes > 0 < after.attribute_bytes
    measured.prepare()
    assert measured.statistics().event_bytes != 0


def test_Statistics_cost_does_not_grow_with_the_number_of_events():
    def calls(total):
        engine = Engine(clock=FixedClock(NOW_MS))
        engine.ingest_columns(columns("E", ["u"] * total, [NOW_MS] * total, {}))
        engine.statistics()
        engine.ingest([Track("u", "E", {}, NOW_MS)])
        profile = cProfile.Profile()
        profile.runcall(engine.statistics)
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(20_000) == calls(200_000)


@pytest.mark.parametrize("work", ["statistics", "verify"])
def test_Lock_is_released_between_attributes_and_events(engine, work):
    engine.ingest([Identify("u", {name: 1}, NOW_MS) for name in "abc"] + [Track("u", "E", {}, NOW_MS)])
    entered = []

    class CountingLock:
        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            entered.append(None)
            self.lock.__enter__()

        def __exit__(self, *error):
            self.lock.__exit__(*error)

    engine._shard.lock = CountingLock(engine._shard.lock)
    assert getattr(engine, work)() in ([], engine.statistics())
    assert len(entered) >= 5


def test_Verify_names_each_difference(engine):
    total = 70_000
    numbers = Column(ValueType.NUMBER, np.arange(total) * 1.0)
    engine.ingest_columns(columns(None, [f"u{number}" for number in range(total)], [NOW_MS] * total, {"n": numbers}))
    engine.ingest([Track("u7", "E", {}, NOW_MS)])
    assert engine.count("n < 100").count == 100
    assert engine.verify() == []
    index = engine._shard.state.index
    index.attributes["n"]._ranges._bins[3].add(0)
    assert engine.verify() == ["attribute 'n': the bins of its values differ from its column"]
    (partition,) = index.events["E"].partitions.values()
    partition._state = replace(partition._state, bitmap=BitMap([8, 9]), bitmap_blocks=len(partition._state.tail))
    assert [fault for fault in engine.verify() if "3 users differ" in fault and "event 'E'" in fault]


def test_Regular_snapshots_go_on_after_an_unexpected_error(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(snapshots, "RETRY_SECONDS", 0.01)
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS), snapshot_after_bytes=1_000) as engine:
        snapshot, failing = (
            engine._shard.snapshots.snapshot,
            [TypeError("a mistake"), TypeError("a mistake"), MemoryError()],
        )

        def broken():
            if failing:
                raise failing.pop(0)
            return snapshot()

        engine._shard.snapshots.snapshot = broken
        engine.ingest([Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(500)])
        until(lambda: engine.statistics().journal_bytes == 0)
        assert engine.snapshot_failures == 3
    errors = [record for record in caplog.records if "this is a bug of bitseg" in record.message]
    # All three were raised in one line; the class tells the kinds apart.
    assert [bool(record.exc_info) for record in errors] == [True, False, True]
    assert "TypeError: a mistake" in errors[0].message


def test_Writer_wakes_the_regular_snapshots_when_the_journal_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 3_600)
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS), snapshot_after_bytes=1_000) as engine:
        engine.ingest([Identify("u", {"n": 1}, NOW_MS)])
        assert engine.statistics().journal_bytes > 0
        engine.ingest([Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(500)])
        until(lambda: engine.statistics().journal_bytes == 0)
    with Engine.open(tmp_path) as engine:
        assert (engine.user_count, engine.recovered.records) == (501, 0)


def test_Broken_workspace_is_not_snapshotted_repeatedly(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(snapshots, "RETRY_SECONDS", 0.01)
    engine = Engine.open(tmp_path, clock=FixedClock(NOW_MS), snapshot_after_bytes=0)

    def broken(*_):
        raise MemoryError

    monkeypatch.setattr(engine._shard.state, "apply", broken)
    with pytest.raises(MemoryError):
        engine.ingest([Identify("u", {"n": 1}, NOW_MS)])
    # A snapshot that was under way may fail once.
    time.sleep(0.1)
    failures = engine.snapshot_failures
    assert failures <= 1
    time.sleep(0.1)
    assert engine.snapshot_failures == failures
    assert "a bug of bitseg" not in caplog.text
    engine.close()
