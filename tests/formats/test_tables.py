"""CSV and Parquet by their column mapping."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from bitseg.errors import ImportFileError, InvalidArgumentError
from bitseg.formats import csv as csv_importer
from bitseg.formats.base import ColumnMapping
from bitseg.formats.csv import read_csv
from bitseg.formats.load import RejectsFile, load
from bitseg.formats.parquet import read_parquet
from bitseg.values import ValueType
from tests.conftest import NOW_MS

ORDERS = ColumnMapping("user", event="Ordered", time_column="at")
USERS = ColumnMapping("user")


def load_csv(tmp_path, engine, content, mapping, **options):
    path = tmp_path / "in.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        batches = read_csv(path, mapping, engine.calendar, NOW_MS, **options)
        return load(batches, engine, rejects, lambda done, account: None)


def rejected(tmp_path):
    path = tmp_path / "rejects.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def who(engine, text):
    return [user for page in engine.members(text).pages for user in page]


def test_Rows_become_events_with_typed_properties(tmp_path, engine):
    summary = load_csv(
        tmp_path,
        engine,
        "user,at,amount,color,gift,due\n00012,2024-01-30,5.5,red,true,2024-02-01\n7,2024-01-31T10:00:00Z,,,,\n",
        ORDERS,
    )
    assert summary.accepted == 2
    assert who(engine, 'did "Ordered" where (amount = 5.5 and color = "red" and gift = true and due = 2024-02-01)') == [
        "00012"
    ]
    assert who(engine, 'did "Ordered" where amount is not set') == ["7"]


def test_Rows_without_an_event_are_users(tmp_path, engine):
    load_csv(tmp_path, engine, 'user,zip,name\na,01234,"Ann, ""A"""\nb,,Bob\n', USERS)
    assert who(engine, 'name = "Ann, \\"A\\"" and zip = "01234"') == ["a"]
    assert who(engine, "zip is not set") == ["b"]
    load_csv(tmp_path, engine, "user,name\na,\n", USERS)
    assert who(engine, "name is set") == ["a", "b"]


def test_Event_names_come_from_a_column(tmp_path, engine):
    mapping = ColumnMapping("user", event_column="kind", time_column="at", time_format="unix")
    summary = load_csv(
        tmp_path, engine, "user,kind,at,n\na,Open,1706600000,1\nb,Close,1706600000.5,2\nc,,1706600000,3\n", mapping
    )
    assert (summary.accepted, summary.rejected_lines) == (2, 1)
    assert who(engine, 'did "Open" where n = 1') == ["a"]
    assert who(engine, 'did "Close" on 2024-01-30T07:33:20.5Z') == ["b"]
    assert rejected(tmp_path) == [{"line": 4, "reason": "the event name is empty"}]


@pytest.mark.parametrize(
    ("time_format", "cell"),
    [
        ("iso", "2024-01-30T07:33:20Z"),
        ("iso", "2024-01-30 07:33:20"),
        ("unix", "1706600000"),
        ("unix-ms", "1706600000000"),
        ("%d/%m/%Y %H:%M:%S", "30/01/2024 07:33:20"),
        ("%Y%m%d%H%M%S%z", "20240130083320+0100"),
    ],
)
def test_Times_are_read_by_their_format(tmp_path, engine, time_format, cell):
    mapping = ColumnMapping("user", event="E", time_column="at", time_format=time_format)
    load_csv(tmp_path, engine, f"user,at\na,{cell}\nb,nonsense\nc,\n", mapping)
    assert who(engine, 'did "E" on 2024-01-30T07:33:20Z') == ["a"]
    assert [each["line"] for each in rejected(tmp_path)] == [3, 4]


def test_Bad_rows_are_rejected_with_their_line(tmp_path, engine):
    content = (
        b'user,at,n\na,2024-01-30,1\nb,2024-01-30\nc,"2024-01-30"x,3\n\n"d\nd",2024-01-30,4\n'
        b"\xff,2024-01-30,5\n,2024-01-30,6\ne,2030-01-30,7\nf,2024-01-30,8"
    )
    summary = load_csv(tmp_path, engine, content, ORDERS)
    assert (summary.accepted, summary.rejected_lines) == (3, 5)
    assert who(engine, "everyone") == ["a", "d\nd", "f"]
    reasons = {each["line"]: each["reason"] for each in rejected(tmp_path)}
    assert sorted(reasons) == [3, 4, 8, 9, 10]
    assert reasons[3] == "expected 3 fields, found 2"
    assert "not CSV" in reasons[4]
    assert reasons[8] == "not UTF-8"
    assert "future" in reasons[10]


