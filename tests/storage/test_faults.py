"""A disk that refuses: writes fail, queries go on, and nothing that was acknowledged is lost."""

import os
import resource
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from bitseg.errors import DataDirectoryError, DiskFullError, NotDurableError
from bitseg.operations import Identify
from bitseg.storage import frames, journal
from bitseg.storage.directory import DataDirectory
from bitseg.values import ValueType
from tests.conftest import NOW_MS
from tests.storage.harness import Records, RefusingOs, batches, crash, opened, records_in, track, users


@pytest.fixture
def disk(monkeypatch):
    disk = RefusingOs()
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
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert survivor.user_count == 2


@pytest.fixture
def largest_file():
    """A function that limits the size of files, like a full disk."""
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
    with crash(tmp_path / "a", survivor_path) as survivor:
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
    assert "the changes are in the journal" in caplog.text
    largest_file(resource.RLIM_INFINITY)
    with opened(tmp_path / "a") as engine:
        assert (engine.user_count, engine.recovered.records) == (6, 8)


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


def test_Batch_that_fails_in_the_engine_is_not_in_the_journal(tmp_path, monkeypatch):
    with opened(tmp_path / "a") as engine:
        engine.ingest([track("u0")])
        with monkeypatch.context() as patch:
            patch.setattr("bitseg.index.index.Index.apply", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.ingest([track("u1")])
        with crash(tmp_path / "a", tmp_path / "b") as survivor:
            assert users(survivor) == ["u0"]
            assert survivor.recovered.records == 1


@pytest.fixture
def nobody():
    """A folder that belongs to an unprivileged user, as whom the test runs."""
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
    with pytest.raises(DataDirectoryError, match=r"cannot create a journal file .*: Permission denied"):
        engine.ingest([track("later")])
    assert engine.count("everyone").count == 6
    with pytest.raises(DataDirectoryError, match="Permission denied"):
        engine.backup(data / "backup")
    data.chmod(0o700)
    engine.ingest([track("later")])
    data.chmod(0o500)
    # The open journal accepts records; a snapshot needs another file.
    engine.ingest([track("latest")])
    with pytest.raises(DataDirectoryError, match=r"cannot write a snapshot .*: Permission denied"):
        engine.snapshot()
    data.chmod(0o700)
    engine.close()
    with opened(data) as engine:
        assert (engine.user_count, engine.verify()) == (8, [])


def test_Snapshot_whose_leftovers_cannot_be_removed_succeeds_and_logs_it(tmp_path, monkeypatch, caplog):
    with Records(tmp_path / "a") as records:
        records.add("first")
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "I/O error")))
            records.snapshot()
        assert "cannot delete obsolete files" in caplog.text
        assert records.store.version == 1
        assert (tmp_path / "a" / "journal-00000001").exists()
        records.add("second")
        records.snapshot()
        assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["lock", "manifest", "parts-00000003"]
    assert records_in(tmp_path / "a") == ["first", "second"]


def test_Names_of_directories_that_are_made_are_durable(tmp_path, monkeypatch):
    synced = []
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
        DataDirectory(tmp_path / "a" / "b").close()
    assert {str(tmp_path), str(tmp_path / "a")} <= set(synced)


def test_File_is_replaced_at_once_and_durably(tmp_path, monkeypatch):
    path, steps = tmp_path / "file", []
    path.write_bytes(b"before")
    real = os.rename
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: steps.append(os.readlink(f"/proc/self/fd/{descriptor}")))
        patch.setattr("os.rename", lambda old, new: (steps.append("rename"), real(old, new)))
        frames.publish(path, lambda file: file.write(b"after"))
    assert steps == [f"{path}.tmp", "rename", str(tmp_path)]
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"after", 0o600)
    with pytest.raises(ZeroDivisionError):
        frames.publish(path, lambda file: 1 / 0)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"after"
