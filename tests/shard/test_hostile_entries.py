"""Segments, lists and declarations that could not be read again are refused before the journal."""

import shutil

import numpy as np
import pytest

from bitseg import Engine
from bitseg.clock import FixedClock
from bitseg.errors import BitsegError, InvalidArgumentError, InvalidSegmentError
from bitseg.index.schema import MAX_ATTRIBUTES, MAX_PROPERTIES
from bitseg.segment.nodes import Boolean, Compare, Comparison, Number, Operator, Text
from bitseg.segment.parse import MAX_CHARACTERS
from bitseg.values import ValueType
from tests.conftest import NOW_MS


@pytest.mark.parametrize("value_type", ["number", None, str], ids=repr)
def test_Declaration_of_what_is_no_type_is_refused(engine, value_type):
    with pytest.raises(InvalidArgumentError, match="no ValueType"):
        engine.declare("n", value_type)
    assert engine.schema() == []


def test_Declarations_heed_the_limits(engine):
    for number in range(MAX_ATTRIBUTES):
        engine.declare(f"a{number}", ValueType.NUMBER)
    for number in range(MAX_PROPERTIES):
        engine.declare(f"p{number}", ValueType.NUMBER, "E")
    for event in (None, "E"):
        with pytest.raises(InvalidArgumentError, match="already, the limit"):
            engine.declare("one more", ValueType.NUMBER, event)
    engine.declare("a0", ValueType.NUMBER)
    engine.declare("p0", ValueType.NUMBER, "E")


@pytest.mark.parametrize("name", [["x"], {}, b"x", 7, None, np.str_("x")], ids=repr)
def test_Name_of_any_class_is_refused(engine, name):
    engine.catalog.save_segment("s", "everyone")
    engine.catalog.save_list("l", [])
    for save in (
        lambda: engine.catalog.save_segment(name, "everyone"),
        lambda: engine.catalog.create_segment(name, "everyone"),
        lambda: engine.catalog.rename_segment("s", name),
        lambda: engine.catalog.clone_segment("s", name),
        lambda: engine.catalog.save_list(name, []),
        lambda: engine.catalog.create_list(name, []),
        lambda: engine.catalog.rename_list("l", name),
    ):
        with pytest.raises(BitsegError, match="not text"):
            save()
    assert engine.version == 2


def test_Labels_and_queries_of_other_classes_are_refused(engine):
    for save in (
        lambda: engine.catalog.save_segment("s", "everyone", labels=["a"]),
        lambda: engine.catalog.save_segment("s", b"everyone"),
        lambda: engine.catalog.save_segment("s", None),
    ):
        with pytest.raises(InvalidArgumentError):
            save()
    assert engine.version == 0


def listed(count):
    return f"a in ({','.join('1' * count)})"


@pytest.mark.slow
def test_Segment_whose_canonical_text_is_too_long_is_refused(engine):
    text = listed(131_000)
    assert len(text) <= MAX_CHARACTERS
    with pytest.raises(InvalidSegmentError, match="393,005 characters in its canonical form"):
        engine.catalog.save_segment("s", text)
    assert engine.count("everyone").count == engine.version == 0


@pytest.mark.slow
def test_Renaming_that_makes_a_segment_too_long_is_refused(engine):
    engine.catalog.save_segment("x", "everyone")
    engine.catalog.save_list("x", [])
    text = f'in segment "x" and in list "x" and {listed(87_360)}'
    engine.catalog.save_segment("s", text)
    for rename in (engine.catalog.rename_segment, engine.catalog.rename_list):
        with pytest.raises(InvalidSegmentError, match='the segment "s" has'):
            rename("x", "y" * 200)
    assert engine.version == 3
    assert engine.count('in segment "x"').count == 0


@pytest.mark.parametrize(
    "value", [Number(np.float64(1.5)), Number(np.int64(2)), Number(2), Text(np.str_("x")), Boolean(1)]
)
def test_Tree_is_kept_as_its_text_is_read_or_refused(tmp_path, value):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        try:
            engine.catalog.save_segment("s", Comparison("a", Compare(Operator.EQUAL, value)))
        except InvalidSegmentError:
            assert engine.version == 0
        shutil.copytree(tmp_path / "a", tmp_path / "crashed", ignore=shutil.ignore_patterns("lock"))
        with Engine.open(tmp_path / "crashed", clock=FixedClock(NOW_MS), create=False) as again:
            assert dict(again.catalog.segments) == dict(engine.catalog.segments)
            assert again.version == engine.version
