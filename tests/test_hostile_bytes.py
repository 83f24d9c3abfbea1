"""Whatever bytes are read, from disk or over the network: a documented error, or an answer, in bounded memory."""

import os
import shutil
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from random import Random

import google_crc32c
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.calendar import Calendar
from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.errors import DataDirectoryError, ImportFileError, InvalidArgumentError
from bitseg.formats.base import ColumnMapping
from bitseg.formats.csv import read_csv, read_user_ids
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load
from bitseg.formats.parquet import exported_mapping, read_parquet
from bitseg.operations import Delete, Identify, Track
from bitseg.pb import ingest_pb2
from bitseg.storage import frames, journal_format
from bitseg.storage.snapshot import Part, publish, read_manifest, read_parts
from bitseg.wire.columns import from_message
from tests.conftest import NOW_MS

CLOCK = FixedClock(NOW_MS)
# The same in every run: what is looked for is a kind of bytes, and CI is no place to find a new one.
EXAMPLES = int(os.environ.get("BITSEG_FUZZ_FILES", "150"))
steadily = settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
MOST_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data directory with a snapshot of everything and a journal of everything."""
    folder = tmp_path_factory.mktemp("data")
    with Engine.open(folder / "a", clock=CLOCK) as engine:
        for number in range(3):
            traits = {"s": f"v{number}", "n": number, "b": True, "d": "2024-01-01", "t": "2024-01-01T00:00:00Z"}
            more = {"l": ["x", f"{number}"], "g": {"lat": 1, "lon": number}}
            engine.ingest(
                [
                    Identify(f"u{number}", traits | more, NOW_MS, f"i{number}"),
                    Track(f"u{number}", "E", traits | more, NOW_MS, f"t{number}"),
                    Delete("u1"),
                ]
            )
            engine.catalog.save_segment("s", 'did "E" and s is set')
            engine.catalog.save_list("l", ["u0", f"u{number}"])
            engine.declare(f"declared{number}", ops_type(number))
            engine.ingest_all([Delete("u9")], (), producer="p", sequence=number + 1)
            if number == 1:
                engine.snapshot()
        shutil.copytree(folder / "a", folder / "whole")
    return folder


def ops_type(number):
    from bitseg.values import ValueType

    return list(ValueType)[number]


def bounded(work):
    """What the work returns; it must not take more memory than there are bytes, by orders of magnitude."""
    tracemalloc.start()
    try:
        return work()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MOST_BYTES


def mutated(data, source):
    """Bytes with a few of them changed, taken out, or put in, most often by ones that mean something to msgpack."""
    changed = bytearray(data)
    for _ in range(source.draw(st.integers(1, 4))):
        place = source.draw(st.integers(0, max(len(changed) - 1, 0)))
        kind = source.draw(st.sampled_from(["set", "insert", "delete", "double"]))
        byte = source.draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0x90, 0xA1, 0xC0, 0xC6, 0xC9, 0xCF, 0xD3, 0xDD, 0xDF, 0xFF])
        )
        if kind == "set" and changed:
            changed[place] = byte
        elif kind == "insert":
            changed.insert(place, byte)
        elif kind == "delete":
            del changed[place : place + source.draw(st.integers(1, 9))]
        else:
            changed[place:place] = changed[place : place + 20]
    return bytes(changed)


def payloads_of(path):
    """What the frames of a file have in them."""
    with path.open("rb") as file:
        end, offset, payloads = path.stat().st_size, frames.MAGIC_BYTES, []
        while offset < end:
            if path.name.startswith("journal") and payloads:
                file.seek(offset + 8)
                length, start = int.from_bytes(file.read(4), "little"), offset + journal_format.HEADER_BYTES
                file.seek(start)
                payloads.append(file.read(length))
            else:
                start = offset + frames.HEADER_BYTES
                payloads.append(frames.read(file, offset, end))
            offset = start + len(payloads[-1])
    return payloads


def framed(path, payloads):
    """Frames as the file has them, with checksums that match."""
    if not path.name.startswith("journal"):
        return b"".join(frames.header(payload) + payload for payload in payloads)
    manifest, (opening, *records) = read_manifest(path.parent), payloads
    marker = journal_format.marker(manifest.workspace["id"])
    numbered = enumerate(records, manifest.version + 1)
    return (
        frames.header(opening)
        + opening
        + b"".join(journal_format.frame(marker, payload, number, number - 1) for number, payload in numbered)
    )


def outcome(folder):
    """Opens a directory, asks it everything, and closes it."""
    try:
        with Engine.open(folder, clock=CLOCK, create=False) as engine:
            engine.verify()
            for segment in engine.catalog.segments:
                engine.count(f'in segment "{segment}"')
            engine.count("everyone")
    except DataDirectoryError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("name", ["manifest", "parts-00000002", "journal-00000002"])
@steadily
@given(st.data())
@pytest.mark.slow
def test_File_of_any_bytes_is_an_error(folder, name, source):
    """Without checksums that match, and with."""
    target = folder / "b"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "whole", target)
    whole = (target / name).read_bytes()
    (target / name).write_bytes(mutated(whole, source))
    bounded(lambda: outcome(target))


@steadily
@given(st.data())
def test_Frame_with_changed_contents_is_an_error(folder, source):
    """The checksums match, as where somebody wrote the file on purpose."""
    target = folder / "b"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "whole", target)
    path = source.draw(st.sampled_from(sorted(path for path in target.iterdir() if path.stat().st_size)))
    payloads = payloads_of(path)
    chosen = source.draw(st.integers(0, len(payloads) - 1))
    before = len(payloads[chosen])
    payloads[chosen] = mutated(payloads[chosen], source)
    if path.name.startswith("parts"):
        # In place, since the manifest says where each part lies.
        payloads[chosen] = payloads[chosen][:before].ljust(before, b"\xc0")
    path.write_bytes(path.read_bytes()[: frames.MAGIC_BYTES] + framed(path, payloads))
    bounded(lambda: outcome(target))


ODD_VALUES = [
    None, True, -1, 0, 2**63 - 1, 1.5, "x", "", b"x", b"", [], ["x"], {}, {"x": 1}, [[]], [None], [1, 2], [["x", 1]],
    np.arange(3), np.zeros(0, np.uint32), np.ones((2, 2)), np.arange(3, dtype=np.uint8),
    np.array([5, 200, 3], np.int32),
]  # fmt: skip


def misshapen(value, random, depth=0):
    """A value with one thing in it changed, taken out, put in, or of another type."""
    if not isinstance(value, dict | list) or not value or (depth and random.random() < 0.35):
        if isinstance(value, np.ndarray) and value.size and random.random() < 0.5:
            return random.choice([value[:-1], np.concatenate([value, value]), value.astype("|b1"), np.roll(value, 1)])
        return random.choice(ODD_VALUES)
    way, value = random.random(), value.copy()
    place = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
    if way < 0.15:
        del value[place]
    else:
        value[place] = misshapen(value[place], random, depth + 1)
    return value


@steadily
@given(st.integers(0, 2**32))
@pytest.mark.slow
def test_Part_of_another_shape_is_damage_and_not_a_bug(folder, seed):
    """Whoever reads "this is a bug of bitseg" looks for it in the code."""
    random = Random(seed)
    target = folder / "b"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / "whole", target)
    manifest = read_manifest(target)
    parts = [(key, revision, state) for key, revision, state, _ in read_parts(target, manifest)]
    chosen = random.randrange(len(parts))
    key, revision, state = parts[chosen]
    parts[chosen] = (key, revision, misshapen(state, random))
    written = replace(manifest, generation=manifest.generation + 1, parts={})
    publish(target, written, [Part(key, revision, lambda state=state: state) for key, revision, state in parts])
    bounded(lambda: outcome(target))


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 5_000,
        msgpack.packb(msgpack.ExtType(1, b"\x03\x01" + b"\xff" * 8 + b"<i8")),
        msgpack.packb(msgpack.ExtType(1, b"\x03\xff")),
        msgpack.packb(msgpack.ExtType(1, b"\x02\x01" + b"\x01" + bytes(7) + b"|O")),
        msgpack.packb(msgpack.ExtType(5, b"")),
        b"",
        b"\xc1",
    ],
)
def test_Payload_that_is_shorter_than_its_lengths_say_is_refused(payload):
    with pytest.raises(ValueError, match=r"cannot be decoded: ."):
        bounded(lambda: frames.unpack(payload))


def test_Length_beyond_the_file_takes_no_memory(tmp_path):
    head = struct.pack("<II", 2**32 - 1, 0)
    path = tmp_path / "file"
    path.write_bytes(head + struct.pack("<I", google_crc32c.value(head)) + b"x" * 10)

    def read():
        with path.open("rb") as file, pytest.raises(frames.DamagedFrameError, match="cut short"):
            frames.read(file, 0, path.stat().st_size)

    bounded(read)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@steadily
@given(st.data())
def test_Import_of_any_bytes_is_an_error_or_rejects(tmp_path_factory, kind, source):
    path = sample(tmp_path_factory, kind)
    whole = path.read_bytes()
    changed = mutated(whole, source)
    if kind != "parquet" and source.draw(st.booleans()):
        changed = source.draw(st.binary(max_size=300))
    target = path.with_name(f"changed.{kind}")
    target.write_bytes(changed)
    calendar, mapping = Calendar("UTC"), ColumnMapping("user", event="E", time_column="time")
    engine = Engine(clock=CLOCK)

    def read():
        try:
            if kind == "jsonl":
                batches = read_jsonl(target, calendar, NOW_MS)
            elif kind == "csv":
                batches = read_csv(target, mapping, calendar, NOW_MS, ",")
            else:
                batches = read_parquet(target, exported_mapping(target) or mapping, calendar, NOW_MS)
            with RejectsFile(path.with_name("rejects")) as rejects:
                load(batches, engine, rejects, lambda done, account: None)
        except ImportFileError as error:
            assert str(target) in str(error)
        except InvalidArgumentError as error:
            # What a file that bitseg exported says of its columns.
            assert kind == "parquet"
            assert "event" in str(error) or "time" in str(error)

    bounded(read)
    assert engine.verify() == []


@steadily
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from([None, "id", ""]))
def test_Table_of_user_ids_of_any_bytes_is_an_error_or_ids(content, column):
    try:
        found = bounded(lambda: list(read_user_ids(b"id,name\n" + content, column)))
    except ImportFileError:
        return
    assert all(isinstance(each, str) and each for each in found)


def sample(factory, kind) -> Path:
    path = factory.mktemp("import") / f"sample.{kind}"
    if kind == "jsonl":
        path.write_text(
            '{"type":"track","userId":"u","event":"E","properties":{"a":1,"b":["x"]},"timestamp":"2024-01-01T00:00:00Z"}\n'
            '{"type":"identify","userId":"ü","traits":{"s":"\\u00e9","g":{"lat":1,"lon":2}},"messageId":"m"}\n' * 5
        )
    elif kind == "csv":
        path.write_text('user,time,a,"b c"\n' + 'u,2024-01-01,1,"x, y"\nü,2024-01-01T10:00:00Z,,"""q"""\n' * 5)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"user": ["u", "v"], "time": ["2024-01-01", None], "a": [1.5, None], "l": [["x"], []]}
        pq.write_table(pa.table(columns), path)
    return path


small_lists = st.lists(st.integers(0, 2**32 - 1), max_size=4)
texts = st.lists(st.text(max_size=3), max_size=4)
value_columns = st.builds(
    lambda name, rows, kind: ingest_pb2.ValueColumn(name=name, rows=rows, **kind),
    st.text(max_size=2),
    small_lists,
    st.one_of(
        st.just({}),
        st.builds(lambda v: {"numbers": {"values": v}}, st.lists(st.floats(), max_size=4)),
        st.builds(lambda e, c: {"strings": {"entries": e, "codes": c}}, texts, small_lists),
        st.builds(lambda v: {"booleans": {"values": v}}, st.lists(st.booleans(), max_size=4)),
        st.builds(lambda v: {"dates": {"days": v}}, st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)),
        st.builds(lambda v: {"datetimes": {"times_ms": v}}, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)),
    ),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.none() | st.text(max_size=3),
    texts,
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.just(NOW_MS), max_size=4),
    st.lists(value_columns, max_size=3),
)
def test_Columns_of_any_shape_are_refused_or_applied(event, user_ids, times_ms, values):
    message = ingest_pb2.Columns(event=event, user_ids=user_ids, times_ms=times_ms, values=values)
    engine = Engine(clock=CLOCK)
    try:
        result = engine.ingest_columns(from_message(message))
    except InvalidArgumentError:
        assert engine.version == 0
    else:
        whole = sum(each.name is None for each in result.rejections)
        assert result.accepted == len(user_ids) - whole
    assert engine.verify() == []


# Hostile operations


def test_Hostile_operations_are_rejected_one_by_one_and_the_others_are_applied(tmp_path):
    good = Track("good", "E", {"n": 1}, NOW_MS)
    far, year_1, year_9999 = 2**62, -62_135_596_800_000, 253_370_764_800_000
    hostile = {
        "user id": [Track(each, "E", {}, NOW_MS) for each in ("", "x" * 513, "é" * 257, "\ud800")],
        "event name": [Track("u", each, {}, NOW_MS) for each in ("", "x" * 257, "\udfff")],
        "message id": [Track("u", "E", {}, NOW_MS, each) for each in ("x" * 129, "\ud800")],
        "timestamp": [Track("u", "E", {}, each) for each in (far, -far, year_1, year_9999, NOW_MS + 3_600_001)],
    }
    with Engine.open(tmp_path / "a", clock=CLOCK) as engine:
        for what, operations in hostile.items():
            result = engine.ingest([good, *operations, good])
            assert (result.accepted, len(result.rejections)) == (2, len(operations))
            assert all(what in each.reason and each.name is None for each in result.rejections)
        values = [
            float("nan"),
            float("inf"),
            -float("inf"),
            2**53 + 1,
            10**400,
            "x" * 8_193,
            "\ud800",
            {"a": 1},
            object(),
        ]
        result = engine.ingest(
            [Identify(f"v{number}", {f"a{number}": each}, NOW_MS) for number, each in enumerate(values)]
        )
        assert (result.accepted, len(result.rejections)) == (len(values), len(values))
        # NUL bytes are bytes as others are.
        result = engine.ingest([Identify("nul\0id", {"nul\0name": "nul\0value"}, NOW_MS)])
        assert (result.accepted, result.rejections) == (1, ())
        assert engine.count('did "E" where n = 1').count == 1
        # Sums beyond all numbers are infinite rather than an error.
        engine.ingest([Track(user, "Big", {"n": 1e308}, NOW_MS) for user in ("a", "b", "a", "a")])
        assert engine.count('did "Big" with sum(n) > 1e308').count == 1
        users, events = engine.user_count, engine.event_count
    with Engine.open(tmp_path / "a", clock=CLOCK) as engine:
        assert (engine.user_count, engine.event_count, engine.verify()) == (users, events, [])


@pytest.mark.slow
def test_Million_attribute_names_stop_at_the_limit():
    engine = Engine(clock=CLOCK)
    rejected = 0
    for start in range(0, 1_000_000, 100_000):
        traits = {f"a{number}": 1 for number in range(start, start + 100_000)}
        result = engine.ingest([Identify("u", traits, NOW_MS)])
        assert result.accepted == 1
        rejected += len(result.rejections)
    assert (len(engine.schema()), rejected) == (2_000, 998_000)
    assert "the limit" in result.rejections[0].reason
    assert engine.count("a7 = 1").count == 1


def test_Million_event_names_stop_at_the_limit():
    engine = Engine(clock=CLOCK)
    names = [f"e{number}" for number in range(20_000)]
    result = engine.ingest([Track("u", name, {}, NOW_MS) for name in names])
    assert (result.accepted, len(result.rejections)) == (5_000, 15_000)
    assert "event names already, which is the limit" in result.rejections[0].reason


def test_Records_are_read_by_their_documented_layout(tmp_path):
    """Payloads as the module says, by hand: another program could read them."""
    with Engine.open(tmp_path / "a", clock=CLOCK) as engine:
        engine.ingest([Track("u", "E", {"n": 1}, NOW_MS)])
        (path,) = (tmp_path / "a").glob("journal-*")
        _, of_segments, of_batch = payloads_of(path)
    # The segments that a workspace starts with.
    kind, version, entries = msgpack.unpackb(of_segments)
    assert (kind, version) == ("entries", 1)
    details = ["Did anything today.", {}, NOW_MS, NOW_MS]
    assert entries[0] == ["segment", "Active today", ["did any event today", *details]]
    kind, version, fields, changes, ids, producer, sequence = msgpack.unpackb(of_batch)
    assert (kind, version, fields) == ("batch", 2, [["E", "n", "number"]])
    assert (ids, producer, sequence) == (b"", None, 0)
    user_ids, times_ms, values, event = frames.unpack(changes[0])
    assert (user_ids[0], user_ids[1].tolist(), times_ms.tolist(), event) == (b"u", [1], [NOW_MS], "E")
    ((name, value_type, rows, data, dictionary),) = values
    assert (name, value_type, rows, data.tolist(), dictionary) == ("n", "number", None, [1.0], [])
    assert journal_format.numbered(tmp_path / "a") == []
