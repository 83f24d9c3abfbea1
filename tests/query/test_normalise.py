"""Every rule as a table of before and after; no rule changes the members."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.index.context import Context
from bitseg.query import normalise as rules
from bitseg.query.cache import AnswerCache, Answers
from bitseg.query.evaluate import Evaluator
from bitseg.query.pins import Pins
from bitseg.query.plan import Planner, SavedPlans
from bitseg.query.wordwise import WordCounter
from bitseg.segment import format, parse
from tests.generate import EPOCH, Generator, workspace


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (rules.split_did_not, 'did not "A"', 'not did "A"'),
        (rules.split_did_not, 'did "A"', 'did "A"'),
        (rules.split_is_not_set, "a is not set", "not a is set"),
        (rules.drop_double_not, "not not a = 1", "a = 1"),
        (rules.flatten, "(a = 1 and b = 2) and c = 3", "a = 1 and b = 2 and c = 3"),
        (rules.flatten, "a = 1 or (b = 2 or c = 3)", "a = 1 or b = 2 or c = 3"),
        (rules.flatten, "(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3"),
        (rules.drop_repeats, "a = 1 and b = 2 and a = 1", "a = 1 and b = 2"),
        (rules.absorb_everyone, "everyone or a = 1", "everyone"),
        (rules.absorb_everyone, "not everyone and a = 1", "not everyone"),
        (rules.settle_contradictions, "a = 1 and b = 2 and not a = 1", "not everyone"),
        (rules.settle_contradictions, "a = 1 or not a = 1", "everyone"),
        (rules.join_equals, 'a = "x" or b = 1 or a in ("y", "x")', 'a in ("x", "y") or b = 1'),
        (rules.join_equals, "a = 1 or a = 2 or not a = 3", "a in (1, 2) or not a = 3"),
        (rules.join_equals, 'a = 1 or a = "x" or a != 2', 'a = 1 or a = "x" or a != 2'),
        (rules.join_equals, 'a = "x" and a = "y"', 'a = "x" and a = "y"'),
        (rules.normalise, 'a = "x" or (a = "y" or a = "z")', 'a in ("x", "y", "z")'),
        (rules.normalise, "everyone and a = 1", "a = 1"),
        (rules.normalise, "not everyone or a = 1", "a = 1"),
        (rules.normalise, "everyone and everyone", "everyone"),
        (rules.normalise, 'not did not "A"', 'did "A"'),
        (rules.normalise, "not (a is not set and not not a is not set)", "a is set"),
        (rules.normalise, "(a = 1 and a = 1) or (b = 2 and not b = 2)", "a = 1"),
    ],
)
def test_Rule_rewrites(rule, before, after):
    assert format(rule(parse(before))) == after


def test_True_and_1_are_not_taken_for_repeats():
    assert format(rules.normalise(parse("a = true or a = 1"))) == "a = true or a = 1"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63))
@pytest.mark.slow
def test_Normalising_keeps_the_members(seed):
    generator = Generator(seed)
    engine = workspace(generator)
    for batch in generator.batches():
        engine.ingest(batch)
    context = Context(generator.now_ms, engine.calendar)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    for _ in range(10):
        segment = generator.segment()
        normal = rules.normalise(segment)
        assert rules.normalise(normal) == normal
        assert engine.count(normal, as_of).count == engine.count(segment, as_of).count
        planner = Planner()
        answers = Answers(AnswerCache(0), engine._shard.state.index, context)
        fresh = Evaluator(answers, planner, SavedPlans(planner, generator.saved), WordCounter(10**6), Pins())
        kept = engine.evaluate(segment, as_of, include_bitmap=True)
        assert fresh.members(planner.plan(segment)).serialize() == kept.bitmap