def test_Value_of_another_type_than_the_first_batch_is_rejected_alone(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(csv_importer, "BATCH_ROWS", 2)
    summary = load_csv(tmp_path, engine, "user,size\na,10\nb,12\nc,XL\nd,14\n", USERS)
    assert (summary.accepted, summary.rejected_values) == (4, 1)
    assert rejected(tmp_path) == [{"line": 4, "reason": "expected a number, got 'XL'", "name": "size"}]


def test_Types_can_be_given(tmp_path, engine):
    mapping = ColumnMapping("user", types={"zip": ValueType.STRING, "tags": ValueType.LIST, "home": ValueType.GEO})
    load_csv(tmp_path, engine, 'user,zip,tags,home\na,10001,vip|new,"40.7,-74"\n', mapping)
    assert who(engine, 'zip = "10001" and tags has all ("vip", "new") and home within 1 km of (40.7, -74)') == ["a"]


def test_Byte_order_mark_and_other_delimiters_are_read(tmp_path, engine):
    load_csv(tmp_path, engine, "\ufeffuser;n\na;1\n", USERS, delimiter=";")
    load_csv(tmp_path, engine, "  user   n\n  b\t 2\n", USERS, delimiter="whitespace")
    assert who(engine, "n is set") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "mapping", "words"),
    [
        ("", USERS, "header"),
        ("id,n\na,1\n", USERS, "no column 'user'"),
        ("user,n,n\na,1,2\n", USERS, "more than one column"),
        ("user,n\na,1\n", ColumnMapping("user", types={"m": ValueType.STRING}), "no column 'm'"),
    ],
)
def test_Table_without_its_columns_is_one_clear_error(tmp_path, engine, content, mapping, words):
    with pytest.raises(ImportFileError, match=words):
        load_csv(tmp_path, engine, content, mapping)
    assert engine.user_count == 0


@pytest.mark.parametrize("arguments", [{"event": "E"}, {"event": "E", "event_column": "e", "time_column": "t"}])
def test_Contradictory_mapping_is_refused(arguments):
    with pytest.raises(InvalidArgumentError):
        ColumnMapping("user", **arguments)


def load_parquet(tmp_path, engine, table, mapping):
    path = tmp_path / "in.parquet"
    pa.parquet.write_table(pa.table(table), path)
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        batches = read_parquet(path, mapping, engine.calendar, NOW_MS)
        return load(batches, engine, rejects, lambda done, account: None)


def test_Parquet_keeps_its_types(tmp_path, engine):
    at = datetime.datetime(2024, 1, 30, 7, 33, 20, 500_999)
    summary = load_parquet(
        tmp_path,
        engine,
        {
            "user": pa.array([12, 7]),
            "at": pa.array([at, at], pa.timestamp("us", tz="UTC")),
            "whole": pa.array([5, None], pa.int32()),
            "price": pa.array([decimal.Decimal("2.50"), None], pa.decimal128(10, 2)),
            "color": pa.array(["red", None]).dictionary_encode(),
            "size": pa.array(["XL", None]),
            "gift": pa.array([True, None]),
            "due": pa.array([datetime.date(2024, 2, 1), None]),
            "seen": pa.array([at, None], pa.timestamp("ns")),
            "tags": pa.array([["vip"], None]),
            "home": pa.array([{"lat": 1.0, "lon": 2.0}, None]),
        },
        ORDERS,
    )
    assert (summary.accepted, summary.rejected_values) == (2, 0)
    where = (
        'whole = 5 and price = 2.5 and color = "red" and size = "XL" and gift = true and due = 2024-02-01 '
        'and seen = 2024-01-30T07:33:20.5Z and tags has "vip" and home within 1 km of (1, 2)'
    )
    assert who(engine, f'did "Ordered" where ({where}) on 2024-01-30T07:33:20.5Z') == ["12"]
    for name in ("whole", "price", "color", "size", "gift", "due", "seen", "tags", "home"):
        assert who(engine, f'did "Ordered" where {name} is not set') == ["7"]


def test_Parquet_rejects_bad_values_and_rows_by_number(tmp_path, engine):
    summary = load_parquet(
        tmp_path,
        engine,
        {"user": ["a", None, "c"], "at": ["2024-01-30", "2024-01-30", "soon"], "n": [float("inf"), 1.0, 2.0]},
        ORDERS,
    )
    assert (summary.accepted, summary.rejected_lines, summary.rejected_values) == (1, 2, 1)
    assert sorted((each["line"], each.get("name")) for each in rejected(tmp_path) if each["line"] != 1) == [
        (2, None),
        (3, None),
    ]


def test_Parquet_with_an_unsupported_type_names_the_column(tmp_path, engine):
    with pytest.raises(ImportFileError, match="'raw'"):
        load_parquet(tmp_path, engine, {"user": ["a"], "raw": pa.array([b"x"])}, USERS)
    ignoring = ColumnMapping("user", ignored=frozenset({"raw"}))
    assert load_parquet(tmp_path, engine, {"user": ["a"], "raw": pa.array([b"x"])}, ignoring).accepted == 1


def test_File_that_is_not_Parquet_is_one_clear_error(tmp_path, engine):
    (tmp_path / "in.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(ImportFileError, match="cannot read"):
        list(read_parquet(tmp_path / "in.parquet", USERS, engine.calendar, NOW_MS))
