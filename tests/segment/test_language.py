"""Text, tree, protobuf and JSON are forms of the same segment."""

import logging
from datetime import date
from importlib.resources import files

import lark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.segment import format, parse, validate
from bitseg.segment import nodes as n
from bitseg.wire.segments import from_json, from_message, to_json, to_message
from tests import examples
from tests.generate import Generator


@pytest.mark.parametrize("text", examples.ALL)
def test_Example_is_its_own_canonical_text(text):
    assert format(parse(text)) == text


@pytest.mark.parametrize("text", examples.ALL)
def test_Example_survives_protobuf_and_json(text):
    tree = parse(text)
    assert from_message(to_message(tree)) == tree
    assert from_json(to_json(tree)) == tree


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**63))
def test_Any_form_converts_to_any_other_without_loss(seed):
    tree = Generator(seed).any_segment()
    validate(tree)
    assert parse(format(tree)) == tree
    assert from_message(to_message(tree)) == tree
    assert from_json(to_json(tree)) == tree


US = n.Comparison("country", n.Compare(n.Operator.EQUAL, n.Text("US")))
PAID = n.Comparison("paid", n.Compare(n.Operator.EQUAL, n.Boolean(True)))
ADULT = n.Comparison("age", n.Compare(n.Operator.GREATER_OR_EQUAL, n.Number(18.0)))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('country = "US" or paid = true and age >= 18', n.Or((US, n.And((PAID, ADULT))))),
        ('(country = "US" or paid = true) and age >= 18', n.And((n.Or((US, PAID)), ADULT))),
        ('not country = "US" and paid = true', n.And((n.Not(US), PAID))),
        ('(country = "US" and paid = true) and age >= 18', n.And((n.And((US, PAID)), ADULT))),
        ('COUNTRY = "US"', n.Comparison("COUNTRY", US.predicate)),
        ('country="US" AND Paid=TRUE', n.And((US, n.Comparison("Paid", PAID.predicate)))),
        ('# people\ncountry = "US" # in the States\n', US),
        ("home within 10 km of (40.71, -74.0)", parse("home within 10 km of (40.71, -74)")),
        ('email contains "@gmail.com\\|@yahoo.com"', n.Comparison("email", n.Contains("@gmail.com\\|@yahoo.com"))),
        ("d in last 1 day", n.Comparison("d", n.Falls(n.InLast(n.Duration(1, n.Unit.DAYS))))),
        ("d on today", n.Comparison("d", n.Falls(n.OnToday(0)))),
        ("d on today -3 days", n.Comparison("d", n.Falls(n.OnToday(-3)))),
        ("d = 2024-01-31", n.Comparison("d", n.Compare(n.Operator.EQUAL, n.Day(date(2024, 1, 31))))),
        (
            "d = 2024-01-31T10:00:00.5+02:00",
            n.Comparison("d", n.Compare(n.Operator.EQUAL, n.Instant(1706688000500))),
        ),
        ('e = "a\\"b\\\\c\\n"', n.Comparison("e", n.Compare(n.Operator.EQUAL, n.Text('a"b\\c\n')))),
        ('e matches "\\d"', n.Comparison("e", n.Matches("\\d"))),
        ('did "E" on weekdays (SATURDAY, sun)', n.Did("E", weekdays=(n.Weekday.SAT, n.Weekday.SUN))),
        (
            'did "E" on weekdays (sat) at 0:00 to 24:00',
            n.Did("E", time_of_day=n.TimeOfDay(0, 1440), weekdays=(n.Weekday.SAT,)),
        ),
        (
            "income = 1 and nothing = 2 and did_it = 3 and in_ = 4",
            parse("`income` = 1 and `nothing` = 2 and `did_it` = 3 and `in_` = 4"),
        ),
        ("`in` = 1", n.Comparison("in", n.Compare(n.Operator.EQUAL, n.Number(1.0)))),
        ("`a``b` = 1", n.Comparison("a`b", n.Compare(n.Operator.EQUAL, n.Number(1.0)))),
    ],
)
def test_Text_means_the_tree(text, tree):
    assert parse(text) == tree


def test_True_and_1_are_different_values():
    assert parse("paid = true") != parse("paid = 1")


def test_Every_node_class_is_in_an_example():
    seen = set()

    def walk(node):
        if isinstance(node, tuple):
            for item in node:
                walk(item)
        elif hasattr(node, "__dataclass_fields__"):
            seen.add(type(node))
            for name in node.__dataclass_fields__:
                walk(getattr(node, name))

    for text in examples.ALL:
        walk(parse(text))
    declared = {each for each in vars(n).values() if isinstance(each, type) and hasattr(each, "__dataclass_fields__")}
    assert seen == declared


def test_Grammar_has_no_conflicts(caplog):
    """Lark settles conflicts silently; one kept `at 9:00 to 17:00 on 2024-01-31` from parsing."""
    grammar = files("bitseg.segment").joinpath("grammar.lark").read_text()
    lark.logger.setLevel(logging.DEBUG)
    lark.logger.addHandler(caplog.handler)
    try:
        lark.Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False, debug=True)
    finally:
        lark.logger.removeHandler(caplog.handler)
    assert "conflict" not in caplog.text.lower()
