"""Pinned segments: a count is a look-up, and the answer equals that of a session without a cache."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.engine import Engine, Workspace
from bitseg.errors import InvalidArgumentError, NotFoundError, SegmentError
from bitseg.operations import Delete, Identify, Track
from bitseg.query import pins
from bitseg.query.session import Moment, QuerySession
from bitseg.segment.nodes import InSegment
from tests.conftest import NOW_MS
from tests.generate import EPOCH, Generator, workspace
from tests.oracle import Oracle
from tests.query.test_cache import HOUR, SEGMENTS, START, operations


def members(engine, query):
    return sorted(user for page in engine.members(query).pages for user in page)


def fresh_members(engine, name, now_ms):
    """The members of a saved segment, computed by a session without cached answers and pins."""
    session = QuerySession(engine._shard.state.index, engine._shard.state.catalog, lambda: 0, engine._shard.lock, 0)
    query = session.prepare(InSegment(name))
    return session.answer([query], Moment(now_ms), lambda evaluator, _: sorted(evaluator.members(query.plan)))


def pinned_members(engine, name, now_ms):
    session = engine._shard.queries.session
    query = session.prepare(InSegment(name))
    return session.answer([query], Moment(now_ms), lambda evaluator, _: sorted(evaluator.members(query.plan)))


def whole(source, depth=2):
    """A segment of several conditions, as text."""
    if not depth or source.random() < 0.2:
        return source.choice(SEGMENTS)
    parts = [f"({whole(source, depth - 1)})" for _ in range(source.choice([2, 2, 3]))]
    if source.random() < 0.3:
        parts[0] = f"not {parts[0]}"
    return source.choice([" and ", " or "]).join(parts)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.slow
def test_Pinned_answer_equals_a_fresh_one(seed):
    source = random.Random(seed)
    clock = FixedClock(START)
    engine = Engine(Workspace(source.choice(["UTC", "Europe/Madrid", "America/Chicago"])), clock=clock)
    engine.ingest([Identify("u0", {"x": 1, "plan": "p1", "name": "anna", "born": "2024-03-28"}, START)])
    engine.catalog.save_list("some", [f"u{number}" for number in range(0, 40, 3)])
    names = [f"s{number}" for number in range(6)]
    engine.catalog.save_segment("listed", 'in list "some" or not did "A"')
    for number, name in enumerate(names):
        text = whole(source)
        if number and source.random() < 0.6:
            text = f'({text}) and not in segment "{names[number - 1]}" or in segment "listed"'
        engine.catalog.save_segment(name, text)
    for name in (*names[::2], "listed"):
        engine.pin_segment(name)
    for _ in range(60):
        engine.ingest(list(operations(source, clock.now_ms())))
        clock.at_ms += source.choice([0, 0, 1, 60_000, HOUR, 7 * HOUR, 24 * HOUR])
        if source.random() < 0.1:
            engine.catalog.save_segment(names[0], whole(source))
        if source.random() < 0.1:
            engine.catalog.save_list("some", [f"u{source.randrange(40)}" for _ in range(10)])
        for name in (*source.sample(names, 3), "listed"):
            expected = fresh_members(engine, name, clock.at_ms)
            assert engine.count(f'in segment "{name}"').count == len(expected)
            assert pinned_members(engine, name, clock.at_ms) == expected, engine.catalog.get_segment(name).text
    assert engine._shard.queries.session.pins.refreshes > 10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63))
def test_Pinned_answer_equals_the_oracle(seed):
    generator = Generator(seed)
    engine = workspace(generator)
    oracle = Oracle(generator.zone)
    oracle.lists = {name: list(user_ids) for name, user_ids in generator.lists.items()}
    oracle.segments = generator.saved
    # The history has instants up to days after `now_ms`, which a live engine would refuse.
    first, *later = generator.batches()
    engine.ingest(first)
    oracle.take(first)
    engine._clock.at_ms = generator.now_ms
    for name in generator.saved:
        engine.pin_segment(name)
    for batch in later:
        engine._clock.at_ms = generator.now_ms + 100 * 24 * HOUR
        engine.ingest(batch)
        engine._clock.at_ms = generator.now_ms
        oracle.take(batch)
    for name, condition in generator.saved.items():
        expected = oracle.members(condition, generator.now_ms)
        assert set(members(engine, InSegment(name))) == expected
        assert engine.count(InSegment(name)).count == len(expected)
        assert engine.count(InSegment(name), EPOCH + timedelta(milliseconds=generator.now_ms)).count == len(expected)


@pytest.fixture
def engine(engine):
    users = [Identify(f"u{number}", {"plan": "gold", "n": number}, NOW_MS) for number in range(100)]
    engine.ingest([*users, *(Track(f"u{number}", "Seen", {}, NOW_MS) for number in range(50))])
    engine.catalog.save_segment("inner", 'did "Seen" at least 1 times')
    engine.catalog.save_segment("outer", 'in segment "inner" and n >= 10')
    return engine


def test_Count_of_a_pinned_segment_is_a_look_up(engine):
    engine.pin_segment("outer")
    before = engine.statistics()
    for query in ('in segment "outer"', InSegment("outer"), 'in segment "inner" and n >= 10'):
        assert engine.count(query).count == 40
    assert engine.statistics() == before
    assert engine._shard.queries.session.pins.misses == 1


def test_Pinned_segment_is_refreshed_for_the_users_who_changed(engine):
    engine.pin_segment("outer")
    for number in range(50, 60):
        engine.ingest([Track(f"u{number}", "Seen", {}, NOW_MS)])
        assert engine.count('in segment "outer"').count == number - 9
    engine.ingest([Delete("u20"), Identify("u21", {"n": 1}, NOW_MS + 1)])
    assert engine.count('in segment "outer"').count == 48
    assert (engine._shard.queries.session.pins.refreshes, engine._shard.queries.session.pins.misses) == (11, 1)


def test_Pinned_part_of_another_query_is_a_look_up(engine):
    engine.pin_segment("outer")
    engine.ingest([Track("u60", "Seen", {}, NOW_MS)])
    assert engine.count('in segment "outer" and plan = "gold"').count == 41
    assert engine.count('not in segment "outer"').count == 59
    assert engine._shard.queries.session.pins.misses == 1


def test_Pin_is_never_evicted(engine):
    small = Engine(clock=FixedClock(NOW_MS), materialised_bytes=0)
    small.ingest([Track("u", "Seen", {}, NOW_MS)])
    small.catalog.save_segment("seen", 'did "Seen" at least 1 times')
    small.pin_segment("seen")
    for _ in range(3):
        assert small.count('in segment "seen"').count == 1
    assert small._shard.queries.session.pins.misses == 1
    assert small._shard.queries.session.pins.size_bytes > 0
    small.unpin_segment("seen")
    assert (small._shard.queries.session.pins.size_bytes, small.pinned_segments) == (0, ())


@pytest.mark.parametrize("name", ["inner", "outer"])
def test_Pin_follows_edits_of_its_segment_and_of_segments_within_it(engine, name):
    engine.pin_segment("outer")
    assert engine.count('in segment "outer"').count == 40
    engine.catalog.save_segment(name, "n < 5")
    expected = {"inner": 0, "outer": 5}[name]
    assert engine.count('in segment "outer"').count == expected
    assert engine.pinned_segments == ("outer",)
    misses = engine._shard.queries.session.pins.misses
    assert engine.count('in segment "outer"').count == expected
    assert engine._shard.queries.session.pins.misses == misses == 2


def test_Deleted_segment_is_unpinned(engine):
    engine.pin_segment("outer")
    engine.catalog.delete_segment("outer")
    assert engine.pinned_segments == ()
    assert engine._shard.queries.session.pins.size_bytes == 0
    engine.catalog.save_segment("outer", "n = 1")
    assert engine.count('in segment "outer"').count == 1
    assert engine.pinned_segments == ()


def test_Two_pins_of_one_definition_are_unpinned_separately(engine):
    engine.catalog.save_segment("same", 'in segment "inner" and n >= 10')
    engine.pin_segment("outer")
    engine.pin_segment("same")
    engine.unpin_segment("outer")
    assert engine.pinned_segments == ("same",)
    assert engine.count('in segment "same"').count == 40
    assert engine._shard.queries.session.pins.misses == 1


def test_Forgetting_answers_keeps_the_pins(engine):
    engine.pin_segment("outer")
    engine.forget_materialised()
    assert engine.pinned_segments == ("outer",)
    assert engine.count('in segment "outer"').count == 40


def test_As_of_does_not_use_pins(engine):
    engine.pin_segment("outer")
    before = datetime(2024, 1, 30, tzinfo=UTC)
    assert engine.count('in segment "outer"', before).count == 0
    assert engine.count('in segment "outer"').count == 40


def test_Unknown_faulty_and_surplus_segments_cannot_be_pinned(engine, monkeypatch):
    with pytest.raises(NotFoundError, match='"nothing"'):
        engine.pin_segment("nothing")
    engine.catalog.save_segment("broken", "no_such_attribute = 1")
    with pytest.raises(SegmentError, match="no_such_attribute"):
        engine.pin_segment("broken")
    assert engine.pinned_segments == ()
    monkeypatch.setattr(pins, "MAX_PINS", 1)
    engine.pin_segment("inner")
    with pytest.raises(InvalidArgumentError, match="pinned segments"):
        engine.pin_segment("outer")
    engine.pin_segment("inner")
    assert engine.pinned_segments == ("inner",)


def test_Pin_with_many_changed_users_is_computed_for_all_users(engine):
    engine.ingest([Identify(f"v{number}", {"n": number}, NOW_MS) for number in range(3_000)])
    engine.pin_segment("outer")
    engine.ingest([Track(f"v{number}", "Seen", {}, NOW_MS) for number in range(3_000)])
    assert engine.count('in segment "outer"').count == 40 + 2_990
    assert engine._shard.queries.session.pins.misses == 2
