"""Parts and manifests are read unchanged, or are refused with file and byte."""

import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from bitseg.engine import Engine, Workspace
from bitseg.errors import (
    CorruptSnapshotError,
    DataDirectoryError,
    DirectoryLockedError,
    InvalidArgumentError,
    UnsupportedFormatError,
)
from bitseg.operations import Delete, Identify, Track
from bitseg.storage import frames, snapshot
from bitseg.storage.directory import DataDirectory
from bitseg.storage.snapshot import Manifest, Part
from bitseg.storage.store import Store
from tests.conftest import NOW_MS
from tests.storage.harness import CLOCK, RefusingOs, batches, crash, opened, track

DAY_MS = 86_400_000

COLUMN = {"data": np.arange(5, dtype=np.int32), "points": np.ones((2, 2)), "empty": np.empty(0, np.uint32)}


def published(folder, number=1, before=None):
    parts = [Part(("column", 1), 1, lambda: COLUMN), Part(("text",), number, lambda: ["é", None, True, 1.5, number])]
    return snapshot.publish(folder, Manifest(number, {"id": "x"}, 1, 0, before or {}), parts)


def read(folder):
    manifest = snapshot.read_manifest(folder)
    return {key: state for key, _, state, _ in snapshot.read_parts(folder, manifest)}


def test_Snapshot_is_read_back_and_the_next_one_has_its_unchanged_parts(tmp_path):
    first = published(tmp_path)
    second = published(tmp_path, 2, first.parts)
    assert snapshot.read_manifest(tmp_path) == second
    assert [stored.file for stored in second.parts.values()] == [1, 2]
    parts = read(tmp_path)
    assert list(parts) == [("column", 1), ("text",)]
    assert parts["text",] == ["é", None, True, 1.5, 2]
    for name, data in COLUMN.items():
        assert parts["column", 1][name].dtype == data.dtype
        assert parts["column", 1][name].tolist() == data.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest", "parts-00000001", "parts-00000002"]


def test_Nothing_is_read_where_there_is_no_snapshot(tmp_path):
    assert snapshot.read_manifest(tmp_path) is None


def test_Every_cut_and_every_flipped_bit_is_refused(tmp_path):
    published(tmp_path)
    for path in tmp_path.iterdir():
        whole = path.read_bytes()
        cuts = [whole[:length] for length in range(len(whole))]
        flips = [
            whole[:place] + bytes([byte ^ 1 << place % 8]) + whole[place + 1 :] for place, byte in enumerate(whole)
        ]
        for damaged in cuts + flips:
            path.write_bytes(damaged)
            with pytest.raises((CorruptSnapshotError, UnsupportedFormatError), match=path.name):
                read(tmp_path)
        path.write_bytes(whole)
    assert len(read(tmp_path)) == 2


def test_Later_format_is_refused_with_its_number(tmp_path):
    (tmp_path / "manifest").write_bytes(b"BITSEGM\x09")
    with pytest.raises(UnsupportedFormatError, match="format 9"):
        snapshot.read_manifest(tmp_path)


def test_Format_before_the_first_release_is_refused_by_name(tmp_path):
    (tmp_path / "snapshot.msgpack").write_bytes(b"BITSEG\x00\x02")
    with pytest.raises(UnsupportedFormatError, match="before the first release"):
        snapshot.read_manifest(tmp_path)


def test_Directory_has_one_owner(tmp_path):
    with DataDirectory(tmp_path), pytest.raises(DirectoryLockedError, match="another process"):
        DataDirectory(tmp_path)
    DataDirectory(tmp_path).close()


def test_Path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="cannot use"):
        DataDirectory(tmp_path / "file")


@pytest.mark.parametrize("name", ["manifest", "parts-00000001"])
@pytest.mark.parametrize("start", [b"", b"PAR1", b"BITSEG", b"BITSEGM\x63", b"BITSEGP\x63", bytes(100)])
def test_Foreign_file_or_later_format_is_refused(tmp_path, name, start):
    published(tmp_path)
    (tmp_path / name).write_bytes(start)
    with pytest.raises(UnsupportedFormatError, match=name):
        read(tmp_path)


