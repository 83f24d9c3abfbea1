"""Data directories that earlier versions wrote are read by this one.

`data/format-N` was written by the version that introduced format N and is never written again. To make one for another
format, run `python -m tests.test_upgrade FOLDER` with the version that introduces it.
"""

import shutil
import sys
from pathlib import Path

import pytest

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.entries import Details
from bitseg.operations import Delete, Identify, Track
from bitseg.storage import snapshot
from bitseg.values import ValueType
from tests.conftest import NOW_MS

FOLDERS = sorted(Path(__file__).with_name("data").glob("format-*"))
VALUES = {"s": "é", "n": 0.1, "b": False, "d": "2024-01-01", "t": "2024-01-01T10:00:00Z", "l": ["a", "b"]}


def write(folder):
    """A workspace with a bit of everything: a snapshot, a second on top of it, and a journal after both."""
    source = folder.with_name("written")
    engine = Engine.create(
        source, WorkspaceSettings("Europe/Madrid", 400), clock=FixedClock(NOW_MS), default_segments=False
    )
    for stage in range(3):
        engine.ingest(
            [
                *(Identify(f"u{number}", {**VALUES, "n": number + stage / 4}, NOW_MS) for number in range(8)),
                Identify("v", {"g": {"lat": 40.4, "lon": -3.7}, f"stage{stage}": None}, NOW_MS),
                *(
                    Track(f"u{number}", "Bought", {**VALUES, "n": number}, NOW_MS - number * 86_400_000)
                    for number in range(8)
                ),
                Track("u1", "Seen", {}, NOW_MS, f"message-{stage}"),
                Delete(f"u{stage}"),
            ]
        )
        details = {"description": f"of stage {stage}", "labels": {"stage": str(stage)}}
        engine.catalog.create_segment(f"segment {stage}", f'did "Bought" where n >= {stage}', **details)
        engine.catalog.create_list(f"list {stage}", ["u6", "u7", f"u{stage}"], **details)
        engine.declare(f"declared {stage}", ValueType.GEO, "Seen")
        engine.ingest_all([], (), producer="shop", sequence=stage + 1)
        if stage < 2:
            engine.snapshot()
    # Copied rather than closed, which would take a last snapshot.
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("lock"))
    engine.close()
    shutil.rmtree(source)


def test_There_is_a_directory_of_every_format_that_is_read():
    assert [folder.name for folder in FOLDERS] == [f"format-{number}" for number in snapshot.READABLE]
    assert snapshot.READABLE[-1] == snapshot.FORMAT


def test_Directory_of_this_format_is_read_by_the_next(tmp_path, monkeypatch):
    write(tmp_path / "data")
    monkeypatch.setattr(snapshot, "FORMAT", snapshot.FORMAT + 1)
    monkeypatch.setattr(snapshot, "READABLE", (*snapshot.READABLE, snapshot.FORMAT))
    for records in (5, 0):
        with Engine.open(tmp_path / "data", create=False, clock=FixedClock(NOW_MS)) as engine:
            assert (engine.recovered.records, engine.user_count, engine.event_count) == (records, 8, 19)
            assert engine.count('in list "list 2"').count == 2


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_Directory_of_every_format_is_read(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "data")
    for is_again in (False, True):
        with Engine.open(tmp_path / "data", create=False, clock=FixedClock(NOW_MS)) as engine:
            assert engine.verify() == []
            assert engine.workspace == WorkspaceSettings("Europe/Madrid", 400)
            assert engine.recovered.records == (0 if is_again else 5)
            assert (engine.user_count, engine.event_count, engine.version) == (8, 19, 15)
            assert engine.last_sequence("shop") == 3
            assert list(engine.catalog.segments) == ["segment 0", "segment 1", "segment 2"]
            sizes = {name: each.size for name, each in engine.catalog.lists.items()}
            assert sizes == {"list 0": 3, "list 1": 3, "list 2": 3}
            assert sorted(field.name for field in engine.schema() if field.declared) == [
                f"declared {n}" for n in range(3)
            ]
            # Before format 4 there were none.
            details = Details() if folder.name == "format-3" else Details("of stage 2", {"stage": "2"}, NOW_MS, NOW_MS)
            assert engine.catalog.get_segment("segment 2").details == details
            assert engine.catalog.get_list("list 2").details == details
            assert engine.count('in segment "segment 2" and n >= 6.5').count == 2
            assert engine.count('in list "list 2"').count == 2
            assert list(engine.members('did "Seen"').pages) == [["u1"]]
            assert list(engine.members('s = "é" and b = false and d = 2024-01-01').pages) == [
                ["u3", "u4", "u5", "u6", "u7", "u0", "u1"]
            ]
            assert engine.count('l has all ("a", "b")').count == 7
            assert engine.count("g within 10 km of (40.4, -3.7)").count == 1
            duplicates = engine.ingest([Track("u1", "Seen", {}, NOW_MS, f"message-{stage}") for stage in range(3)])
            assert (duplicates.duplicates, duplicates.accepted) == (3, 0)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
