"""Contents that nobody wrote, with checksums that match, are damage of their file: in parts and in records."""

import random
import shutil
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bitseg import Delete, Engine, Identify, Track
from bitseg.clock import FixedClock
from bitseg.errors import CorruptJournalError, CorruptSnapshotError, SegmentError
from bitseg.storage import frames, journal_format, snapshot
from bitseg.storage.snapshot import Part
from bitseg.values import ValueType
from tests.conftest import NOW_MS
from tests.storage.harness import frame_offsets, opened

DATA = Path(__file__).parents[1] / "data"
VALUES = {"n": 1, "b": True, "d": "2024-01-01", "t": "2024-01-01T10:00:00Z", "l": ["a", "é"], "g": {"lat": 1, "lon": 2}}
FOREIGN = [
    *(None, True, -1, 2**63 - 1, -(2**63), 1.5, "", "x", "\ud800", b"", b"\xff" * 16, [], {}, [1], [None], {"a": 1}),
    *(np.empty(0), np.array(5), np.zeros((2, 2), np.int32), np.array([-1, 5], np.int32), np.array([9], np.uint16)),
]
QUERIES = [
    *('s = "v1"', "n > 1", "b = true", "d > 2023-01-01", 'l has "a"', "g within 10 km of (1, 2)", "null is not set"),
    *('did "Paid" where s = "v1"', 'did "Paid" with sum(n) > 1', 'in segment "t"', 'in list "m"', "did any event"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A directory with parts of every section, and records of every kind."""
    path = tmp_path_factory.mktemp("whole")
    with opened(path / "source") as engine:
        for stage in range(2):
            engine.ingest_all(
                [
                    *(
                        Identify(f"u{n}{stage}", {**VALUES, "s": f"v{n}", "null": None}, NOW_MS, f"i{n}{stage}")
                        for n in range(4)
                    ),
                    *(Track(f"u{n}{stage}", "Paid", {**VALUES, "s": f"v{n}"}, NOW_MS) for n in range(4)),
                    Delete(f"u0{stage}"),
                ],
                (),
                producer="shop",
                sequence=stage + 1,
            )
            engine.catalog.save_list("l", ["u1", "later"], labels={"a": "b"})
            engine.catalog.save_segment("s", 'in list "l" and n > 1')
            engine.catalog.save_segment("t", 'in segment "s"')
            if not stage:
                engine.snapshot()
        engine.catalog.rename_list("l", "m")
        engine.declare("declared", ValueType.LIST, "Seen")
        shutil.copytree(path / "source", path / "whole", ignore=shutil.ignore_patterns("lock"))
    return path / "whole"


def places(value, place=()):
    """Where something is in plain values."""
    yield place
    pairs = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, below in pairs:
        yield from places(below, (*place, key))


def changed(value, place, change):
    """Plain values with something else at a place."""
    if not place:
        return change(value)
    key, *rest = place
    copy = value.copy()
    copy[key] = changed(value[key], rest, change)
    return copy


def mutated(value, source):
    """Plain values of which one was changed."""

    def change(old):
        if isinstance(old, np.ndarray) and source.random() < 0.6:
            return source.choice(
                [old[:-1], np.concatenate([old, old]), old.astype(np.int64) + 1, -old, old.reshape(-1, 1)]
            )
        if isinstance(old, bytes) and old[:1] in (b"\x91", b"\x94") and source.random() < 0.7:
            # A change of a batch, or digests that begin as one.
            with suppress(ValueError):
                return frames.pack(mutated(frames.unpack(old), source))
        if isinstance(old, list | dict) and old and source.random() < 0.4:
            copy = old.copy()
            copy.pop(source.choice(range(len(old)) if isinstance(old, list) else list(old)))
            return copy
        return source.choice(FOREIGN)

    return changed(value, source.choice(list(places(value))), change)


def mutate_a_part(folder, source):
    manifest = snapshot.read_manifest(folder)
    parts = [[key, revision, state] for key, revision, state, _ in snapshot.read_parts(folder, manifest)]
    chosen = source.choice(parts)
    if source.random() < 0.1:
        parts.remove(chosen)
    else:
        chosen[2] = mutated(chosen[2], source)
    wanted = replace(manifest, generation=manifest.generation + 1, parts={})
    snapshot.publish(folder, wanted, [Part(key, revision, lambda state=state: state) for key, revision, state in parts])


def mutate_a_record(folder, source):
    path = max(folder.glob("journal-*"))
    data, offsets = path.read_bytes(), frame_offsets(path)
    marker = journal_format.marker(snapshot.read_manifest(folder).workspace["id"])
    chosen = source.randrange(len(offsets) - 1)
    whole = data[: offsets[0]]
    for number, (start, end) in enumerate(pairwise(offsets)):
        header, payload = journal_format.header(marker, data, start), data[start + journal_format.HEADER_BYTES : end]
        if number == chosen:
            payload = frames.pack(mutated(frames.unpack(payload), source))
        whole += journal_format.frame(marker, payload, header.record, header.durable)
    path.write_bytes(whole)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mutate", [mutate_a_part, mutate_a_record])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_Unexpected_contents_are_damage_or_do_no_harm(whole, tmp_path, mutate, seed):
    source, refused = random.Random(seed), 0
    for number in range(60):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        mutate(folder, source)
        try:
            engine = Engine.open(folder, clock=FixedClock(NOW_MS), create=False)
        except (CorruptSnapshotError, CorruptJournalError):
            refused += 1
            continue
        with engine:
            for query in QUERIES:
                try:
                    engine.count(query)
                except SegmentError:
                    continue
            for page in engine.members("everyone").pages:
                for user in page:
                    engine.user(user)
            for _, _, blocks in engine.tables():
                for block in blocks:
                    block.check()
            engine.ingest([Identify("u", {"n": 2}, NOW_MS), Track("u", "Paid", {"n": 1}, NOW_MS), Delete("u10")])
        Engine.open(folder, clock=FixedClock(NOW_MS)).close()
        shutil.rmtree(folder)
    assert refused > 20


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["format-3", "format-4"])
def test_Unexpected_records_of_earlier_formats_are_damage_or_do_no_harm(tmp_path, name):
    source, refused = random.Random(1), 0
    for number in range(100):
        folder = shutil.copytree(DATA / name, tmp_path / str(number))
        path = max(folder.glob("journal-*"))
        whole, place, payloads = path.read_bytes(), frames.MAGIC_BYTES, []
        with path.open("rb") as file:
            while place < len(whole):
                payloads.append(frames.read(file, place, len(whole)))
                place += frames.HEADER_BYTES + len(payloads[-1])
        chosen = source.randrange(1, len(payloads))
        payloads[chosen] = frames.pack(mutated(frames.unpack(payloads[chosen]), source))
        path.write_bytes(whole[: frames.MAGIC_BYTES] + b"".join(frames.header(each) + each for each in payloads))
        try:
            Engine.open(folder, clock=FixedClock(NOW_MS)).close()
        except CorruptJournalError:
            refused += 1
        else:
            Engine.open(folder, clock=FixedClock(NOW_MS)).close()
        shutil.rmtree(folder)
    assert refused > 40


def test_Snapshot_without_the_entry_of_a_list_is_damage_also_where_no_record_follows(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    for journal in (tmp_path / "a").glob("journal-*"):
        journal.unlink()
    manifest = snapshot.read_manifest(tmp_path / "a")
    parts = [
        Part(key, revision, lambda state=state: state)
        for key, revision, state, _ in snapshot.read_parts(tmp_path / "a", manifest)
        if key != ("catalog", "list")
    ]
    snapshot.publish(tmp_path / "a", replace(manifest, generation=manifest.generation + 1, parts={}), parts)
    with pytest.raises(CorruptSnapshotError, match="manifest is damaged at byte"):
        opened(tmp_path / "a")


@pytest.mark.parametrize("values", [["x"], "x"], ids=["lists", "strings"])
def test_Dictionary_of_which_all_entries_are_gone_is_exported(tmp_path, values):
    with opened(tmp_path / "a") as engine:
        engine.ingest([Track("u", "E", {"l": values}, NOW_MS), Track("v", "E", {}, NOW_MS), Delete("u")])
    with opened(tmp_path / "a") as engine:
        for _, _, blocks in engine.tables():
            for block in blocks:
                block.check()
