"""Snapshots come back as they were, or are refused with file and offset."""

import numpy as np
import pytest

from bitseg.errors import (
    CorruptSnapshotError,
    DataDirectoryError,
    DirectoryLockedError,
    UnsupportedFormatError,
)
from bitseg.storage import snapshot
from bitseg.storage.directory import DataDirectory

PARTS = [
    ("workspace", {"timezone": "UTC"}),
    ("column", {"data": np.arange(5, dtype=np.int32), "points": np.ones((2, 2)), "empty": np.empty(0, np.uint32)}),
    ("text", ["é", None, True, 1.5]),
]


def restore(folder):
    return [
        (kind, {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()})
        if isinstance(state, dict)
        else (kind, state)
        for kind, state in snapshot.read(folder)
    ]


def test_Snapshot_comes_back(tmp_path):
    snapshot.write(tmp_path, PARTS)
    kinds = [kind for kind, _ in snapshot.read(tmp_path)]
    assert kinds == ["workspace", "column", "text"]
    column = dict(snapshot.read(tmp_path))["column"]
    assert column["data"].dtype == np.int32
    assert column["points"].shape == (2, 2)
    assert restore(tmp_path)[1][1]["data"] == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == [snapshot.FILE_NAME]


def test_Nothing_is_read_where_there_is_no_snapshot(tmp_path):
    assert list(snapshot.read(tmp_path)) == []


def test_Failed_write_leaves_the_snapshot_before_it(tmp_path):
    snapshot.write(tmp_path, PARTS)

    def failing():
        yield PARTS[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(DataDirectoryError, match="No space"):
        snapshot.write(tmp_path, failing())
    assert len(restore(tmp_path)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [snapshot.FILE_NAME]


def test_Every_cut_is_refused(tmp_path):
    snapshot.write(tmp_path, PARTS)
    path = tmp_path / snapshot.FILE_NAME
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((CorruptSnapshotError, UnsupportedFormatError), match=snapshot.FILE_NAME):
            list(snapshot.read(tmp_path))


def test_Every_flipped_bit_is_refused(tmp_path):
    snapshot.write(tmp_path, PARTS)
    path = tmp_path / snapshot.FILE_NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises((CorruptSnapshotError, UnsupportedFormatError), match=snapshot.FILE_NAME):
            list(snapshot.read(tmp_path))


def test_Later_format_is_refused_with_its_number(tmp_path):
    (tmp_path / snapshot.FILE_NAME).write_bytes(b"BITSEG\x00\x09")
    with pytest.raises(UnsupportedFormatError, match="format 9"):
        list(snapshot.read(tmp_path))


def test_Directory_has_one_owner(tmp_path):
    with DataDirectory(tmp_path), pytest.raises(DirectoryLockedError, match="another process"):
        DataDirectory(tmp_path)
    DataDirectory(tmp_path).close()


def test_Path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="cannot use"):
        DataDirectory(tmp_path / "file")
