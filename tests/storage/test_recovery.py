"""Acknowledged records are read again; damage to them is an error with file and byte, and changes nothing."""

import os
import shutil

import pytest

from bitseg.errors import (
    CorruptJournalError,
    CorruptSnapshotError,
    DataDirectoryError,
    InternalError,
    UnsupportedFormatError,
)
from bitseg.storage import frames, journal_format
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import Store
from tests.storage.harness import Records, frame_offsets, journals, opened, records_in

VALUES = [["record", number, "x" * (number * 37 % 600)] for number in range(12)]


@pytest.fixture
def data(tmp_path):
    """A directory with twelve acknowledged records in one file of a journal, as a killed process leaves it."""
    with Records(tmp_path / "data") as records:
        for value in VALUES:
            records.add(value)
    return tmp_path / "data"


@pytest.fixture
def unsynced(tmp_path):
    """Two files of six records each, none of which was made durable."""
    with Records(tmp_path / "data", SyncPolicy.NEVER) as records:
        for value in VALUES[:6]:
            records.add(value)
        records.store.cut()
        for value in VALUES[6:]:
            records.add(value)
        shutil.copytree(tmp_path / "data", tmp_path / "unsynced")
    return tmp_path / "unsynced"


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


# Each function damages a journal, given its path, its bytes, and the offsets of its frames.


def flip_a_bit_of_a_payload(whole, offsets):
    return overwritten(whole, offsets[4] + journal_format.HEADER_BYTES + 3, b"\xff")


def flip_a_bit_of_a_length(whole, offsets):
    return overwritten(whole, offsets[4] + 8, b"\xff")


def flip_a_bit_of_a_marker(whole, offsets):
    return overwritten(whole, offsets[4], bytes([whole[offsets[4]] ^ 1]))


def lose_a_sector(whole, offsets):
    first = offsets[5] // 512 * 512
    assert offsets[0] < first
    return overwritten(whole, first, bytes(512))


def lose_a_record(whole, offsets):
    return whole[: offsets[4]] + whole[offsets[5] :]


def repeat_a_record(whole, offsets):
    return whole[: offsets[4]] + whole[offsets[3] :]


def lose_the_opening(whole, offsets):
    return overwritten(whole, 0, bytes(offsets[0]))


def overwritten(whole, place, data):
    return whole[:place] + data + whole[place + len(data) :]


ACKNOWLEDGED = [
    flip_a_bit_of_a_payload,
    flip_a_bit_of_a_length,
    flip_a_bit_of_a_marker,
    lose_a_sector,
    lose_a_record,
    repeat_a_record,
    lose_the_opening,
]


@pytest.mark.parametrize("damage", ACKNOWLEDGED)
def test_Damage_to_acknowledged_records_is_an_error_and_changes_nothing(data, damage):
    (path,) = journals(data)
    path.write_bytes(damage(path.read_bytes(), frame_offsets(path)))
    before = files(data)
    with pytest.raises(CorruptJournalError, match=rf"{path.name} is damaged at byte \d+: "):
        Records(data)
    assert files(data) == before


@pytest.mark.parametrize("damage", [*ACKNOWLEDGED[:4], lose_the_opening])
def test_Damage_to_records_that_were_never_durable_is_cut_with_all_later_ones(unsynced, damage):
    first, second = journals(unsynced)
    whole, offsets = first.read_bytes(), frame_offsets(first)
    first.write_bytes(damage(whole, offsets))
    later = second.read_bytes()
    with Records(unsynced) as records:
        count = len(records.values)
        assert records.values == VALUES[:count]
        assert count == 0 if damage is lose_the_opening else 3 <= count <= 4
        saved = [unsynced / each.rpartition("/")[2] for each in records.recovered.torn_saved_as.split(", ")]
        assert records.recovered.torn_bytes == sum(each.stat().st_size for each in saved)
        assert saved[-1].read_bytes() == later
        if damage is not lose_the_opening:
            assert saved[0].read_bytes() == damage(whole, offsets)[offsets[count] :]
        records.add("later")
    assert records_in(unsynced) == [*VALUES[:count], "later"]


@pytest.mark.slow
def test_Journal_cut_at_every_byte_gives_the_last_whole_record(data, tmp_path):
    (path,) = journals(data)
    whole, ends = path.read_bytes(), frame_offsets(path)
    for length in range(len(whole) + 1):
        copy = tmp_path / "copy"
        shutil.copytree(data, copy)
        (copy / path.name).write_bytes(whole[:length])
        kept = max(sum(end <= length for end in ends) - 1, 0)
        first = ends[kept] if length >= ends[0] else 0
        with Records(copy) as records:
            assert records.values == VALUES[:kept]
            assert records.recovered.records == kept
            assert records.recovered.torn_bytes == length - first
            if length > first:
                (saved,) = copy.glob("*.torn")
                assert records.recovered.torn_saved_as == str(saved)
                assert saved.read_bytes() == whole[first:length]
            records.add("later")
        assert records_in(copy) == [*VALUES[:kept], "later"]
        shutil.rmtree(copy)


