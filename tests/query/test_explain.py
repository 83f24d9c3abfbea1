"""Explanations agree with the answers, condition by condition."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.errors import NotFoundError
from bitseg.operations import Identify, Track
from bitseg.segment import nodes as n
from bitseg.segment import parse
from tests.conftest import NOW_MS
from tests.generate import EPOCH, Generator, workspace

DAY_MS = 86_400_000


@settings(max_examples=int(os.environ.get("BITSEG_FUZZ_HISTORIES", "400")) // 10, deadline=None)
@given(st.integers(0, 2**63))
def test_Explanation_agrees_with_the_answers(seed):
    generator = Generator(seed)
    engine = workspace(generator)
    for batch in generator.batches():
        engine.ingest(batch)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    users = [user for page in engine.members("everyone").pages for user in page]
    for _ in range(5):
        segment, user = generator.segment(), generator.pick(users)
        explanation = engine.explain(user, segment, as_of).explanation
        assert parse(explanation.condition) == segment
        check(explanation, user, engine, as_of)


def check(explanation, user, engine, as_of):
    condition = parse(explanation.condition)
    members = {each for page in engine.members(condition, as_of).pages for each in page}
    assert explanation.matches == (user in members)
    below = [each.matches for each in explanation.conditions]
    match condition:
        case n.And():
            assert explanation.matches == all(below)
        case n.Or():
            assert explanation.matches == any(below)
        case n.Not():
            assert [explanation.matches] == [not each for each in below]
        case n.InSegment():
            assert [explanation.matches] == (below or [explanation.matches])
            assert bool(below) != (explanation.note == "explained above")
        case n.Did(quantity=None):
            assert explanation.matches == ((explanation.event_count > 0) != condition.negated)
        case n.Did(quantity=n.Times(n.Count(n.Bound.EXACTLY, number)), negated=False):
            assert explanation.matches == (explanation.event_count == number)
        case n.Comparison(_, n.IsSet(negated)):
            assert explanation.matches == ((explanation.value is None) == negated)
    for each in explanation.conditions:
        check(each, user, engine, as_of)


@pytest.fixture
def engine(engine):
    engine.ingest(
        [
            Identify("u", {"country": "CA", "age": 20}, NOW_MS),
            *(Track("u", "Charged", {"amount": 1.5}, NOW_MS - back * DAY_MS) for back in range(30)),
            Track("u", "Charged", {}, NOW_MS),
        ]
    )
    return engine


def test_Attribute_condition_shows_the_value(engine):
    explanation = engine.explain("u", 'country = "US"').explanation
    assert (explanation.matches, explanation.value) == (False, "CA")


def test_Event_condition_shows_window_count_latest_events_and_what_they_add_up_to(engine):
    result = engine.explain("u", 'did "Charged" with sum(amount) > 40 in last 25 days')
    explanation = result.explanation
    assert (explanation.matches, explanation.event_count, len(explanation.events)) == (False, 26, 20)
    assert explanation.note == "26 of the user's 31 such events so far count; sum(amount) is 37.5"
    assert explanation.events[-1].timestamp_ms == NOW_MS
    assert explanation.events[0].properties == {"amount": 1.5}
    start, end = (datetime.fromtimestamp(each / 1000, UTC).isoformat() for each in explanation.interval_ms)
    assert (start, end) == ("2024-01-07T00:00:00+00:00", "2024-02-01T00:00:00+00:00")
    assert result.timezone == "UTC"


@pytest.mark.parametrize(
    ("function", "note"),
    [("avg", "1.5"), ("min", "1.5"), ("max", "1.5"), ("distinct", "1")],
)
def test_Every_function_shows_its_result(engine, function, note):
    explanation = engine.explain("u", f'did "Charged" with {function}(amount) > 0').explanation
    assert explanation.note.endswith(f"{function}(amount) is {note}")


def test_Events_without_the_property_say_so(engine):
    engine.ingest([Track("v", "Charged", {}, NOW_MS)])
    assert engine.explain("v", 'did "Charged" with sum(amount) > 0').explanation.note.endswith(
        "none of them has amount"
    )


def test_Sequence_shows_the_events_of_all_steps(engine):
    engine.ingest([Track("u", "Left", {}, NOW_MS + 5)])
    as_of = datetime(2024, 1, 31, 13, tzinfo=UTC)
    explanation = engine.explain("u", 'did "Charged" then did "Left" within 1 hour today', as_of).explanation
    assert explanation.matches
    assert [each.event for each in explanation.events] == ["Charged", "Charged", "Left"]


def test_Saved_segment_is_explained_within(engine):
    engine.catalog.save_segment("Adults", "age >= 18")
    explanation = engine.explain("u", 'in segment "Adults"').explanation
    assert [(each.condition, each.value) for each in explanation.conditions] == [("age >= 18", 20.0)]


def test_Unknown_user_is_not_found(engine):
    with pytest.raises(NotFoundError, match='"nobody"'):
        engine.explain("nobody", "everyone")
