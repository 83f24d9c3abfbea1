"""What was acknowledged is there again after closing and after a crash; damage is an error, never a wrong answer."""

import os
import resource
import shutil
import tempfile
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.errors import (
    BitsegError,
    CorruptJournalError,
    DataDirectoryError,
    DiskFullError,
    InvalidArgumentError,
    NotDurableError,
    UnsupportedFormatError,
)
from bitseg.index import attributes, deduplication, dictionary, users
from bitseg.operations import Delete, Identify, Track
from bitseg.storage import journal
from bitseg.storage.journal import SyncPolicy
from bitseg.values import Column, SparseValues, ValueType
from tests.conftest import NOW_MS
from tests.generate import EPOCH, HOUR_MS, Generator, workspace

DAY_MS = 24 * HOUR_MS
CLOCK = FixedClock(NOW_MS)


def opened(path, clock=CLOCK, **options):
    return Engine.open(path, clock=clock, default_segments=False, **options)


def crash(engine, path, copy):
    """What a process that is killed at this moment leaves behind, opened by another."""
    shutil.copytree(path, copy)
    return opened(copy, engine._clock)


def track(user, number=0, message_id=None, **more):
    return Track(user, "E", {"n": number, **more}, NOW_MS, message_id)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63))
def test_History_survives_snapshots_closings_and_crashes(tmp_path_factory, seed):
    """A durable engine, reopened in every way between batches, answers as one in memory that never stopped."""
    generator = Generator(seed)
    folder = tmp_path_factory.mktemp("history")
    clock = FixedClock(generator.now_ms + 100 * DAY_MS)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    memory = workspace(generator)
    engine = Engine.create(folder / "0", WorkspaceSettings(generator.zone), clock=clock, default_segments=False)
    for name, user_ids in generator.lists.items():
        engine.catalog.save_list(name, user_ids)
    for name, condition in generator.saved.items():
        engine.catalog.save_segment(name, condition)
    with pytest.MonkeyPatch.context() as patch:
        # Small parts, so that there are many.
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
                    path = engine._writer.store.path
                    engine.close()
                    engine = opened(path, clock)
                elif step == "crash":
                    survivor = crash(engine, engine._writer.store.path, folder / f"{number}-{len(part)}-{id(part)}")
                    engine.close()
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


def test_Whatever_a_batch_may_hold_is_done_again_as_it_was(tmp_path):
    """Values that are refused, or of types that JSON has not, are refused again, and fix the same types."""
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
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.recovered.records > len(odd) ** 2
            assert survivor.schema() == memory.schema() == engine.schema()
            for field in memory.schema():
                text = f"{field.name} is set"
                assert survivor.count(text).count == memory.count(text).count
            assert survivor.explain("é", "tags is set").explanation.value == []


def test_Queries_and_writes_go_on_while_a_snapshot_is_taken(tmp_path):
    """A snapshot has exactly what was there when it began, whatever is changed while it is written."""
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


# Producers and repeats


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
        # A batch of which nothing was taken counts as well.
        engine.ingest_all([], (), producer="p", sequence=3)
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
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
        survivor = crash(engine, tmp_path / f"{number}", tmp_path / f"{number + 1}")
        engine.close()
        engine = survivor
        last = [track("u", message_id=f"m{each}") for each in range(max(number - 4, 0), number + 1)]
        assert engine.ingest(last).duplicates == len(last)
    engine.close()


# Damage


def contents(engine):
    """How much there is, and what is kept by name."""
    catalog = engine.catalog
    return engine.version, engine.user_count, engine.event_count, list(catalog.segments), dict(catalog.lists)


def batches(engine, count=6):
    for number in range(count):
        engine.ingest([Identify(f"u{number}", {"a": "x" * 40}, NOW_MS), track(f"u{number}", number)])
    engine.catalog.save_segment("s", 'did "E"')
    engine.catalog.save_list("l", ["u1", "u2"])