def test_Flipped_bit_is_an_error_or_changes_nothing(tmp_path):
    """Flips one bit in every byte of every file: the directory opens unchanged, or without its last record."""
    with Records(tmp_path / "data") as records:
        for value in VALUES[:3]:
            records.add(value)
        records.snapshot()
        for value in VALUES[3:7]:
            records.add(value)
    outcomes = {"error": 0, "same": 0, "shorter": 0}
    (journal,) = journals(tmp_path / "data")
    last = frame_offsets(journal)[-2]
    for path in (tmp_path / "data").iterdir():
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(overwritten(whole, place, bytes([whole[place] ^ 1 << place % 8])))
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "data", copy)
            try:
                with Records(copy) as records:
                    if records.values == VALUES[:7]:
                        outcomes["same"] += 1
                        continue
                # No later frame says that the last record was acknowledged.
                assert (path, records.values) == (journal, VALUES[:6])
                assert place >= last
                assert records.recovered.torn_bytes == len(whole) - last
                outcomes["shorter"] += 1
            except DataDirectoryError as error:
                outcomes["error"] += 1
                assert path.name in str(error)
                assert "byte" in str(error) or isinstance(error, UnsupportedFormatError)
            finally:
                shutil.rmtree(copy)
        path.write_bytes(whole)
    assert outcomes["error"] > 900
    assert outcomes["shorter"] == len(journal.read_bytes()) - last
    assert outcomes["same"] == 0


def test_File_of_a_later_process_proves_that_earlier_records_were_durable(data, tmp_path):
    with Records(data) as records:
        records.add("later")
    first, second = journals(data)
    whole, offsets = first.read_bytes(), frame_offsets(first)
    for length in (0, 1, offsets[3], offsets[-2] + 1, len(whole) - 1):
        first.write_bytes(whole[:length])
        before = files(data)
        with pytest.raises(CorruptJournalError, match=f"{first.name}|{second.name} .* continues after record 12"):
            Records(data)
        # The files stay unchanged, for an investigation.
        assert files(data) == before
    first.unlink()
    with pytest.raises(CorruptJournalError, match=rf"{second.name} .*continues after record 12, not 0; .* was durable"):
        Records(data)


def test_Later_file_that_reached_the_disk_first_is_saved_aside_with_the_torn_one(unsynced):
    first, second = journals(unsynced)
    later = second.read_bytes()
    first.unlink()
    with Records(unsynced) as records:
        assert records.values == []
        assert records.recovered.torn_saved_as == str(unsynced / f"{second.name}-0.torn")
        assert (unsynced / f"{second.name}-0.torn").read_bytes() == later
        records.add("later")
    assert records_in(unsynced) == ["later"]


@pytest.mark.parametrize("begun", [b"", b"BITS", b"BITSEGJ\x03", bytes(8), bytes(600), b"BITSEGJ\x03" + bytes(90)])
def test_File_without_a_record_is_cut(data, begun):
    path = journal_format.path_of(data, 9)
    path.write_bytes(begun)
    with Records(data) as records:
        assert records.values == VALUES
        assert records.recovered.torn_bytes == len(begun)
        records.add("later")
    assert records_in(data) == [*VALUES, "later"]


@pytest.mark.parametrize("begun", [b"PAR1", b"BITSEGM\x05", b"BITSEGJ\x63", b"x" * 100])
def test_Foreign_file_or_later_format_is_refused_and_stays(data, begun):
    path = journal_format.path_of(data, 9)
    path.write_bytes(begun)
    with pytest.raises(UnsupportedFormatError, match=path.name):
        Records(data)
    assert path.read_bytes() == begun


def test_Journal_of_another_workspace_is_refused(data, tmp_path):
    with Records(tmp_path / "other") as records:
        records.add("other")
    (path,) = journals(data)
    shutil.copy(path, tmp_path / "other" / path.name)
    with pytest.raises(CorruptJournalError, match="another workspace"):
        Records(tmp_path / "other")


def test_Payload_that_contains_frames_proves_nothing(tmp_path):
    """A sender of payloads does not know the workspace's id, from which the markers are computed."""
    forged = journal_format.frame(journal_format.marker("a guess"), b"payload", 2**40, 2**40)
    with Records(tmp_path / "data", SyncPolicy.NEVER) as records:
        records.add(["forged", forged * 40], is_synced=False)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
    (path,) = journals(tmp_path / "copy")
    path.write_bytes(overwritten(path.read_bytes(), 512, bytes(512)))
    assert records_in(tmp_path / "copy") == []


