"""Parts and manifests come back as they were, or are refused with file and byte."""

import numpy as np
import pytest

from bitseg.errors import CorruptSnapshotError, DataDirectoryError, DirectoryLockedError, UnsupportedFormatError
from bitseg.storage import snapshot
from bitseg.storage.directory import DataDirectory
from bitseg.storage.snapshot import Manifest, Part

COLUMN = {"data": np.arange(5, dtype=np.int32), "points": np.ones((2, 2)), "empty": np.empty(0, np.uint32)}


def publish(folder, number=1, before=None):
    parts = [Part(("column", 1), 1, lambda: COLUMN), Part(("text",), number, lambda: ["é", None, True, 1.5, number])]
    return snapshot.publish(folder, Manifest(number, {"id": "x"}, 1, 0, before or {}), parts)


def read(folder):
    manifest = snapshot.read_manifest(folder)
    return {key: state for key, _, state, _ in snapshot.read_parts(folder, manifest)}


def test_Snapshot_comes_back_and_the_next_one_has_what_did_not_change(tmp_path):
    first = publish(tmp_path)
    second = publish(tmp_path, 2, first.parts)
    assert snapshot.read_manifest(tmp_path) == second
    assert [stored.file for stored in second.parts.values()] == [1, 2]
    found = read(tmp_path)
    assert list(found) == [("column", 1), ("text",)]
    assert found["text",] == ["é", None, True, 1.5, 2]
    for name, data in COLUMN.items():
        assert found["column", 1][name].dtype == data.dtype
        assert found["column", 1][name].tolist() == data.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest", "parts-00000001", "parts-00000002"]


def test_Nothing_is_read_where_there_is_no_snapshot(tmp_path):
    assert snapshot.read_manifest(tmp_path) is None


def test_Every_cut_and_every_flipped_bit_is_refused(tmp_path):
    publish(tmp_path)
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
