"""Saved segments, lists and declared types: references, cycles, deletion, reopening."""

import pytest

from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.errors import (
    InUseError,
    InvalidArgumentError,
    InvalidSegmentError,
    NotFoundError,
    SegmentSyntaxError,
    TypeMismatchError,
    UnknownListError,
    UnknownSegmentError,
)
from bitseg.operations import Delete, Identify, Track
from bitseg.values import ValueType
from tests.conftest import NOW_MS


@pytest.fixture
def engine(engine):
    engine.ingest([Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(10)])
    return engine


def who(engine, text):
    return [user for page in engine.members(text).pages for user in page]


def test_Segment_refers_to_segments_and_follows_their_changes(engine):
    engine.catalog.save_segment("low", "n < 5")
    engine.catalog.save_segment("odd and low", 'in segment "low" and n in (1, 3, 5, 7, 9)')
    assert who(engine, 'in segment "odd and low"') == ["u1", "u3"]
    assert who(engine, 'not in segment "low" and n < 7') == ["u5", "u6"]
    engine.catalog.save_segment("low", "n < 2")
    assert who(engine, 'in segment "odd and low"') == ["u1"]
    assert engine.catalog.segments["low"].text == "n < 2"


def test_Circular_references_are_refused_and_change_nothing(engine):
    engine.catalog.save_segment("a", "n = 1")
    engine.catalog.save_segment("b", 'in segment "a"')
    engine.catalog.save_segment("c", 'in segment "b" or n = 3')
    with pytest.raises(InvalidSegmentError, match='"a" → "c" → "b" → "a"'):
        engine.catalog.save_segment("a", 'not (n = 2 and in segment "c")')
    with pytest.raises(InvalidSegmentError, match='"new" → "new"'):
        engine.catalog.save_segment("new", 'in segment "new"')
    assert who(engine, 'in segment "c"') == ["u1", "u3"]
    assert list(engine.catalog.segments) == ["a", "b", "c"]


def test_Many_references_to_the_same_segments_stay_quick(engine):
    engine.catalog.save_segment("0", "n < 5")
    for level in range(1, 29):
        engine.catalog.save_segment(str(level), f'in segment "{level - 1}" or in segment "{level - 1}" and n < 9')
    assert len(who(engine, 'in segment "28"')) == 5
    assert engine.explain("u1", 'in segment "28"').explanation.matches


def test_Chain_deeper_than_the_limit_is_refused(engine):
    engine.catalog.save_segment("0", "n < 5")
    for level in range(1, 45):
        engine.catalog.save_segment(str(level), f'not in segment "{level - 1}"')
    with pytest.raises(InvalidSegmentError, match="levels deep"):
        engine.catalog.save_segment("45", 'not in segment "44"')
    assert engine.count('in segment "44"').count == 5
    assert engine.explain("u1", 'in segment "44"').explanation.matches


def test_Change_that_makes_another_segment_too_deep_is_refused_and_undone(engine):
    """The limit once looked at the segment saved alone, and chains grew past it from below."""
    for name in ("bottom", "top"):
        engine.catalog.save_segment(f"{name} 0", "n < 5")
        for level in range(1, 30):
            engine.catalog.save_segment(f"{name} {level}", f'not in segment "{name} {level - 1}"')
    with pytest.raises(InvalidSegmentError, match="levels deep"):
        engine.catalog.save_segment("top 0", 'in segment "bottom 29"')
    assert engine.catalog.segments["top 0"].text == "n < 5"
    assert engine.count('in segment "top 29"').count == 5


def test_Entry_in_use_cannot_be_deleted_and_the_error_names_its_referrers(engine):
    engine.catalog.save_list("vip", ["u1"])
    engine.catalog.save_segment("a", 'in list "vip"')
    engine.catalog.save_segment("b", 'in segment "a" or n = 1')
    with pytest.raises(InUseError, match='"a" is used by "b"'):
        engine.catalog.delete_segment("a")
    with pytest.raises(InUseError, match='"vip" is used by "a"'):
        engine.catalog.delete_list("vip")
    engine.catalog.delete_segment("b")
    engine.catalog.delete_segment("a")
    engine.catalog.delete_list("vip")
    assert (dict(engine.catalog.segments), dict(engine.catalog.lists)) == ({}, {})
    assert engine.user_count == 10
    for delete in (engine.catalog.delete_segment, engine.catalog.delete_list):
        with pytest.raises(NotFoundError):
            delete("a")