def test_Journal_cut_at_every_byte_gives_the_last_whole_record(tmp_path):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        shutil.copytree(tmp_path / "a", tmp_path / "cut")
    (path,) = (tmp_path / "cut").glob("journal-*")
    whole = path.read_bytes()
    ends = record_ends(tmp_path / "cut")
    assert len(ends) == 8
    # The last three records are a batch, a segment and a list.
    for length in range(ends[-4], len(whole) + 1):
        shutil.copytree(tmp_path / "cut", tmp_path / "b")
        (tmp_path / "b" / path.name).write_bytes(whole[:length])
        with opened(tmp_path / "b") as engine:
            kept = sum(end <= length for end in ends)
            assert engine.recovered.records == kept
            assert engine.recovered.torn_bytes == (
                0 if length in ends else length - max(e for e in ends if e <= length)
            )
            assert engine.user_count == engine.event_count == min(kept, 6)
            names = (list(engine.catalog.segments), list(engine.catalog.lists))
            assert names == (["s"] * (kept > 6), ["l"] * (kept > 7))
            if engine.recovered.torn_bytes:
                saved = tmp_path / "b" / os.path.basename(engine.recovered.torn_saved_as)
                assert saved.read_bytes() == whole[max(e for e in ends if e <= length) : length]
            # And it goes on from there.
            engine.ingest([track("later")])
        with opened(tmp_path / "b") as engine:
            assert engine.user_count == min(kept, 6) + 1
        shutil.rmtree(tmp_path / "b")


def record_ends(folder):
    from bitseg.storage import snapshot

    manifest = snapshot.read_manifest(folder)
    found = journal.Recovery(folder, manifest.workspace["id"], manifest.journal, manifest.records)
    every = list(found.records())
    return [each.offset for each in every[1:]] + [every[-1].path.stat().st_size]


