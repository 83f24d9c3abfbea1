"""The writer: a change is applied completely, or not served, saved or recovered at all, whatever fails."""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bitseg import Columns, Delete, Engine, Identify, Page, Track, WorkspaceSettings
from bitseg.clock import FixedClock
from bitseg.errors import (
    CorruptJournalError,
    DiskFullError,
    InvalidArgumentError,
    OverloadedError,
    UnknownAttributeError,
    WorkspaceBrokenError,
)
from bitseg.records import EventsExpired
from bitseg.shard import ingest as ingest_module
from bitseg.storage.journal import SyncPolicy
from bitseg.values import Column, SparseValues, ValueType
from tests.conftest import NOW_MS

DAY_MS = 86_400_000
# `make test` lets every n-th call inside applying fail; 1 tries all of them.
STRIDE = int(os.environ.get("BITSEG_FAULT_STRIDE", "5"))
ERRORS = [KeyboardInterrupt(), MemoryError(), ValueError("a mistake")]


def opened(path, now_ms=NOW_MS, **options):
    return Engine.open(
        path, clock=FixedClock(now_ms), default_segments=False, sync=SyncPolicy.NEVER, create=False, **options
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A workspace with data of every kind, part of it in a snapshot and part in the journal."""
    path = tmp_path_factory.mktemp("source") / "data"
    with Engine.create(
        path,
        WorkspaceSettings("Europe/Madrid", 30),
        clock=FixedClock(NOW_MS),
        default_segments=False,
        sync=SyncPolicy.NEVER,
    ) as engine:
        engine.ingest(
            [
                *(Identify(f"u{n}", {"plan": "gold" if n % 2 else "free", "n": n}, NOW_MS) for n in range(6)),
                *(Track(f"u{n}", "Paid", {"amount": n}, NOW_MS - n * DAY_MS, f"m{n}") for n in range(6)),
            ]
        )
        engine.catalog.create_list("vip", ["u1", "u2", "later"])
        engine.catalog.create_segment("golden", 'plan = "gold" and in list "vip"')
    copy = path.with_name("copy")
    with opened(path) as engine:
        engine.ingest([Identify("u1", {"plan": "silver"}, NOW_MS + 1)])
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("lock"))
    return copy


def batch(engine):
    engine.ingest_all(
        [
            Track("u0", "Paid", {"amount": 1.5, "currency": "EUR"}, NOW_MS, "a"),
            Identify("u1", {"plan": "gold", "score": 3, "nothing": None}, NOW_MS + 2),
            Delete("u2"),
            Track("fresh", "Seen", {"where": "home"}, NOW_MS - 2 * DAY_MS, "b"),
            Page("fresh", "Home", {}, NOW_MS),
        ],
        [
            Columns(
                "Paid",
                ["u3", "u4"],
                np.array([NOW_MS, NOW_MS - DAY_MS]),
                {"amount": Column(ValueType.NUMBER, np.array([1.0, 2.0]))},
                np.arange(2),
            )
        ],
        producer="shop",
        sequence=1,
    )


CHANGES = {
    "batch": batch,
    "deletion": lambda engine: engine.ingest([Delete("u1"), Delete("u3")]),
    "renamed list": lambda engine: engine.catalog.rename_list("vip", "very important"),
    "new list": lambda engine: engine.catalog.save_list("vip", ["u5"]),
    "segment": lambda engine: engine.catalog.save_segment("golden", "n > 3", description="more than three"),
    "declaration": lambda engine: engine.declare("amount", ValueType.NUMBER, "Refunded"),
    "expiry": lambda engine: engine._shard.write(EventsExpired(19_750)),
}


def counted(engine, text):
    try:
        return engine.count(text).count
    except UnknownAttributeError:
        return None


def content(engine):
    """The answers to all queries on a small workspace."""
    users = sorted(user for page in engine.members("everyone").pages for user in page)
    return {
        "version": engine.version,
        "users": [(engine.user(user).attributes, engine.user(user).events) for user in users],
        "ids": users,
        "schema": sorted((field.event or "", field.name, field.type, field.declared) for field in engine.schema()),
        "segments": dict(engine.catalog.segments),
        "lists": dict(engine.catalog.lists),
        "producer": engine.last_sequence("shop"),
        "events": engine.event_count,
        "counts": [counted(engine, text) for text in ('plan = "gold"', "n > 2", 'did "Paid"', 'did "Paid" today')],
        "faults": engine.verify(),
    }


@contextmanager
def failing(engine, number, error):
    """Raise an error at the `number`-th call, of Python or C, between journalling a record and calling observers."""
    state, calls = engine._shard.state, [0]
    apply = state.apply

    def profile(frame, event, argument):
        if event in ("call", "c_call"):
            calls[0] += 1
            if calls[0] == number:
                sys.setprofile(None)
                raise error

    def watched(record):
        sys.setprofile(profile)
        try:
            return apply(record)
        finally:
            sys.setprofile(None)

    state.apply = watched
    try:
        yield calls
    finally:
        sys.setprofile(None)
        del state.apply


def copied(source, tmp_path):
    target = tmp_path / "data"
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def recovered(path, tmp_path):
    """The state that another process reads if this one is killed now."""
    copy = tmp_path / "crashed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("lock"))
    engine = opened(copy)
    try:
        return content(engine)
    finally:
        engine._shard.abandon()


def require_broken(engine):
    """The workspace refuses queries, writes and snapshots."""
    for ask in (
        lambda: engine.count("everyone"),
        lambda: engine.ingest([Track("x", "Paid", {}, NOW_MS)]),
        lambda: engine.user("u1"),
        lambda: engine.catalog.segments,
        engine.snapshot,
        engine.statistics,
        engine.schema,
    ):
        with pytest.raises(WorkspaceBrokenError, match="failed midway"):
            ask()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_Error_at_any_call_of_applying_leaves_no_trace_of_the_change(source, tmp_path, change):
    make = CHANGES[change]
    path = copied(source, tmp_path)
    engine = opened(path)
    before = content(engine)
    with failing(engine, -1, None) as calls:
        make(engine)
    total = calls[0]
    after = content(engine)
    assert after["version"] == before["version"] + 1
    assert after["faults"] == []
    assert recovered(path, tmp_path) == after
    engine._shard.abandon()
    assert total > 3
    for number in range(1, total + 1, STRIDE):
        error = ERRORS[number % len(ERRORS)]
        path = copied(source, tmp_path)
        engine = opened(path)
        # Libraries raise other errors for it, and Python ignores errors while it closes a generator.
        is_made = True
        try:
            with failing(engine, number, error):
                make(engine)
        except BaseException:
            is_made = False
        if is_made:
            assert content(engine) == recovered(path, tmp_path) == after
            engine._shard.abandon()
            continue
        require_broken(engine)
        assert recovered(path, tmp_path) == before, f"call {number} of {total}"
        engine.close()
        with opened(path) as again:
            assert content(again) == before, f"call {number} of {total}, after closing"


def test_Reopened_workspace_accepts_the_change(source, tmp_path):
    path = copied(source, tmp_path)
    engine = opened(path)
    with failing(engine, 5, MemoryError()), pytest.raises(MemoryError):
        batch(engine)
    engine.close()
    with opened(path) as again:
        batch(again)
        assert again.user("fresh").attributes == {}
        assert again.count('did "Paid" with sum(amount) = 1.5').count == 1


def test_Broken_workspace_says_why_and_what_to_do(source, tmp_path):
    engine = opened(copied(source, tmp_path))
    with failing(engine, 5, ValueError("a mistake")), pytest.raises(ValueError, match="a mistake"):
        batch(engine)
    with pytest.raises(WorkspaceBrokenError) as raised:
        engine.count("everyone")
    assert "ValueError: a mistake" in raised.value.message
    assert "reopen the workspace" in raised.value.hint
    engine.close()


def test_Stream_that_is_open_ends_where_a_change_failed(source, tmp_path):
    engine = opened(copied(source, tmp_path))
    pages = iter(engine.members("everyone", page_size=1).pages)
    next(pages)
    with failing(engine, 5, MemoryError()), pytest.raises(MemoryError):
        batch(engine)
    with pytest.raises(WorkspaceBrokenError):
        next(pages)
    engine.close()


def test_Workspace_in_memory_is_broken_as_well(source):
    engine = Engine(clock=FixedClock(NOW_MS))
    engine.ingest([Identify("u", {"n": 1}, NOW_MS)])
    with failing(engine, 5, MemoryError()), pytest.raises(MemoryError):
        engine.ingest([Identify("v", {"n": 1}, NOW_MS)])
    with pytest.raises(WorkspaceBrokenError):
        engine.count("n = 1")


def test_Error_while_the_journal_is_written_changes_nothing(source, tmp_path, monkeypatch):
    """Nothing is applied, and the workspace stays usable."""
    path = copied(source, tmp_path)
    with opened(path) as engine:
        before = content(engine)
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:20]) and 1 / 0)
            with pytest.raises(ZeroDivisionError):
                batch(engine)
        assert content(engine) == before
        assert recovered(path, tmp_path) == before
        batch(engine)
        assert content(engine)["version"] == before["version"] + 1
        assert recovered(path, tmp_path) == content(engine)


def test_Write_after_closing_is_refused(source, tmp_path):
    engine = opened(copied(source, tmp_path))
    engine.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        engine.ingest([Track("u", "Paid", {}, NOW_MS)])


# Names and shapes are checked before the journal.


@pytest.mark.parametrize(
    ("operation", "name", "reason"),
    [
        (Identify("u", {b"plan": "gold"}, NOW_MS), "b'plan'", "attribute name b'plan' is of type bytes"),
        (Identify("u", {2024: "x"}, NOW_MS), "2024", "attribute name 2024 is of type int"),
        (Track("u", "Paid", {None: 1}, NOW_MS), "None", "property name None is of type NoneType"),
        (Track("u", b"Paid", {}, NOW_MS), None, "event name b'Paid' is of type bytes"),
        (Track(b"u", "Paid", {}, NOW_MS), None, "user id b'u' is of type bytes"),
        (Track(7, "Paid", {}, NOW_MS), None, "user id 7 is of type int"),
        (Track("u", ["Paid"], {}, NOW_MS), None, "event name ['Paid'] is of type list"),
        (Track("u", "Paid", {}, NOW_MS, b"m"), None, "message id b'm' is of type bytes"),
        (Track("u", "Paid", None, NOW_MS), None, "properties are of type NoneType"),
        (Identify("u", "plan", NOW_MS), None, "traits are of type str"),
        (Track("u", "Paid", {}, 1.5), None, "timestamp 1.5 is not a whole number"),
        (Track("u", "Paid", {}, None), None, "timestamp None is not a whole number"),
        (Delete(b"u"), None, "user id b'u' is of type bytes"),
        (Delete("u", b"m"), None, "message id b'm' is of type bytes"),
        ({"userId": "u"}, None, "a dict is not an operation"),
    ],
)
@pytest.mark.parametrize("with_others", [False, True])
def test_Value_that_is_not_text_is_rejected_by_name_and_others_are_applied(
    tmp_path, operation, name, reason, with_others
):
    others = [Track("other", "Paid", {"amount": 10}, NOW_MS)] if with_others else []
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS)) as engine:
        result = engine.ingest([*others, operation, *others])
        (rejection,) = result.rejections
        assert (rejection.row, rejection.name) == (len(others), name)
        assert reason in rejection.reason
        assert engine.count('did "Paid" exactly 2 times').count == with_others
        expected = content(engine)
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS)) as engine:
        assert content(engine) == expected


def test_Names_of_entries_that_are_not_text_are_refused(engine):
    for save in (
        lambda: engine.catalog.save_segment(b"s", "everyone"),
        lambda: engine.catalog.create_segment(7, "everyone"),
        lambda: engine.catalog.save_list(b"l", ["u"]),
        lambda: engine.catalog.save_list("l", [b"u"]),
        lambda: engine.catalog.save_list("l", [["u"]]),
        lambda: engine.catalog.save_segment("s", "everyone", description=b"d"),
        lambda: engine.catalog.save_segment("s", "everyone", labels={b"k": "v"}),
        lambda: engine.catalog.save_segment("s", "everyone", labels={"k": b"v"}),
        lambda: engine.declare(b"n", ValueType.NUMBER),
        lambda: engine.declare("n", ValueType.NUMBER, b"E"),
        lambda: engine.ingest_all([Track("u", "E", {}, NOW_MS)], (), producer=b"p", sequence=1),
    ):
        with pytest.raises(Exception, match="not text") as raised:
            save()
        assert raised.type.__module__ == "bitseg.errors"
    assert engine.version == 0


def columns(**changes):
    parts = {
        "event": "Paid",
        "user_ids": ["u", "v"],
        "timestamps_ms": np.array([NOW_MS, NOW_MS]),
        "values": {"amount": Column(ValueType.NUMBER, np.array([1.0, 2.0]))},
        "rows": np.arange(2),
    }
    return Columns(**{**parts, **changes})


def strings(codes, entries):
    return {"color": Column(ValueType.STRING, np.array(codes, np.int32), entries)}


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (columns(values=strings([0, 5], ("red",))), "codes outside"),
        (columns(values=strings([0, -2], ("red",))), "codes outside"),
        (columns(values=strings([0], ("red",))), "2 rows"),
        (columns(values=strings([0, 0], (b"red",))), "not text"),
        (columns(values=strings([0, 0], ("\ud800",))), "valid Unicode"),
        (columns(values={"n": Column(ValueType.NUMBER, np.array([np.inf, 1]))}), "not finite"),
        (columns(values={"n": Column(ValueType.NUMBER, np.array([2**53 + 1, 1]))}), "2\\^53"),
        (columns(values={"n": Column(ValueType.NUMBER, [1.0, 2.0])}), "not an array"),
        (columns(values={"b": Column(ValueType.BOOLEAN, np.array([2, 0], np.int8))}), "other than"),
        (columns(values={"d": Column(ValueType.DATE, np.array([10**8, 0], np.int32))}), "years"),
        (columns(values={"g": Column(ValueType.GEO, np.array([[91.0, 0], [0, 0]]))}), "globe"),
        (columns(values={"g": Column(ValueType.GEO, np.array([1.0, 0]))}), "2 rows"),
        (columns(values={"l": Column(ValueType.LIST, np.array([0, 0], np.int32), (["a"],))}), "tuple"),
        (columns(values={"s": SparseValues([0], [1, 2])}), "1 rows and 2 values"),
        (columns(values={"s": SparseValues([1, 0], [1, 2])}), "ascending"),
        (columns(values={"s": SparseValues([0, 2], [1, 2])}), "ascending"),
        (columns(values={b"s": SparseValues([0], [1])}), "not text"),
        (columns(values={"s": [1, 2]}), "not a Column"),
        (columns(timestamps_ms=np.array([NOW_MS])), "2 timestamps"),
        (columns(timestamps_ms=[NOW_MS, NOW_MS]), "array of integers"),
        (columns(timestamps_ms=np.array([1.5, 2.5])), "array of integers"),
        (columns(rows=np.arange(3)), "2 row numbers"),
    ],
)
def test_Inconsistent_columns_are_refused_before_anything_changes(engine, block, reason):
    engine.ingest([Track("u", "Paid", {"amount": 1}, NOW_MS)])
    before = content(engine)
    with pytest.raises(InvalidArgumentError, match=reason):
        engine.ingest_all([Track("w", "Paid", {}, NOW_MS)], [columns(), block])
    assert content(engine) == before
    engine.ingest_columns(columns())
    assert engine.count('did "Paid"').count == 2


def test_Columns_with_ids_that_are_not_text_lose_those_rows(engine):
    result = engine.ingest_columns(columns(user_ids=["u", b"v"]))
    assert (result.accepted, [rejection.row for rejection in result.rejections]) == (1, [1])
    assert "is of type bytes" in result.rejections[0].reason


def test_Batch_beyond_the_available_memory_is_refused_before_the_journal(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        engine.ingest([Track(f"u{number}", "E", {}, NOW_MS) for number in range(20_000)])
        version = engine.version
        monkeypatch.setattr(ingest_module, "available_bytes", lambda: 200 * 2**20)
        with pytest.raises(OverloadedError, match=r"may take [\d,]+ MiB of memory, and 180 MiB are available"):
            engine.ingest([Identify("u1", {f"name{number}": number for number in range(1_000)}, NOW_MS)])
        assert engine.version == version
        assert engine.schema() == []
        engine.ingest([Identify("u1", {"name": 1}, NOW_MS)])
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS)) as engine:
        assert [field.name for field in engine.schema()] == ["name"]


# One record, one version


def test_Version_is_the_number_of_the_record(tmp_path):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        versions = [engine.version]
        for change in (
            lambda: engine.ingest([Track("u", "E", {"n": 1}, NOW_MS), Delete("v"), Identify("u", {"a": 1}, NOW_MS)]),
            lambda: engine.ingest_all([Track("u", "E", {}, NOW_MS)], [columns(), columns(event=None)]),
            lambda: engine.ingest_all([], (), producer="p", sequence=1),
            lambda: engine.catalog.save_segment("s", "a = 1"),
            lambda: engine.catalog.save_list("l", ["u"]),
            lambda: engine.catalog.rename_list("l", "m"),
            lambda: engine.declare("b", ValueType.DATE),
        ):
            change()
            versions.append(engine.version)
        assert versions == list(range(8))
        # Without a change, there is no record and no version.
        engine.ingest([])
        engine.ingest_all([], (), producer="p", sequence=1)
        assert engine.version == 7
        assert engine._shard.writer.store.last_record == 7
        engine.snapshot()
        engine.ingest([Track("u", "E", {}, NOW_MS)])
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS)) as engine:
        assert (engine.version, engine._shard.writer.store.last_record) == (8, 8)


def test_Record_of_an_unknown_type_raises_and_is_not_journalled(engine):
    with pytest.raises(TypeError, match="no applier for str"):
        engine._shard.write("record")


def test_Record_out_of_sequence_is_damage(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        engine.ingest([Track("u", "E", {}, NOW_MS)])
        with monkeypatch.context() as patch:
            patch.setattr("bitseg.shard.writer.pack_record", lambda version, *_: b"\x93\xa4type\x05\xc0")
            engine.ingest([Track("u", "E", {}, NOW_MS)])
        engine.flush()
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("lock"))
    with pytest.raises(CorruptJournalError, match="record of kind 'type' has 1 parts"):
        Engine.open(tmp_path / "b", clock=FixedClock(NOW_MS))


# Commits


def test_Observers_are_told_of_every_commit_in_order(engine):
    commits = []
    stop = engine.observe(commits.append)
    engine.ingest([Track("a", "Paid", {}, NOW_MS), Identify("b", {"plan": "gold"}, NOW_MS)])
    engine.catalog.save_segment("s", 'plan = "gold"')
    engine.catalog.save_list("l", ["a"])
    engine.ingest([Delete("a")])
    assert [commit.version for commit in commits] == [1, 2, 3, 4]
    first, segment, user_list, deletion = commits
    assert (first.attributes, first.events, len(first.users)) == ({"plan"}, {"Paid"}, 2)
    assert (segment.entries, len(segment.users)) == ({("segment", "s")}, 0)
    assert user_list.entries == {("list", "l")}
    assert (list(deletion.users), deletion.entries) == ([0], {("list", "l")})
    assert deletion.attributes == {"plan"}
    assert deletion.events == {"Paid"}
    stop()
    engine.ingest([Track("b", "Paid", {}, NOW_MS)])
    assert len(commits) == 4


def test_Observer_sees_the_state_with_the_commit_and_its_errors_change_nothing(engine, caplog):
    counts = []
    engine.observe(lambda commit: 1 / 0)
    engine.observe(lambda commit: counts.append(engine.count('did "Paid"').count))
    engine.ingest([Track("a", "Paid", {}, NOW_MS)])
    engine.ingest([Track("b", "Paid", {}, NOW_MS)])
    assert counts == [1, 2]
    assert "an observer of commits failed at version 1" in caplog.text


def test_Expired_events_are_a_commit_with_their_users(tmp_path):
    clock = FixedClock(NOW_MS)
    engine = Engine(WorkspaceSettings(retention_days=2), clock=clock)
    engine.ingest([Track("old", "Paid", {}, NOW_MS - DAY_MS), Track("young", "Paid", {}, NOW_MS)])
    commits = []
    engine.observe(commits.append)
    clock.at_ms += DAY_MS
    assert engine.count('did "Paid"').count == 1
    (commit,) = commits
    assert (list(commit.users), commit.events) == ([0], {"Paid"})


# Retention


def test_Events_past_the_retention_go_by_the_clock_also_when_nobody_writes(tmp_path):
    clock = FixedClock(NOW_MS)
    settings = WorkspaceSettings(retention_days=3)
    with Engine.create(tmp_path / "a", settings, clock=clock, default_segments=False) as engine:
        engine.ingest([Track(f"u{days}", "E", {}, NOW_MS - days * DAY_MS) for days in range(3)])
        assert engine.event_count == 3
        clock.at_ms += DAY_MS
        assert (engine.count('did "E"').count, engine.event_count) == (2, 2)
    clock.at_ms += DAY_MS
    with Engine.open(tmp_path / "a", clock=clock) as engine:
        assert engine.event_count == 1
        assert [event.count for event in engine.user("u0").events] == [1]
        assert engine.user("u2").events == ()
    with Engine.open(tmp_path / "a", clock=clock) as engine:
        assert engine.event_count == 1


def test_Disk_that_takes_no_record_of_expired_events_does_not_stop_queries(tmp_path, monkeypatch, caplog):
    clock = FixedClock(NOW_MS)
    with Engine.create(tmp_path / "a", WorkspaceSettings(retention_days=2), clock=clock) as engine:
        engine.ingest([Track("u", "E", {}, NOW_MS - DAY_MS), Track("v", "E", {}, NOW_MS)])
        clock.at_ms += DAY_MS

        def refuse(payload):
            raise DiskFullError("full")

        with monkeypatch.context() as patch:
            patch.setattr(engine._shard.writer.store, "append", refuse)
            assert engine.count('did "E"').count == 2
            with pytest.raises(DiskFullError):
                engine.ingest([])
        assert "events past the retention are still counted: full" in caplog.text
        assert engine.count('did "E"').count == 1


# Last write wins


@pytest.mark.parametrize("between", ["nothing", "snapshot", "crash"])
def test_Null_before_the_first_value_unsets_whatever_the_order(tmp_path, between):
    engine = Engine.create(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False)
    engine.ingest([Identify("u", {"plan": None}, NOW_MS), Identify("v", {"plan": None}, NOW_MS - 10)])
    engine.ingest([Identify("gone", {"plan": None}, NOW_MS), Delete("gone")])
    assert engine.schema() == []
    if between == "snapshot":
        engine.close()
        engine = opened(tmp_path / "a")
    elif between == "crash":
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("lock"))
        engine.close()
        engine = opened(tmp_path / "b")
    with engine:
        engine.ingest([Identify(user, {"plan": "gold"}, NOW_MS - 1) for user in ("u", "v", "w", "gone")])
        members = {user for page in engine.members("plan is set").pages for user in page}
        assert members == {"v", "w", "gone"}
        assert engine.verify() == []


def test_Null_and_value_of_one_batch_are_settled_by_time(engine):
    engine.ingest(
        [
            Identify("u", {"plan": None}, NOW_MS),
            Delete("x"),
            Identify("u", {"plan": "gold"}, NOW_MS - 1),
            Identify("v", {"plan": "gold"}, NOW_MS - 1),
        ]
    )
    assert engine.count("plan is set").count == 1


def test_Rejected_value_fixes_no_type(engine):
    result = engine.ingest([Identify("u", {"code": 2**60, "tags": [1, 2]}, NOW_MS)])
    assert [rejection.name for rejection in result.rejections] == ["code", "tags"]
    assert engine.schema() == []
    engine.ingest([Identify("u", {"code": str(2**60), "tags": ["1"]}, NOW_MS)])
    assert engine.count(f'code = "{2**60}" and tags has "1"').count == 1


@pytest.mark.parametrize("is_late", [False, True])
def test_Outdated_value_is_stored_nowhere(tmp_path, is_late):
    with Engine.create(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        winner, loser = Identify("u", {"mail": "winner"}, NOW_MS), Identify("u", {"mail": "loser"}, NOW_MS - 1)
        if is_late:
            engine.ingest([winner])
            engine.ingest([loser])
        else:
            engine.ingest([loser, winner])
        assert engine._shard.state.index.attributes["mail"].dictionary.entries == ["winner"]
        engine.ingest([Delete("u")])
        engine.snapshot()
        for path in (tmp_path / "a").iterdir():
            assert b"loser" not in path.read_bytes()


def test_Repeated_message_id_of_a_deletion_changes_nothing(engine):
    file = [
        Track("u", "E", {}, NOW_MS, "m1"),
        Delete("u", "m2"),
        Identify("u", {"plan": "gold"}, NOW_MS, "m3"),
        Track("u", "E", {}, NOW_MS, "m4"),
    ]
    engine.ingest(file)
    before = content(engine)
    assert engine.ingest(file).duplicates == 4
    assert content(engine) == before
