"""Text that is not in the language or makes no sense is refused with a position and a hint."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitseg.errors import InvalidSegmentError, SegmentError, SegmentSyntaxError
from bitseg.segment import format, parse, validate
from bitseg.segment import nodes as n
from bitseg.wire.segments import from_json


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("", 1, "everyone"),
        ("country = US", 11, '"US"'),
        ('country == "US"', 10, "one ="),
        ("country = 'US'", 11, "double quotes"),
        ('country = "US', 11, "closing"),
        ('country = "US" && paid = true', 16, "words"),
        ('did "X" in last 30 dys', 20, "days"),
        ('country = "US" paid = true', 16, "and"),
        ("in = 1", 4, "backquotes"),
        ("did Charged", 5, '"Charged"'),
        ('did "X" in last 30', 19, None),
        ("(a = 1", 7, None),
        ("a = 1)", 6, None),
        ('did "X" on 31.1.2024', 12, "2024-01-31"),
        ('did "X" on weekdays (sat) at least 2 times', 30, "order"),
        ('did "X" in last 2 days where a = 1', 24, "order"),
        ('did not "A" then did "B" within 1 hour', 13, None),
    ],
)
def test_SyntaxError_has_position_expectation_and_hint(text, column, hint):
    with pytest.raises(SegmentSyntaxError) as caught:
        parse(text)
    error = caught.value
    assert (error.position.line, error.position.column) == (1, column)
    assert error.expected
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ('did "X" at most 0 times', 9, "did not"),
        ('did "X" exactly 0 times', 9, "did not"),
        ('did "X" fewer than 1 times', 9, "did not"),
        ('did "X" between 0 and 0 times', 9, "did not"),
        ('did "X" between 5 and 2 times', 9, "backwards"),
        ("age between 5 and 2", 5, "backwards"),
        ('did "X" between 30 and 60 days ago', 9, "60 and 30"),
        ('did "X" between 2024-02-01 and 2024-01-01', 9, "backwards"),
        ("born before 2024-02-30", 13, "not a day of the calendar"),
        ("seen = 2024-01-01T10:00:00", 8, "offset"),
        ("seen = 2024-01-01T25:00:00Z", 8, "not a valid datetime"),
        ("age = 1e999", 7, "finite"),
        ("id = 9007199254740993", 6, "more digits"),
        ('name > "a"', 6, "order strings"),
        ("paid > true", 6, "true and false"),
        ('age in (1, "a")', 5, "mixes"),
        ('age between 1 and "a"', 5, "one side"),
        ('code matches "("', 6, "regular expression"),
        ('code matches "(?=a)"', 6, "regular expression"),
        ('code contains ""', 6, "empty part"),
        ('code contains "a|"', 6, "empty part"),
        ('code contains "a\\\\"', 6, "backslash"),
        ('v > version "four"', 5, "not a version"),
        ('did "X" at 17:00 to 9:00', 9, "empty"),
        ('did "X" at 9:75 to 10:00', 12, "time of day"),
        ('did "X" on weekdays (sat, sat)', 1, "twice"),
        ("in bucket 5 to 3 of 10", 1, "numbered"),
        ("in bucket 0 to 10 of 10", 1, "numbered"),
        ("home within 0 km of (1, 2)", 6, "radius"),
        ("home within 1 km of (91, 2)", 6, "latitude"),
        ("d in last 0 days", 11, "duration"),
        ('did "X" at least 2.5 times', 18, "whole number"),
        ('did ""', 5, "empty"),
        ('did "A" then did not "B" within 1 hour then did "C" within 1 hour', 1, "last step"),
        ('did "A" then did "B" within 1 month', 9, "days"),
        ('did "X" with sum(amount) > "a"', 26, "order strings"),
        ('did "X" with sum(amount) = "a"', 9, "number"),
        ("b anniversary more than 3 days ago", 3, "every year"),
    ],
)
def test_Invalid_segment_has_the_position_of_its_fault(text, column, words):
    with pytest.raises(InvalidSegmentError) as caught:
        parse(text)
    assert caught.value.position.column == column
    assert words in str(caught.value)


def test_Position_counts_lines():
    with pytest.raises(SegmentError) as caught:
        parse('country = "US"\n  and age >= "x"')
    assert (caught.value.position.line, caught.value.position.column) == (2, 11)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "a = 1" + ")" * 10_000,
        "(" * 100_000,
        "not " * 10_000 + "a = 1",
        "a = 1 and (b = 2 or (" * 10_000,
        "a" * 10_000_000,
        "a = 1 or " * 1_200_000,
        '"' * 10_000_000,
        "did " * 60_000,
        "`" * 200_000,
        "a in (" + "1," * 120_000,
        "\x00" * 100,
        "\ud800",
        'a = "\\ud800"',
        "a = " + "9" * 200_000,
        "d in last " + "9" * 10_000 + " days",
    ],
    ids=lambda text: repr(text[:12]) + f"…{len(text)}",
)
@pytest.mark.slow
def test_Hostile_text_is_refused_quickly_with_a_position(text):
    started = time.monotonic()
    with pytest.raises(SegmentError) as caught:
        parse(text)
    assert time.monotonic() - started < 10
    assert caught.value.position is not None
    str(caught.value).encode()


def test_Random_bytes_never_escape_as_another_error():
    source = random.Random(7)
    pieces = ["did ", '"A"', " and ", "(", ")", "country", " = ", "1", "not ", "in last ", " days", "where ", "\\", "`"]
    for _ in range(3_000):
        if source.random() < 0.5:
            text = source.randbytes(source.randrange(40)).decode("utf-8", "surrogateescape")
        else:
            text = "".join(source.choices(pieces, k=source.randrange(1, 14)))
        try:
            tree = parse(text)
        except SegmentError as error:
            assert error.position is not None
            str(error).encode()
        else:
            assert parse(format(tree)) == tree


@given(st.text(max_size=60))
def test_Any_text_parses_or_is_refused(text):
    try:
        tree = parse(text)
    except SegmentError as error:
        assert error.position is not None
    else:
        assert parse(format(tree)) == tree


@given(st.text(max_size=30))
def test_Any_string_value_survives_format_and_parse(text):
    tree = n.Comparison("a", n.Compare(n.Operator.EQUAL, n.Text(text)))
    assert parse(format(tree)) == tree


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "recursion"),
        ("{}", "definition is empty"),
        ('{"and": {}}', "at least two"),
        ('{"not": {}}', "definition.not.condition is missing"),
        ('{"comparison": {"name": "x"}}', "predicate is missing"),
        ('{"comparison": {"name": "", "predicate": {"isSet": {}}}}', "empty"),
        ('{"did": {"event": "x", "quantity": {"times": {"count": {"count": {"number": 3}}}}}}', "bound is not set"),
        ('{"did": {"event": "x", "where": {"everyone": {}}}}', "where contains"),
        ('{"did": {"event": "x", "window": {"inNext": {"duration": {"amount": 1, "unit": "UNIT_DAYS"}}}}}', "InNext"),
        (
            '{"comparison": {"name": "d", "predicate": {"inRange": {"low": {"day": {"value": "x"}}, "high": {}}}}}',
            "YYYY",
        ),
        (json.dumps({"everyone": {}, "nothing": {}}), "JSON"),
    ],
)
def test_Bad_json_is_refused_with_its_path(document, words):
    with pytest.raises(InvalidSegmentError, match=words):
        from_json(document)


def test_And_of_one_condition_in_protobuf_is_that_condition():
    assert from_json('{"and": {"conditions": [{"everyone": {}}]}}') == n.Everyone()


def test_Tree_deeper_than_the_limit_is_invalid():
    tree = n.Everyone()
    for _ in range(50):
        tree = n.Not(tree)
    with pytest.raises(InvalidSegmentError, match="levels deep"):
        validate(tree)


def test_Deepest_allowed_tree_travels_in_every_form():
    tree = n.Everyone()
    for level in range(39):
        tree = n.Not(tree) if level % 2 else n.And((tree, n.Everyone()))
    validate(tree)
    assert parse(format(tree)) == tree
    where = n.Comparison("p", n.Compare(n.Operator.EQUAL, n.Text("x")))
    for _ in range(37):
        where = n.Not(where)
    from bitseg.wire.segments import from_message, to_message

    did = n.Not(n.Did("E", where))
    validate(did)
    assert from_message(type(to_message(did)).FromString(to_message(did).SerializeToString())) == did