def test_List_counts_users_who_exist_also_those_who_come_later(engine):
    assert engine.catalog.save_list("vip", ["u1", "u3", "late", "u1"]).size == 3
    assert who(engine, 'in list "vip"') == ["u1", "u3"]
    engine.ingest([Identify("late", {}, NOW_MS)])
    assert who(engine, 'in list "vip"') == ["u1", "u3", "late"]
    engine.ingest([Delete("u3")])
    assert who(engine, 'in list "vip"') == ["u1", "late"]
    engine.ingest([Identify("u3", {}, NOW_MS)])
    assert who(engine, 'in list "vip"') == ["u1", "late"]
    engine.catalog.save_list("vip", [])
    assert who(engine, 'not in list "vip" and n = 1') == ["u1"]


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ('in segment "lo"', UnknownSegmentError, '"low"'),
        ('in list "vp"', UnknownListError, '"vip"'),
        ('not everyone and in list "x"', UnknownListError, None),
    ],
)
def test_Unknown_reference_is_an_error_with_the_nearest_name(engine, text, kind, hint):
    engine.catalog.save_segment("low", "n < 5")
    engine.catalog.save_list("vip", [])
    with pytest.raises(kind) as caught:
        engine.count(text)
    assert hint is None or hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("", "everyone", InvalidSegmentError),
        ("x" * 300, "everyone", InvalidSegmentError),
        ("a", "n = ", SegmentSyntaxError),
        ("a", 'in segment "missing"', InvalidSegmentError),
        ("a", 'in list "missing"', InvalidSegmentError),
    ],
)
def test_Bad_segment_is_not_saved(engine, name, text, kind):
    with pytest.raises(kind):
        engine.catalog.save_segment(name, text)
    assert not engine.catalog.segments


def test_Bad_list_is_not_saved(engine):
    for name, user_ids in (("", []), ("a", [""]), ("a", ["x" * 600])):
        with pytest.raises(InvalidArgumentError):
            engine.catalog.save_list(name, user_ids)
    assert not engine.catalog.lists


def test_Declared_type_decides_before_the_first_value(engine):
    engine.declare("signup_at", ValueType.DATETIME)
    engine.declare("code", ValueType.STRING)
    engine.declare("amount", ValueType.NUMBER, "Charged")
    assert engine.count("signup_at is set").count == 0
    result = engine.ingest(
        [
            Identify("a", {"signup_at": "soon", "code": "2024-01-01"}, NOW_MS),
            Track("a", "Charged", {"amount": "5"}, NOW_MS),
            Track("a", "Charged", {"amount": 5}, NOW_MS),
        ]
    )
    assert [(each.row, each.name) for each in result.rejections] == [(0, "signup_at"), (1, "amount")]
    assert "expected a datetime, got 'soon'" in result.rejections[0].reason
    assert who(engine, 'code = "2024-01-01" and did "Charged" with sum(amount) = 5') == ["a"]
    fields = {(field.event, field.name): (field.type.value, field.declared) for field in engine.schema()}
    assert fields == {
        (None, "n"): ("number", False),
        (None, "signup_at"): ("datetime", True),
        (None, "code"): ("string", True),
        ("Charged", "amount"): ("number", True),
    }


def test_Type_that_values_have_fixed_cannot_be_declared_otherwise(engine):
    engine.declare("n", ValueType.NUMBER)
    with pytest.raises(TypeMismatchError, match="number already"):
        engine.declare("n", ValueType.STRING)
    for name, event in (("", None), ("a", ""), ("a" * 300, None)):
        with pytest.raises(InvalidArgumentError):
            engine.declare(name, ValueType.STRING, event)


def test_Event_with_declared_properties_alone_is_still_unseen(engine):
    engine.declare("amount", ValueType.NUMBER, "Charged")
    assert "no event" in engine.count('did "Charged"').warnings[0]
    assert engine.count('did "Charged" with sum(amount) > 1').count == 0


def test_Catalog_is_there_after_reopening(tmp_path):
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS)) as engine:
        engine.ingest([Identify("u", {"n": 1, "tags": ["a"]}, NOW_MS)])
        engine.catalog.save_list("vip", ["u", "late"])
        engine.catalog.save_segment("z", 'in list "vip"')
        engine.catalog.save_segment("a", 'in segment "z" and n = 1')
        engine.declare("x", ValueType.GEO, "E")
        schema = engine.schema()
    with Engine.open(tmp_path, clock=FixedClock(NOW_MS)) as engine:
        assert who(engine, 'in segment "a"') == ["u"]
        assert {name: each.size for name, each in engine.catalog.lists.items()} == {"vip": 2}
        assert engine.schema() == schema
