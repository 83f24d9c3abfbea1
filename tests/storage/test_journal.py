"""Records are on disk before they are acknowledged, whatever refuses or interrupts the writes."""

import hashlib
import os
import shutil
import sys
import threading
from contextlib import suppress

import google_crc32c
import msgpack
import pytest

from bitseg.errors import (
    BitsegError,
    DataDirectoryError,
    DiskFullError,
    InternalError,
    InvalidArgumentError,
    NotDurableError,
)
from bitseg.storage import frames, journal, journal_format, snapshot
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import NullStore, Store
from tests.storage.harness import Records, RefusingOs, frame_offsets, journals, records_in


@pytest.fixture
def disk(monkeypatch):
    disk = RefusingOs()
    monkeypatch.setattr(journal, "os", disk)
    return disk


def killed(records, copy):
    """The records that another process reads after this one is killed."""
    shutil.copytree(records.store.path, copy)
    return records_in(copy)


def test_Journal_is_read_by_its_documented_layout(tmp_path):
    """Reads the frames by the module's description, without its code."""
    with Records(tmp_path / "a") as records:
        for value in ("first", ["second", 2]):
            records.add(value)
        workspace = records.store.workspace["id"]
        (path,) = journals(tmp_path / "a")
        data = path.read_bytes()
    assert (path.name, data[:8]) == ("journal-00000001", b"BITSEGJ\x03")
    length = int.from_bytes(data[8:12], "little")
    assert msgpack.unpackb(data[20 : 20 + length]) == {"workspace": workspace, "version": 0, "durable": 0}
    place = 20 + length
    marker = hashlib.blake2b(workspace.encode(), digest_size=8, person=b"journal").digest()
    for number, value in enumerate(("first", ["second", 2]), 1):
        length, checksum, record, durable, of_header = (
            int.from_bytes(data[place + first : place + last], "little")
            for first, last in ((8, 12), (12, 16), (16, 24), (24, 32), (32, 36))
        )
        payload = data[place + 36 : place + 36 + length]
        assert data[place : place + 8] == marker
        assert (record, durable, msgpack.unpackb(payload)) == (number, number - 1, value)
        assert (checksum, of_header) == (
            google_crc32c.value(payload),
            google_crc32c.value(data[place : place + 32]),
        )
        place += 36 + length
    assert place == len(data)


@pytest.mark.parametrize("policy", SyncPolicy)
def test_Every_policy_keeps_what_a_killed_process_wrote(tmp_path, policy):
    with Records(tmp_path / "a", policy) as records:
        for number in range(8):
            records.add(number)
        assert killed(records, tmp_path / "b") == list(range(8))


@pytest.mark.parametrize(("policy", "durable"), [("always", [0, 1, 2, 3]), ("never", [0, 0, 0, 3])])
def test_Frames_say_what_was_durable_when_they_were_written(tmp_path, policy, durable):
    with Records(tmp_path / "a", SyncPolicy(policy)) as records:
        for number in range(3):
            records.add(number)
        records.store.flush()
        records.add(3)
    (path,) = journals(tmp_path / "a")
    data, offsets = path.read_bytes(), frame_offsets(path)
    assert [int.from_bytes(data[place + 24 : place + 32], "little") for place in offsets[:-1]] == durable


def test_Interval_makes_records_durable_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_INTERVAL_SECONDS", 0.02)
    synced = threading.Event()
    with Records(tmp_path / "a", SyncPolicy.INTERVAL) as records, monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: synced.set())
        records.add("a")
        assert synced.wait(10)