@pytest.mark.parametrize("with_journal", [False, True])
def test_Flipped_bit_is_an_error_or_changes_nothing(tmp_path, with_journal):
    """One bit in every 64 bytes of every file: what is opened is what was there, up to whole records at the end."""
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.snapshot()
        if with_journal:
            batches(engine, 9)
        shutil.copytree(tmp_path / "a", tmp_path / "whole")
    outcomes = {"error": 0, "same": 0, "shorter": 0}
    with opened_copy(tmp_path / "whole", tmp_path / "b") as engine:
        good = contents(engine)
    for path in (tmp_path / "whole").iterdir():
        whole = path.read_bytes()
        for place in range(0, len(whole), 64):
            flipped = bytearray(whole)
            flipped[min(place + place // 64 % 64, len(whole) - 1)] ^= 1 << place // 64 % 8
            path.write_bytes(flipped)
            try:
                with opened_copy(tmp_path / "whole", tmp_path / "b") as engine:
                    found = contents(engine)
                    outcomes["same" if found == good else "shorter"] += 1
                    assert found == good or engine.recovered.torn_bytes
            except DataDirectoryError as error:
                outcomes["error"] += 1
                assert path.name in str(error)
                assert "byte" in str(error) or isinstance(error, UnsupportedFormatError)
        path.write_bytes(whole)
    assert outcomes["error"] > 10
    assert outcomes["shorter"] <= 1


def opened_copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return opened(target)


def test_Missing_file_is_named(tmp_path):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.snapshot()
        batches(engine)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").glob("parts-*"):
        path.unlink()
    with pytest.raises(BitsegError, match=r"parts-.*missing"):
        opened(tmp_path / "b")
    (tmp_path / "b" / "manifest").unlink()
    # Without a manifest there is no workspace, and what else is there is left alone.
    with pytest.raises(DataDirectoryError, match="no workspace"):
        opened(tmp_path / "b", create=False)


def test_Damage_in_the_middle_of_the_journal_loses_nothing_silently(tmp_path):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    (path,) = (tmp_path / "b").glob("journal-*")
    whole = path.read_bytes()
    # A record is gone, as if a block had been lost.
    ends = record_ends(tmp_path / "b")
    path.write_bytes(whole[: ends[2]] + whole[ends[3] :])
    with pytest.raises(CorruptJournalError, match=f"{path.name} is damaged at byte {ends[2]}"):
        opened(tmp_path / "b")
    # The length of a record is damaged.
    path.write_bytes(whole[: ends[2]] + b"\xff\xff\xff" + whole[ends[2] + 3 :])
    with pytest.raises(CorruptJournalError, match=f"{path.name} is damaged at byte {ends[2]}"):
        opened(tmp_path / "b")
    # Zeros up to the end are what a power cut leaves.
    path.write_bytes(whole[: ends[5]] + bytes(1_000))
    with opened(tmp_path / "b") as engine:
        assert (engine.recovered.records, engine.recovered.torn_bytes) == (6, 1_000)


def test_End_that_is_missing_before_a_later_file_is_damage(tmp_path):
    """Only the last file can end in a write that was cut off: what a later one has was acknowledged after it."""
    with opened(tmp_path / "a") as engine:
        batches(engine)
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            survivor.ingest([track("later")])
            shutil.copytree(tmp_path / "b", tmp_path / "c")
    first, second = sorted((tmp_path / "c").glob("journal-*"))
    with opened_copy(tmp_path / "c", tmp_path / "d") as engine:
        assert engine.recovered.records == 9
    whole = first.read_bytes()
    for length in (len(whole) - 1, record_ends(tmp_path / "c")[3]):
        first.write_bytes(whole[:length])
        with pytest.raises(CorruptJournalError, match=f"{first.name}|{second.name}"):
            opened_copy(tmp_path / "c", tmp_path / "d")
        # What there is stays as it is, for whoever looks into it.
        assert (tmp_path / "d" / first.name).read_bytes() == whole[:length]
    first.unlink()
    with pytest.raises(CorruptJournalError, match=f"{second.name} .* goes on after 8 records, not 0"):
        opened_copy(tmp_path / "c", tmp_path / "d")


def test_Journal_of_another_workspace_is_refused(tmp_path):
    for name in "ab":
        with opened(tmp_path / name) as engine:
            batches(engine)
            shutil.copytree(tmp_path / name, tmp_path / f"copy-{name}")
    (path,) = (tmp_path / "copy-a").glob("journal-*")
    shutil.copy(path, tmp_path / "copy-b" / path.name)
    with pytest.raises(CorruptJournalError, match="another workspace"):
        opened(tmp_path / "copy-b")


@pytest.mark.parametrize("name", ["manifest", "parts-00000001", "journal-00000001"])
@pytest.mark.parametrize("start", [b"", b"PAR1", b"BITSEG", b"BITSEGM\x63", b"\x00" * 100])
def test_Foreign_file_or_later_version_is_refused(tmp_path, name, start):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    path = tmp_path / "b" / name
    path.write_bytes(start)
    if name.startswith("journal") and b"BITSEG".startswith(start[:6]) and len(start) < 8:
        with opened(tmp_path / "b") as engine:
            assert engine.recovered.torn_bytes == len(start)
        return
    with pytest.raises(DataDirectoryError, match=name):
        opened(tmp_path / "b")


# A disk that refuses


class Disk:
    """Stands in for `os` where the journal writes, and fails when told to."""

    def __init__(self):
        self.failing = {}

    def __getattr__(self, name):
        def call(*arguments):
            if name in self.failing:
                raise OSError(self.failing[name], os.strerror(self.failing[name]))
            return getattr(os, name)(*arguments)

        found = getattr(os, name)
        return call if name in ("write", "fsync", "ftruncate") else found


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(journal, "os", disk)
    return disk


@pytest.mark.parametrize(("code", "error"), [(28, DiskFullError), (5, DataDirectoryError)])
def test_Refused_write_changes_nothing_and_later_ones_succeed(tmp_path, disk, code, error):
    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u0", message_id="m0")])
        version = engine.version
        disk.failing = {"write": code}
        for attempt in (
            lambda: engine.ingest([track("u1", message_id="m1")]),
            lambda: engine.catalog.save_segment("s", "everyone"),
            lambda: engine.catalog.save_list("l", ["x"]),
            lambda: engine.declare("a", ValueType.NUMBER),
            lambda: engine.ingest_all([track("u1")], (), producer="p", sequence=1),
        ):
            with pytest.raises(error):
                attempt()
        assert (engine.version, engine.count("everyone").count, engine.last_sequence("p")) == (version, 1, 0)
        disk.failing = {}
        assert engine.ingest([track("u1", message_id="m1")]).accepted == 1
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.user_count == 2


@pytest.fixture
def largest_file():
    """A function that limits how large files may become, as a disk that is full does."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_Full_disk_refuses_writes_until_there_is_room(tmp_path, largest_file):
    """The kernel refuses, in the middle of records; queries go on, and nothing that was acknowledged is lost."""
    acknowledged, refused = [], 0
    engine = opened(tmp_path / "a")
    largest_file(20_000)
    for number in range(300):
        try:
            engine.ingest([track(f"u{number}", number, message_id=f"m{number}")] * (number % 7 + 1))
            acknowledged.append(number)
        except DiskFullError as error:
            assert "File too large" in str(error)
            assert "make room" in error.hint
            refused += 1
        assert engine.count("everyone").count == engine.event_count == len(acknowledged)
    assert refused > 100
    survivor_path = tmp_path / "b"
    largest_file(resource.RLIM_INFINITY)
    with crash(engine, tmp_path / "a", survivor_path) as survivor:
        assert survivor.user_count == len(acknowledged)
        assert survivor.recovered.torn_bytes == 0
    largest_file(20_000)
    with pytest.raises(DiskFullError):
        engine.ingest([Identify("big", {f"a{number}": "x" * 1_000 for number in range(30)}, NOW_MS)])
    largest_file(resource.RLIM_INFINITY)
    for number in range(300):
        engine.ingest([track(f"u{number}", number, message_id=f"m{number}")])
    assert engine.user_count == engine.event_count == 300
    engine.close()
    with opened(tmp_path / "a") as engine:
        assert (engine.event_count, engine.verify()) == (300, [])


def test_Closing_where_no_snapshot_fits_keeps_the_journal(tmp_path, largest_file, caplog):
    engine = opened(tmp_path / "a")
    batches(engine)
    largest_file(100)
    engine.close()
    assert "the journal has what changed" in caplog.text
    largest_file(resource.RLIM_INFINITY)
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.recovered.records) == (6, 8)


def test_Half_a_record_is_cut_before_the_next(tmp_path, disk, monkeypatch):
    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u0")])
        halves = []

        def half(descriptor, data):
            if halves:
                raise OSError(28, "No space left on device")
            halves.append(os.write(descriptor, data[: len(data) // 2]))
            return halves[0]

        disk.write = half
        with pytest.raises(DiskFullError):
            engine.ingest([track("u1")])
        assert halves[0] > 10
        del disk.write
        engine.ingest([track("u2")])
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.recovered.torn_bytes == 0
            assert survivor.recovered.records == 2
            assert list(survivor.members("everyone").pages) == [["u0", "u2"]]


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_Interrupted_write_is_cut_as_well(tmp_path, disk, share):
    """Ctrl-C in the middle of a record, which the next one must not follow."""
    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u0")])

        def interrupted(descriptor, data):
            os.write(descriptor, data[: int(len(data) * share)])
            raise KeyboardInterrupt

        disk.write = interrupted
        with pytest.raises(KeyboardInterrupt):
            engine.ingest([track("u1")])
        del disk.write
        engine.ingest([track("u2")])
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert list(survivor.members("everyone").pages) == [["u0", "u2"]]


def test_Failed_fsync_is_never_taken_for_one_that_worked(tmp_path, disk):
    """The batch is not acknowledged, further ones are refused, and a snapshot makes it good."""
    engine = opened(tmp_path / "a")
    engine._regular_snapshots.stop()
    engine.ingest([track("u0")])
    disk.failing = {"fsync": 5}
    with pytest.raises(NotDurableError, match="Input/output error"):
        engine.ingest([track("u1")])
    disk.failing = {}
    # The disk seems well again, which says nothing of what was written before.
    with pytest.raises(NotDurableError):
        engine.ingest([track("u2")])
    with pytest.raises(NotDurableError):
        engine.last_sequence("p")
    assert engine.count("everyone").count == 2
    engine.snapshot()
    engine.ingest([track("u3")])
    with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
        assert list(survivor.members("everyone").pages) == [["u0", "u1", "u3"]]
        assert survivor.recovered.records == 1
    engine.close()


def test_Fsync_that_fails_after_the_cut_is_not_made_good_by_its_snapshot(tmp_path, disk):
    """The snapshot lacks the record, so that only the next one can stand for it."""
    engine = opened(tmp_path / "a")
    engine._regular_snapshots.stop()
    engine.ingest([track("u0")])
    with engine._lock:
        captured = engine._index.capture(engine._lock)
        parts, cut = engine._parts(captured), engine._writer.store.cut()
    disk.failing = {"fsync": 5}
    with pytest.raises(NotDurableError):
        engine.ingest([track("u1")])
    disk.failing = {}
    engine._writer.store.publish(cut, parts, purge=False)
    with engine._lock:
        engine._index.release(captured, is_stored=True)
    with pytest.raises(NotDurableError):
        engine.ingest([track("u2")])
    engine.snapshot()
    engine.ingest([track("u3")])
    engine.close()
    with opened(tmp_path / "a") as engine:
        assert list(engine.members("everyone").pages) == [["u0", "u1", "u3"]]


def test_Failed_fsync_heals_by_itself(tmp_path, disk):
    engine = opened(tmp_path / "a")
    disk.failing = {"fsync": 5}
    with pytest.raises(NotDurableError):
        engine.ingest([track("u1", message_id="m")])
    disk.failing = {}
    for _ in range(200):
        try:
            assert engine.ingest([track("u1", message_id="m")]).duplicates == 1
            break
        except NotDurableError:
            threading.Event().wait(0.05)
    else:
        raise AssertionError("writes were refused for ten seconds")
    engine.close()
    with opened(tmp_path / "a") as engine:
        assert engine.event_count == 1


def test_Journal_that_cannot_be_cut_takes_no_more(tmp_path, disk):
    engine = opened(tmp_path / "a")
    engine._regular_snapshots.stop()
    engine.ingest([track("u0")])
    disk.failing = {"write": 28, "ftruncate": 5}
    with pytest.raises(DiskFullError):
        engine.ingest([track("u1")])
    disk.failing = {}
    with pytest.raises(NotDurableError):
        engine.ingest([track("u1")])
    engine.close()
    with opened(tmp_path / "a") as engine:
        assert list(engine.members("everyone").pages) == [["u0"]]


def test_Batch_that_fails_in_the_engine_is_not_in_the_journal(tmp_path, monkeypatch):
    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u0")])
        with monkeypatch.context() as patch:
            patch.setattr(engine._index, "apply", lambda changes: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.ingest([track("u1")])
        engine.ingest([track("u2")])
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert list(survivor.members("everyone").pages) == [["u0", "u2"]]


def test_Threads_that_wait_share_an_fsync(tmp_path, disk, monkeypatch):
    count, gate = [0], threading.Event()

    def slow(descriptor):
        count[0] += 1
        gate.wait(30)
        os.fsync(descriptor)

    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u")])
        disk.fsync = slow
        threads = [threading.Thread(target=engine.ingest, args=([track(f"u{number}")],)) for number in range(20)]
        for thread in threads:
            thread.start()
        while engine.event_count < 21:
            threading.Event().wait(0.01)
        gate.set()
        for thread in threads:
            thread.join()
        assert count[0] <= 4
        del disk.fsync


@pytest.mark.parametrize("policy", SyncPolicy)
def test_Every_policy_keeps_what_a_killed_process_wrote(tmp_path, policy):
    with opened(tmp_path / "a", sync=policy) as engine:
        batches(engine)
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.user_count == 6
    with opened(tmp_path / "a") as engine:
        assert engine.user_count == 6


# Snapshots


def test_Snapshot_writes_what_changed_only(tmp_path):
    with opened(tmp_path / "a") as engine:
        for day in range(40):
            engine.ingest([Track(f"u{number}", "E", {"n": number}, NOW_MS - day * DAY_MS) for number in range(2_000)])
        engine.snapshot()
        first = max((tmp_path / "a").glob("parts-*")).stat().st_size
        engine.ingest([track("u1")])
        engine.snapshot()
        second = max((tmp_path / "a").glob("parts-*")).stat().st_size
        assert second < first / 5
        # A directory does not grow with the number of snapshots.
        for number in range(60):
            engine.ingest([Track("u1", "E", {"n": number}, NOW_MS - number % 40 * DAY_MS)])
            engine.snapshot()
        total = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
        assert total < 3 * first
        assert not list((tmp_path / "a").glob("journal-*"))


def test_Journal_that_has_grown_is_shortened_by_itself(tmp_path):
    """Also one that a killed process left behind."""
    with opened(tmp_path / "a", snapshot_after_bytes=2**40) as engine:
        for number in range(50):
            engine.ingest([track(f"u{number}", text="x" * 1_000)])
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    with opened(tmp_path / "b", snapshot_after_bytes=10_000) as engine:
        for _ in range(200):
            if not list((tmp_path / "b").glob("journal-*")):
                break
            threading.Event().wait(0.05)
        else:
            raise AssertionError("no snapshot was taken in ten seconds")
        assert engine.recovered.records == 50
    with opened(tmp_path / "b") as engine:
        assert (engine.event_count, engine.recovered.records) == (50, 0)


def test_Snapshot_that_fails_leaves_the_one_before_it(tmp_path, monkeypatch):
    from bitseg.storage import frames, snapshot

    with opened(tmp_path / "a") as engine:
        engine._regular_snapshots.stop()
        batches(engine)
        engine.snapshot()
        engine.ingest([track("later")])
        for failing in ("fsync", "open", "rename"):
            with monkeypatch.context() as patch:
                if failing == "rename":
                    patch.setattr(type(tmp_path), "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
                else:
                    disk = Disk()
                    setattr(disk, failing, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
                    patch.setattr(snapshot, "os", disk)
                    patch.setattr(frames, "os", disk)
                with pytest.raises(DataDirectoryError):
                    engine.snapshot()
            with crash(engine, tmp_path / "a", tmp_path / failing) as survivor:
                assert survivor.user_count == 7
                assert survivor.verify() == []
            engine.ingest([track("later")])
        engine.snapshot()
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.event_count) == (7, 10)


def test_Snapshot_of_which_it_is_not_known_whether_it_was_published_keeps_its_files(tmp_path, monkeypatch):
    from bitseg.storage import frames, snapshot

    with opened(tmp_path / "a") as engine:
        engine._regular_snapshots.stop()
        batches(engine)
        calls = []

        def sync(folder):
            calls.append(folder)
            if len(calls) == 2:
                # The new manifest is in place, and may or may not be after a power cut.
                raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(frames, "sync_directory", sync)
            with pytest.raises(DataDirectoryError, match="cannot publish"):
                engine.snapshot()
        engine.ingest([track("later")])
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, "_write_frame", lambda file, value: (_ for _ in ()).throw(OSError(28, "No space")))
            with pytest.raises(DataDirectoryError, match="cannot write"):
                engine.snapshot()
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert (survivor.user_count, survivor.verify()) == (7, [])
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.verify()) == (7, [])


def test_User_deleted_while_a_snapshot_is_written_is_whole_in_it(tmp_path):
    """And gone after the journal, which finds the user by id."""
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.snapshot()
        engine.ingest([track("u0"), Delete("u5")])
        with engine._lock:
            captured = engine._index.capture(engine._lock)
            parts, cut = engine._parts(captured), engine._writer.store.cut()
        engine.ingest([Delete("u1"), Identify("u2", {"a": "changed"}, NOW_MS)])
        engine._writer.store.publish(cut, parts, purge=True)
        with engine._lock:
            engine._index.release(captured, is_stored=True)
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert list(survivor.members("everyone").pages) == [["u0", "u2", "u3", "u4"]]
            assert survivor.verify() == []
        engine.backup(tmp_path / "c")
        engine.snapshot()
    for folder in ("a", "c"):
        with opened(tmp_path / folder) as engine:
            assert list(engine.members("everyone").pages) == [["u0", "u2", "u3", "u4"]]
        assert not any(b"u0u1" in path.read_bytes() for path in (tmp_path / folder).glob("parts-*"))


def test_Deleted_user_leaves_no_trace_in_a_file_that_is_mostly_current(tmp_path):
    with opened(tmp_path) as engine:
        for day in range(30):
            events = [Track(f"user {number}", "E", {}, NOW_MS - day * DAY_MS) for number in range(3_000)]
            engine.ingest(events)
        engine.ingest([Track("id-of-alice", "Rare", {"order": "order-of-alice"}, NOW_MS)])
        engine.snapshot()
        engine.ingest([Delete("id-of-alice")])
        engine.snapshot()
        for path in tmp_path.iterdir():
            assert b"of-alice" not in path.read_bytes(), path.name
        assert engine.count('did "E" at least 30 times').count == 3_000


def test_Deleted_user_leaves_no_trace(tmp_path):
    """Neither id, nor values that only they had, are in any byte on disk after the next snapshot."""
    secrets = ["id-of-alice", "alice@example.org", "alice@old.example.org", "order-of-alice", "tag-of-alice"]
    with opened(tmp_path) as engine:
        engine.ingest([Identify("id-of-alice", {"email": "alice@old.example.org"}, NOW_MS - 1)])
        engine.snapshot()
        engine.ingest(
            [
                Identify("id-of-alice", {"email": "alice@example.org", "tags": ["tag-of-alice"]}, NOW_MS),
                Track("id-of-alice", "Bought", {"order": "order-of-alice"}, NOW_MS),
                *(
                    Identify(f"u{number}", {"email": f"u{number}@x.org", "tags": ["t"]}, NOW_MS)
                    for number in range(3_000)
                ),
                *(Track(f"u{number}", "Bought", {"order": f"o{number}"}, NOW_MS) for number in range(3_000)),
            ]
        )
        engine.catalog.save_list("friends", ["id-of-alice", "u1"])
        assert all(any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir()) for secret in secrets[:1])
        engine.snapshot()
        assert all(any(secret.encode() in path.read_bytes() for path in tmp_path.iterdir()) for secret in secrets[:2])
        engine.ingest([Delete("id-of-alice")])
        engine.snapshot()
        for path in tmp_path.iterdir():
            for secret in secrets:
                assert secret.encode() not in path.read_bytes(), (path.name, secret)
        assert engine.count('did "Bought" where order = "o7"').count == 1
        assert engine.count('email = "u7@x.org"').count == 1
        # The same value again is another's.
        engine.ingest([Identify("bob", {"email": "alice@example.org"}, NOW_MS)])
        assert list(engine.members('email = "alice@example.org"').pages) == [["bob"]]
    with opened(tmp_path) as engine:
        assert list(engine.members('email = "alice@example.org"').pages) == [["bob"]]
        assert engine.count('tags has "t"').count == 3_000
        assert engine.verify() == []


def test_Value_given_again_while_a_snapshot_drops_it_stays(tmp_path):
    """The dictionary entry nobody had when the snapshot began has an owner when it ends."""
    with opened(tmp_path / "a") as engine:
        engine.ingest([Identify("a", {"s": "rare"}, NOW_MS), Identify("b", {"s": "common"}, NOW_MS)])
        engine.ingest([Identify("a", {"s": "other"}, NOW_MS)])
        with engine._lock:
            captured = engine._index.capture(engine._lock)
            parts, cut = engine._parts(captured), engine._writer.store.cut()
        engine.ingest([Identify("c", {"s": "rare"}, NOW_MS)])
        engine._writer.store.publish(cut, parts, purge=True)
        with engine._lock:
            engine._index.release(captured, is_stored=True)
        assert list(engine.members('s = "rare"').pages) == [["c"]]
        with crash(engine, tmp_path / "a", tmp_path / "b") as survivor:
            assert list(survivor.members('s = "rare"').pages) == [["c"]]
        engine.snapshot()
    with opened(tmp_path / "a") as engine:
        assert list(engine.members('s = "rare"').pages) == [["c"]]
        assert engine.verify() == []


def test_Backup_is_a_workspace_and_is_not_put_over_another(tmp_path):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.backup(tmp_path / "backup")
        engine.ingest([track("later")])
        with pytest.raises(DataDirectoryError, match="holds a workspace already"):
            engine.backup(tmp_path / "backup")
    with opened(tmp_path / "backup") as engine:
        assert engine.user_count == 6
    memory = Engine(WorkspaceSettings("Asia/Kolkata"), clock=CLOCK)
    batches(memory)
    with pytest.raises(InvalidArgumentError, match="memory"):
        memory.snapshot()
    memory.backup(tmp_path / "memory")
    with opened(tmp_path / "memory") as engine:
        assert (engine.user_count, engine.workspace, engine.verify()) == (6, memory.workspace, [])


@pytest.fixture
def nobody():
    """A folder of a user without rights beyond those that permissions give, who does what the test does."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(folder, 65_534, 65_534)
        os.seteuid(65_534)
        yield folder
        os.seteuid(0)
    else:
        yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_Directory_that_cannot_be_written_or_read_is_named(nobody):
    data = nobody / "data"
    nobody.chmod(0o500)
    with pytest.raises(DataDirectoryError, match=f"cannot use the data directory {data}: Permission denied"):
        opened(data)
    nobody.chmod(0o700)
    with opened(data) as engine:
        batches(engine)
    (parts,) = data.glob("parts-*")
    parts.chmod(0)
    with pytest.raises(DataDirectoryError, match=f"{parts}: Permission denied"):
        opened(data)
    parts.chmod(0o600)
    with opened(data) as engine:
        assert engine.user_count == 6


def test_Directory_that_becomes_read_only_refuses_writes_until_it_is_not(nobody):
    data = nobody / "data"
    engine = opened(data)
    batches(engine)
    engine.snapshot()
    data.chmod(0o500)
    with pytest.raises(DataDirectoryError, match=r"cannot begin a journal .*: Permission denied"):
        engine.ingest([track("later")])
    assert engine.count("everyone").count == 6
    with pytest.raises(DataDirectoryError, match="Permission denied"):
        engine.backup(data / "backup")
    data.chmod(0o700)
    engine.ingest([track("later")])
    data.chmod(0o500)
    # The journal is open, and takes more; a snapshot needs a file of its own.
    engine.ingest([track("latest")])
    with pytest.raises(DataDirectoryError, match=r"cannot write a snapshot .*: Permission denied"):
        engine.snapshot()
    data.chmod(0o700)
    engine.close()
    with opened(data) as engine:
        assert (engine.user_count, engine.verify()) == (8, [])