# Of an engine


@contextmanager
def before_it_is_written(change):
    """Makes a change between the start of a snapshot and the writing of its parts."""
    publish = Store.publish

    def changed(store, *arguments, **options):
        change()
        return publish(store, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "publish", changed)
        yield


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
    """Also the files that a killed process left."""
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
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.snapshot()
        engine.ingest([track("later")])
        for failing in ("fsync", "open", "rename"):
            with monkeypatch.context() as patch:
                if failing == "rename":
                    patch.setattr(type(tmp_path), "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
                else:
                    disk = RefusingOs()
                    setattr(disk, failing, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
                    patch.setattr(frames, "os", disk)
                with pytest.raises(DataDirectoryError):
                    engine.snapshot()
            with crash(tmp_path / "a", tmp_path / failing) as survivor:
                assert survivor.user_count == 7
                assert survivor.verify() == []
            engine.ingest([track("later")])
        engine.snapshot()
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.event_count) == (7, 10)


def test_Snapshot_that_may_have_been_published_keeps_its_files(tmp_path, monkeypatch):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        calls = []

        def sync(folder):
            calls.append(folder)
            if len(calls) == 2:
                # The manifest is in place, but a power cut may undo the rename.
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
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert (survivor.user_count, survivor.verify()) == (7, [])
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.verify()) == (7, [])


def test_User_deleted_while_a_snapshot_is_written_is_whole_in_it(tmp_path):
    """The user is deleted again by the journal, which finds the user by id."""
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.snapshot()
        engine.ingest([track("u0"), Delete("u5")])
        with before_it_is_written(lambda: engine.ingest([Delete("u1"), Identify("u2", {"a": "changed"}, NOW_MS)])):
            engine.snapshot()
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
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
    """After the next snapshot, neither the user's id nor values that only this user had are on disk."""
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
        # The same value belongs to another user.
        engine.ingest([Identify("bob", {"email": "alice@example.org"}, NOW_MS)])
        assert list(engine.members('email = "alice@example.org"').pages) == [["bob"]]
    with opened(tmp_path) as engine:
        assert list(engine.members('email = "alice@example.org"').pages) == [["bob"]]
        assert engine.count('tags has "t"').count == 3_000
        assert engine.verify() == []


def test_Value_given_again_while_a_snapshot_drops_it_stays(tmp_path):
    """A dictionary entry is unused when the snapshot begins, and used when it ends."""
    with opened(tmp_path / "a") as engine:
        engine.ingest([Identify("a", {"s": "rare"}, NOW_MS), Identify("b", {"s": "common"}, NOW_MS)])
        engine.ingest([Identify("a", {"s": "other"}, NOW_MS)])
        with before_it_is_written(lambda: engine.ingest([Identify("c", {"s": "rare"}, NOW_MS)])):
            engine.snapshot()
        assert list(engine.members('s = "rare"').pages) == [["c"]]
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert list(survivor.members('s = "rare"').pages) == [["c"]]
        engine.snapshot()
    with opened(tmp_path / "a") as engine:
        assert list(engine.members('s = "rare"').pages) == [["c"]]
        assert engine.verify() == []


def test_Backup_is_a_workspace_and_never_replaces_another(tmp_path):
    with opened(tmp_path / "a") as engine:
        batches(engine)
        engine.backup(tmp_path / "backup")
        engine.ingest([track("later")])
        with pytest.raises(DataDirectoryError, match="has a workspace already"):
            engine.backup(tmp_path / "backup")
    with opened(tmp_path / "backup") as engine:
        assert engine.user_count == 6
    memory = Engine(Workspace("Asia/Kolkata"), clock=CLOCK)
    batches(memory)
    with pytest.raises(InvalidArgumentError, match="memory"):
        memory.snapshot()
    memory.backup(tmp_path / "memory")
    with opened(tmp_path / "memory") as engine:
        assert (engine.user_count, engine.workspace, engine.verify()) == (6, memory.workspace, [])