def test_Interrupted_recovery_can_be_repeated(unsynced, monkeypatch):
    """The first file is damaged. Its end is saved and the later file renamed, and then the recovery fails."""
    first, _ = journals(unsynced)
    offsets = frame_offsets(first)
    first.write_bytes(overwritten(first.read_bytes(), offsets[3], bytes(100)))
    with monkeypatch.context() as patch:
        patch.setattr("os.truncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(DataDirectoryError, match="cannot save the torn bytes of"):
            Records(unsynced)
    assert records_in(unsynced) == VALUES[:3]


def test_Recovered_records_are_durable_before_more_are_written(data, monkeypatch):
    """The records of a killed process may be only in the page cache."""
    synced = []
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
        Records(data).store.abandon()
    (path,) = journals(data)
    assert str(path) in synced
    assert str(data) in synced


# Missing files


def test_Missing_parts_are_named(data):
    next(data.glob("parts-*")).unlink()
    with pytest.raises(CorruptSnapshotError, match=r"parts-00000001 .*missing"):
        Records(data)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("gone", ["", "parts-00000001", "journal-00000001"])
def test_Missing_manifest_is_named_and_nothing_is_written_over_its_workspace(data, gone, create):
    (data / "manifest").unlink()
    if gone:
        (data / gone).unlink()
    before = files(data)
    with pytest.raises(DataDirectoryError, match=r"manifest is missing beside \d files of a workspace"):
        opened(data, create=create)
    assert files(data) == before


@pytest.mark.parametrize("create", [False, True])
def test_Incomplete_copy_is_an_error_and_is_not_overwritten(data, tmp_path, monkeypatch, create):
    class KilledError(BaseException):
        """Acts like a kill: nothing is cleaned up."""

    target = tmp_path / "copy"

    def killed(*_):
        shutil.copytree(target, tmp_path / "left")
        raise KilledError

    with Records(data) as records:
        records.snapshot()
        monkeypatch.setattr(frames, "put_in_place", killed)
        with pytest.raises(KilledError):
            records.store.copy_to(target)
        monkeypatch.undo()
        before = files(tmp_path / "left")
        assert "manifest" not in before
        with pytest.raises(DataDirectoryError, match=r"manifest is missing: a backup .* was interrupted"):
            opened(tmp_path / "left", create=create)
        assert files(tmp_path / "left") == before
        # A copy that fails without a kill leaves nothing, and can be repeated once the disk has room.
        shutil.rmtree(target)
        monkeypatch.setattr(frames, "write_beside", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(DataDirectoryError, match="No space left"):
            records.store.copy_to(target)
        assert files(target) == {}
        monkeypatch.undo()
        records.store.copy_to(target)
    assert records_in(target) == VALUES


def test_Copy_into_a_directory_with_files_is_refused(data, tmp_path):
    with Records(data) as records:
        records.snapshot()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("mine")
        with pytest.raises(DataDirectoryError, match=r"other is not empty: it has notes\.txt"):
            records.store.copy_to(tmp_path / "other")
        records.store.copy_to(tmp_path / "copy")
        with pytest.raises(DataDirectoryError, match="has a workspace already"):
            records.store.copy_to(tmp_path / "copy")
    assert files(tmp_path / "other") == {"notes.txt": b"mine"}


def test_Empty_workspace_is_made_again_after_an_interruption(tmp_path, monkeypatch):
    data = tmp_path / "data"

    def killed(*_):
        shutil.copytree(data, tmp_path / "left")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(frames, "put_in_place", killed)
    with pytest.raises(DataDirectoryError, match="cannot publish"):
        Records(data)
    monkeypatch.undo()
    assert sorted(files(tmp_path / "left")) == ["creating", "lock", "manifest.tmp", "parts-00000001"]
    with Records(tmp_path / "left") as records:
        records.add("first")
    assert records_in(tmp_path / "left") == ["first"]
    assert "creating" not in files(tmp_path / "left")


# Contents


def test_Unexpected_contents_are_damage_to_their_file(data):
    for error in (ValueError("no"), DataDirectoryError("no")):
        for kind, name in ((CorruptSnapshotError, "parts-00000001"), (CorruptJournalError, "journal-00000001")):
            store = Store.open(data, SyncPolicy.ALWAYS)

            def fail(*_, error=error):
                raise error

            ways = [fail, lambda *_: None] if kind is CorruptSnapshotError else [lambda *_: None, fail]
            with pytest.raises(kind, match=rf"{name} is damaged at byte \d+: unexpected contents .*no"):
                store.recover(*ways, lambda done, total: None)
            store.abandon()


@pytest.mark.parametrize("error", [TypeError, AttributeError, AssertionError, KeyError, IndexError, RuntimeError])
def test_Bug_in_the_reading_code_is_not_damage(data, error):
    """A bug must not be reported as damage, because the operator would then discard data."""
    before = files(data)

    def fail(*_):
        raise error("no")

    for ways in ([fail, lambda *_: None], [lambda *_: None, fail]):
        store = Store.open(data, SyncPolicy.ALWAYS)
        with pytest.raises(InternalError, match="this is a bug of bitseg, and the files are unchanged") as raised:
            store.recover(*ways, lambda done, total: None)
        assert not isinstance(raised.value, DataDirectoryError)
        store.abandon()
    assert files(data) == before
