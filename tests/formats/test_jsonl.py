"""JSONL in the Segment spec: which lines are imported, and which are rejected with their number."""

import gzip
import json

import pytest

from bitseg.calendar import Calendar
from bitseg.errors import ImportFileError
from bitseg.formats import jsonl
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load
from bitseg.operations import Delete, Identify, Page, Track
from tests.conftest import NOW_MS

TIME = "2024-01-31T10:00:00Z"
TIME_MS = NOW_MS - 2 * 3_600_000


def read(path, *lines, zone="UTC"):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    batches = list(read_jsonl(path, Calendar(zone), NOW_MS))
    return (
        [operation for batch in batches for operation in batch.operations],
        [(reject.line, reject.reason) for batch in batches for reject in batch.rejects],
    )


def test_Calls_of_the_Segment_spec_become_operations(tmp_path):
    operations, rejects = read(
        tmp_path / "in.jsonl",
        {"type": "identify", "userId": "u", "traits": {"age": 3}, "timestamp": TIME, "messageId": "m", "context": {}},
        {"type": "track", "userId": "u", "event": "E", "properties": {"a": 1}, "timestamp": TIME},
        {"type": "page", "userId": 7, "name": "Home", "properties": {"url": "/"}, "timestamp": TIME},
        {"type": "identify", "userId": "u"},
        {"type": "delete", "userId": "u"},
    )
    assert operations == [
        Identify("u", {"age": 3}, TIME_MS, "m"),
        Track("u", "E", {"a": 1}, TIME_MS),
        Page("7", "Home", {"url": "/"}, TIME_MS),
        Identify("u", {}, NOW_MS),
        Delete("u"),
    ]
    assert rejects == []


def test_Time_without_offset_is_local_to_the_workspace(tmp_path):
    line = {"type": "track", "userId": "u", "event": "E", "timestamp": "2024-01-31T11:00:00"}
    operations, _ = read(tmp_path / "in.jsonl", line, zone="Europe/Madrid")
    assert operations[0].timestamp_ms == TIME_MS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"userId": "\\ud800"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        ({"type": "track"}, "userId is missing"),
        ({"type": "track", "userId": True}, "userId"),
        ({"type": "group", "userId": "u"}, "'group'"),
        ({"userId": "u"}, "type is None"),
        ({"type": "track", "userId": "u", "event": 3, "timestamp": TIME}, "event"),
        ({"type": "track", "userId": "u", "event": "E"}, "timestamp is missing"),
        ({"type": "track", "userId": "u", "event": "E", "timestamp": "soon"}, "timestamp"),
        ({"type": "track", "userId": "u", "event": "E", "timestamp": 5}, "timestamp"),
        ({"type": "track", "userId": "u", "event": "E", "timestamp": "0001-01-01"}, "timestamp"),
        ({"type": "track", "userId": "u", "event": "E", "timestamp": TIME, "properties": []}, "properties"),
        ({"type": "identify", "userId": "u", "traits": "x"}, "traits"),
        ({"type": "identify", "userId": "u", "messageId": 5}, "messageId"),
        ({"type": "page", "userId": "u", "name": 5, "timestamp": TIME}, "name"),
        (b"x" * (jsonl.MAX_LINE_BYTES + 5), "longer than"),
    ],
)
def test_Bad_line_is_rejected_and_the_others_are_imported(tmp_path, line, words):
    good = {"type": "delete", "userId": "u"}
    operations, rejects = read(tmp_path / "in.jsonl", good, line, b"", good)
    assert operations == [Delete("u"), Delete("u")]
    assert [number for number, _ in rejects] == [2]
    assert words in rejects[0][1]


def test_Gzipped_file_is_unpacked(tmp_path):
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"type": "delete", "userId": "u"}\n', mtime=0))
    assert [batch.operations for batch in read_jsonl(path, Calendar("UTC"), 0)] == [[Delete("u")]]


@pytest.mark.parametrize("content", [None, b"\x1f\x8bnot gzip", gzip.compress(b"{}" * 1000, mtime=0)[:-20]])
def test_Unreadable_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "in.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImportFileError, match="cannot read"):
        list(read_jsonl(path, Calendar("UTC"), 0))


def test_Rejects_file_has_line_reason_and_text_and_the_summary_counts(tmp_path, engine):
    path = tmp_path / "in.jsonl"
    lines = [
        {"type": "identify", "userId": "u", "traits": {"age": 3}},
        {"type": "identify", "userId": "v", "traits": {"age": "x", "city": "Rome"}},
        {"type": "identify", "userId": ""},
        {"type": "track", "userId": "u", "event": "E", "timestamp": "2030-01-01T00:00:00Z"},
        {"type": "track", "userId": "u", "event": "E", "timestamp": TIME, "messageId": "m"},
        {"type": "track", "userId": "u", "event": "E", "timestamp": TIME, "messageId": "m"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\nnonsense\n")
    calls = []
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        batches = read_jsonl(path, engine.calendar, NOW_MS)
        summary = load(batches, engine, rejects, lambda done, account: calls.append(done))
    assert (summary.accepted, summary.duplicates, summary.rejected_lines, summary.rejected_values) == (3, 1, 3, 1)
    written = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [each["line"] for each in written] == [2, 3, 4, 7]
    assert written[0]["name"] == "age"
    assert written[3]["text"] == "nonsense"
    assert calls[-1] == path.stat().st_size
    assert engine.count('city = "Rome"').count == 1


def test_Without_rejects_there_is_no_file(tmp_path, engine):
    path = tmp_path / "in.jsonl"
    path.write_text('{"type": "identify", "userId": "u"}')
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        load(read_jsonl(path, engine.calendar, NOW_MS), engine, rejects, lambda done, account: None)
    assert not (tmp_path / "rejects.jsonl").exists()