def test_Threads_that_wait_share_an_fsync(tmp_path, disk):
    count, gate = [0], threading.Event()

    def slow(descriptor):
        count[0] += 1
        gate.wait(30)
        os.fsync(descriptor)

    with Records(tmp_path / "a") as records:
        records.add("first")
        disk.fsync = slow
        threads = [threading.Thread(target=records.add, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        while records.store.last_record < 21:
            threading.Event().wait(0.01)
        gate.set()
        for thread in threads:
            thread.join()
        assert count[0] <= 4
        del disk.fsync


@pytest.mark.parametrize(("code", "error"), [(28, DiskFullError), (5, DataDirectoryError)])
@pytest.mark.parametrize("is_first", [True, False])
def test_Refused_write_changes_nothing_and_later_ones_succeed(tmp_path, disk, code, error, is_first):
    with Records(tmp_path / "a") as records:
        if not is_first:
            records.add("first")
        before = records.store.last_record, records.store.journal_bytes
        disk.failing = {"write": code}
        for _ in range(3):
            with pytest.raises(error):
                records.add("refused")
        assert (records.store.last_record, records.store.journal_bytes) == before
        disk.failing = {}
        records.add("second")
        assert killed(records, tmp_path / "b") == (["second"] if is_first else ["first", "second"])


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_Part_of_a_record_is_cut_before_the_next(tmp_path, disk, share, error):
    with Records(tmp_path / "a") as records:
        records.add("first")

        def interrupted(descriptor, data):
            os.write(descriptor, data[: int(len(data) * share)])
            raise error

        disk.write = interrupted
        with pytest.raises((BitsegError, type(error))):
            records.add("interrupted")
        del disk.write
        records.add("second")
        assert killed(records, tmp_path / "b") == ["first", "second"]


def test_Journal_that_cannot_be_cut_refuses_records_until_a_snapshot(tmp_path, disk):
    with Records(tmp_path / "a") as records:
        records.add("first")

        def half(descriptor, data):
            os.write(descriptor, data[:5])
            raise OSError(28, "No space left on device")

        disk.write = half
        disk.failing = {"ftruncate": 5}
        with pytest.raises(DiskFullError):
            records.add("refused")
        disk.failing = {}
        del disk.write
        with pytest.raises(NotDurableError):
            records.add("refused")
        assert records.store.has_failed
        assert killed(records, tmp_path / "b") == ["first"]
        records.snapshot()
        records.add("second")
        assert not records.store.has_failed
    assert records_in(tmp_path / "a") == ["first", "second"]


def test_Failed_fsync_never_counts_as_successful(tmp_path, disk):
    """The record is not acknowledged, further ones are refused, and a snapshot heals the journal."""
    with Records(tmp_path / "a") as records:
        records.add("first")
        disk.failing = {"fsync": 5}
        with pytest.raises(NotDurableError, match="Input/output error"):
            records.add("unsure")
        disk.failing = {}
        # The disk works again, but earlier writes may still be lost.
        for attempt in (lambda: records.add("refused"), lambda: records.store.sync(1), records.store.flush):
            with pytest.raises(NotDurableError):
                attempt()
        records.snapshot()
        records.add("second")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    with Records(tmp_path / "b") as survivor:
        assert survivor.values == ["first", "unsure", "second"]
        assert survivor.recovered.records == 1


def test_Failed_fsync_after_the_cut_is_not_healed_by_its_snapshot(tmp_path, disk):
    """The snapshot lacks the record; only the next one has it."""
    with Records(tmp_path / "a") as records:
        records.add("first")
        cut, parts = records.store.cut(), records.parts()
        disk.failing = {"fsync": 5}
        with pytest.raises(NotDurableError):
            records.add("unsure")
        disk.failing = {}
        records.store.publish(cut, parts, purge=False)
        with pytest.raises(NotDurableError):
            records.add("refused")
        records.snapshot()
        records.add("second")
    assert records_in(tmp_path / "a") == ["first", "unsure", "second"]


def test_Interrupted_fsync_never_counts_as_successful_and_blocks_nobody(tmp_path, disk):
    with Records(tmp_path / "a") as records:
        records.add("first")
        entered = threading.Event()

        def interrupted(descriptor):
            entered.set()
            while records.store.last_record < 3:
                threading.Event().wait(0.01)
            raise KeyboardInterrupt

        disk.fsync = interrupted
        outcomes = []

        def add():
            entered.wait(10)
            try:
                records.add("other")
            except NotDurableError:
                outcomes.append("refused")

        thread = threading.Thread(target=add)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            records.add("interrupted")
        thread.join(10)
        assert outcomes == ["refused"]
        del disk.fsync


class Interrupt:
    """Raises KeyboardInterrupt before the n-th executed line of the journal's code."""

    def __init__(self, line):
        self.left = line

    def __enter__(self):
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, argument):
        if frame.f_code.co_filename not in (journal.__file__, journal_format.__file__):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace


def append(records, payload):
    records.store.append(payload)


def sync(records, payload):
    records.store.sync(records.store.append(payload))


def cut(records, payload):
    records.store.cut()


def take_snapshot(records, payload):
    records.snapshot()


def interruptions(tmp_path, step, payload, first):
    """Stores with some records, in which a step was interrupted at every one of its lines."""
    for line in range(1, 200):
        with Records(tmp_path / f"{line}") as records:
            for value in first:
                records.add(value)
            interrupt = Interrupt(line)
            with suppress(KeyboardInterrupt), interrupt:
                step(records, payload)
            yield records
        if interrupt.left > 0:
            assert line > 5
            return
    raise AssertionError("the step did not end")


@pytest.fixture
def fast(monkeypatch):
    """Replaces fsync, because the test would make hundreds of them."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("first", [[], ["first", "second"]])
@pytest.mark.parametrize("step", [append, sync, cut, take_snapshot])
def test_Step_interrupted_anywhere_leaves_a_journal_that_is_consistent_or_refuses_records(tmp_path, fast, step, first):
    for records in interruptions(tmp_path, step, frames.pack("interrupted"), first):
        path, refused = records.store.path, False
        records.values += ["interrupted"] * (records.store.last_record - len(first))
        try:
            records.add("later")
        except DataDirectoryError:
            refused = True
        survivors = killed(records, path.with_name(f"{path.name}-killed"))
        if not refused:
            assert survivors == records.values
            continue
        # The acknowledged records are there, and perhaps the interrupted one.
        assert survivors in (first, [*first, "interrupted"], [*records.values, "later"])
        if records.store.last_record > len(records.values):
            records.values.append("later")
        # A snapshot heals the journal.
        records.snapshot()
        records.add("latest")
        assert killed(records, path.with_name(f"{path.name}-again")) == records.values


def test_Withdrawal_interrupted_anywhere_leaves_a_journal_that_refuses_records(tmp_path, fast):
    payload = frames.pack("withdrawn")

    for line in range(1, 50):
        with Records(tmp_path / f"{line}") as records:
            records.add("first")
            records.store.append(payload)
            interrupt = Interrupt(line)
            with suppress(KeyboardInterrupt), interrupt:
                records.store.withdraw(payload)
            if line > 1:
                with pytest.raises((InternalError, NotDurableError)):
                    records.add("later")
                assert killed(records, tmp_path / f"{line}-killed") in (["first"], ["first", "withdrawn"])
        if interrupt.left > 0:
            assert records_in(tmp_path / f"{line}") == ["first"]
            return
    raise AssertionError("the step did not end")


def test_Withdrawn_record_is_gone_and_later_ones_are_refused(tmp_path):
    with Records(tmp_path / "a") as records:
        records.add("first")
        payload = frames.pack("withdrawn")
        records.store.append(payload)
        records.store.withdraw(payload)
        assert records.store.last_record == 1
        with pytest.raises(InternalError, match="was withdrawn"):
            records.add("refused")
        # Earlier records can be acknowledged.
        records.store.sync(1)
        assert not records.store.has_failed
    with Records(tmp_path / "a") as records:
        assert records.values == ["first"]
        records.add("second")
    assert records_in(tmp_path / "a") == ["first", "second"]


def test_Record_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MAX_PAYLOAD_BYTES", 100)
    with Records(tmp_path / "a") as records:
        with pytest.raises(InvalidArgumentError, match="too many for one record"):
            records.add("x" * 100)
        records.add("short")
    assert records_in(tmp_path / "a") == ["short"]


# Upgrades


def older(path, values, from_snapshot):
    """A directory of a format without record numbers, whose manifest counts records."""
    with Records(path) as records:
        for value in values[:from_snapshot]:
            records.add(value)
        records.snapshot()
        workspace = records.store.workspace
    manifest = snapshot.read_manifest(path)
    contents = {
        "generation": manifest.generation,
        "workspace": dict(workspace),
        "journal": manifest.journal,
        "records": manifest.version,
        "parts": [[list(key), *stored] for key, stored in manifest.parts.items()],
    }
    payload = frames.pack(contents)
    (path / "manifest").write_bytes(frames.magic("M", 4) + frames.header(payload) + payload)
    payloads = [frames.pack({"workspace": workspace["id"], "first_record": from_snapshot})]
    payloads += [frames.pack(value) for value in values[from_snapshot:]]
    data = b"".join(frames.header(payload) + payload for payload in payloads)
    journal_format.path_of(path, manifest.journal).write_bytes(frames.magic("J", 2) + data)


def test_Older_directory_is_read_and_numbered_by_its_first_snapshot(tmp_path):
    older(tmp_path / "a", ["one", "two", "three"], 2)
    with Records(tmp_path / "a") as records:
        assert records.values == ["one", "two", "three"]
        assert (records.recovered.records, records.store.last_record, records.store.needs_upgrade) == (1, 3, True)
        # Three records led to version 40.
        records.store.publish(records.store.cut(), records.parts(), version=40, purge=False)
        assert (records.store.version, records.store.last_record, records.store.needs_upgrade) == (40, 40, False)
        assert records.add("four") == 41
    numbers = []
    store = Store.open(tmp_path / "a", SyncPolicy.ALWAYS)
    store.recover(lambda *_: None, lambda number, value: numbers.append((number, value)), lambda done, total: None)
    assert (store.version, store.needs_upgrade, numbers) == (40, False, [(41, "four")])
    store.close()


def test_Older_directory_goes_on_without_an_upgrade(tmp_path):
    """A process killed before its snapshot leaves records of the current format after older ones."""
    older(tmp_path / "a", ["one", "two", "three"], 2)
    with Records(tmp_path / "a") as records:
        assert records.add("four") == 4
    with Records(tmp_path / "a") as records:
        assert records.values == ["one", "two", "three", "four"]
        assert records.store.needs_upgrade
        records.store.publish(records.store.cut(), records.parts(), version=40, purge=False)
    with Records(tmp_path / "a") as records:
        assert (records.values, records.store.last_record) == (["one", "two", "three", "four"], 40)


def test_Older_journal_with_a_torn_end_loses_only_its_end(tmp_path):
    for number, (cut, added) in enumerate([(-1, b""), (-600, bytes(600)), (0, bytes(100)), (0, b"\x05")]):
        path = tmp_path / f"{number}"
        older(path, ["one", "two", "x" * 2_000], 1)
        (file,) = journals(path)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) + cut] + added)
        with Records(path) as records:
            assert records.values == ["one", "two", "x" * 2_000][: 3 if cut == 0 else 2]
            assert records.recovered.torn_bytes > 0
    older(tmp_path / "damaged", ["one", "two", "x" * 2_000], 1)
    (file,) = journals(tmp_path / "damaged")
    file.write_bytes(file.read_bytes()[:-1] + b"y")
    with pytest.raises(DataDirectoryError, match="the checksum does not match"):
        Records(tmp_path / "damaged")


def test_Snapshot_that_renumbers_records_has_the_number_of_the_last(tmp_path):
    older(tmp_path / "a", ["one"], 1)
    with Records(tmp_path / "a") as records:
        cut, parts = records.store.cut(), records.parts()
        records.add("two")
        with pytest.raises(InternalError):
            records.store.publish(cut, parts, version=40, purge=False)
    with Records(tmp_path / "b") as records:
        records.add("one")
        with pytest.raises(InternalError, match="a snapshot of version 40 was cut at record 1"):
            records.store.publish(records.store.cut(), records.parts(), version=40, purge=False)


def test_Store_of_a_workspace_in_memory_counts_records_and_stores_nothing(tmp_path):
    store, names = NullStore(7), {name for name in dir(Store) if not name.startswith("_")} - {"create", "open"}
    assert {name for name in dir(store) if not name.startswith("_")} == names
    assert store.append(b"payload") == store.last_record == 8
    store.sync(8)
    store.flush()
    store.withdraw(b"payload")
    assert (store.last_record, store.cut().version, store.has_failed, store.needs_upgrade) == (7, 7, False, False)
    with pytest.raises(InvalidArgumentError, match="in memory"):
        store.copy_to(tmp_path / "copy")
    store.close()
