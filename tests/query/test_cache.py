"""Cached answers are refreshed as operations arrive and time goes by, and bounded in bytes and number."""

import random
from datetime import UTC, datetime

import pytest
from pyroaring import BitMap

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.operations import Delete, Identify, Track
from bitseg.query.cache import MAX_CONDITIONS, AnswerCache, CachedAnswer
from bitseg.query.freshness import Stamp
from bitseg.query.plan import Planner
from bitseg.query.session import Moment, QuerySession
from bitseg.runtime.locks import FairLock
from bitseg.segment import parse
from tests.conftest import NOW_MS

HOUR = 3_600_000
START = int(datetime(2024, 3, 28, 20, tzinfo=UTC).timestamp() * 1000)


def answer(bitmap):
    return CachedAnswer(bitmap, Stamp((), (), None), 0, 0, 0)


def key(text):
    return Planner().plan(parse(text)), None


def test_Least_recently_used_is_evicted_first():
    cache = AnswerCache(6_000)
    keys = [key(f"a = {number}") for number in range(8)]
    for each in keys:
        cache.keep(each, answer(BitMap(range(0, 1_000, 3))))
        cache.find(keys[0])
    assert 0 < cache.size_bytes <= 6_000
    assert cache.find(keys[0]) is not None
    assert cache.find(keys[1]) is None


def test_Bitmap_larger_than_the_bound_is_not_cached_and_evicts_nothing():
    cache = AnswerCache(10_000)
    small, large = key("a = 1"), key("a = 2")
    cache.keep(small, answer(BitMap([1])))
    before = cache.size_bytes
    cache.keep(large, answer(BitMap(range(0, 100_000, 3))))
    assert cache.find(large) is None
    assert cache.find(small) is not None
    assert cache.size_bytes == before


def test_Size_of_a_cached_condition_includes_its_values():
    cache = AnswerCache(2**30)
    values = ", ".join(f'"value number {number}"' for number in range(1_000))
    cache.keep(key(f"a in ({values})"), answer(BitMap([1])))
    assert cache.size_bytes > 1_000 * (len("value number 100") + 49)
    small = AnswerCache(50_000)
    small.keep(key(f"a in ({values})"), answer(BitMap([1])))
    assert len(small) == 0


def test_Number_of_cached_answers_is_bounded():
    cache = AnswerCache(2**40)
    leaf, _ = key("a = 1")
    for instant_ms in range(MAX_CONDITIONS + 5):
        cache.keep((leaf, instant_ms), answer(BitMap()))
    assert len(cache) == MAX_CONDITIONS
    assert cache.find((leaf, 0)) is None


SEGMENTS = (
    'did "A"',
    'did "A" in last 2 days',
    'did "A" in last 3 hours',
    'did "A" more than 2 days ago',
    'did "A" where n > 2 in last 3 days',
    'did "A" where n > 2 in last 90 minutes',
    'did "A" at 9:00 to 23:00 in last 2 days',
    'did "A" on weekdays (fri, sat) in last 4 days',
    'did "A" at least 2 times in last 2 days',
    'did "A" exactly 1 times in last 5 hours',
    'did "A" at most 2 times',
    'did "A" on at least 2 days in last 3 days',
    'did "A" with sum(n) > 4 in last 2 days',
    'did "A" with sum(n) < 4 in last 2 days',
    'did "A" with distinct(n) >= 2 in last 2 days',
    'did "A" with avg(n) > 2 in last 8 hours',
    'did "A" for the first time in last 2 days',
    'did "A" for the last time in last 3 hours',
    'did "A" for the first time at 9:00 to 21:00 in last 2 days',
    'did "A" then did "B" within 2 hours in last 2 days',
    'did "A" then did not "B" within 2 hours in last 2 days',
    'did "A" then did "B" within 5 hours then did not "A" within 3 hours',
    'did not "A" in last 2 days',
    "did any event at least 3 times in last 1 day",
    "x > 3",
    "x between 2 and 5",
    'name contains "a"',
    'plan in ("p1", "p2")',
    "born in last 2 days",
    "born anniversary in next 2 days",
    'in bucket 0 to 4 of 10 seed "s"',
    "everyone",
)


def operations(source, now_ms):
    for _ in range(source.choice([1, 1, 3, 20])):
        user = f"u{source.randrange(30)}"
        kind = source.random()
        if kind < 0.03:
            yield Delete(user)
        elif kind < 0.25:
            traits = {
                "x": source.choice([None, 1, 2, 3, 4, 5]),
                "plan": source.choice(["p1", "p2", "p3", None]),
                "name": source.choice(["anna", "bob", "carla"]),
                "born": source.choice(["2024-03-28", "2024-03-30", "2000-03-31", None]),
            }
            yield Identify(user, dict(source.sample(sorted(traits.items()), 2)), now_ms)
        else:
            time_ms = (
                now_ms
                - source.choice([0, 1, HOUR // 2, HOUR, 5 * HOUR, 26 * HOUR, 50 * HOUR])
                + source.choice([0, 0, 0, 20 * 60_000])
            )
            yield Track(user, source.choice("AB"), {"n": source.choice([1, 2, 3])}, time_ms)


def fresh_session(engine):
    """A session over the data of an engine, with an empty cache."""
    state = engine._shard.state
    return QuerySession(state.index, state.catalog, lambda: 0, FairLock(), 0)


def members(session, segment, now_ms):
    query = session.prepare(segment)
    return session.answer([query], Moment(now_ms), lambda evaluator, _: sorted(evaluator.members(query.plan)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.slow
def test_Materialised_answer_equals_a_fresh_one(seed):
    source = random.Random(seed)
    clock = FixedClock(START)
    timezone = source.choice(["UTC", "Europe/Madrid", "America/Chicago"])
    engine = Engine(WorkspaceSettings(timezone), clock=clock)
    engine.ingest([Identify("u0", {"x": 1, "plan": "p1", "name": "anna", "born": "2024-03-28"}, START)])
    for _ in range(60):
        engine.ingest(list(operations(source, clock.now_ms())))
        clock.at_ms = clock.now_ms() + source.choice([0, 0, 1, 60_000, HOUR, 7 * HOUR, 24 * HOUR])
        for segment in source.sample(SEGMENTS, 8):
            cached, fresh = engine._shard.queries.session, fresh_session(engine)
            assert members(cached, segment, clock.at_ms) == members(fresh, segment, clock.at_ms), segment
    statistics = engine.statistics()
    assert statistics.materialised_hits > 10
    assert statistics.materialised_refreshes > 10


def test_Cached_answer_is_refreshed_not_computed_again():
    clock = FixedClock(START)
    engine = Engine(clock=clock)
    engine.ingest([Track(f"u{number}", "A", {"n": 1}, START) for number in range(100)])
    segment = 'did "A" at least 2 times in last 30 days'
    assert engine.count(segment).count == 0
    for number in range(5):
        engine.ingest([Track(f"u{number}", "A", {"n": 1}, START)])
        clock.at_ms = START + number * 24 * HOUR
        assert engine.count(segment).count == number + 1
    assert engine.statistics().materialised_misses == 1
    clock.at_ms = START + 31 * 24 * HOUR
    assert engine.count(segment).count == 0
    assert engine.statistics().materialised_misses == 1


def test_Words_of_a_refreshed_bitmap_replace_the_old_ones(engine):
    total = 20_000
    engine.ingest([Identify(f"u{n}", {"a": n % 2, "b": n % 3, "c": n % 5}, NOW_MS) for n in range(total)])
    sizes = []
    for number in range(20):
        engine.ingest([Identify(f"u{number}", {"a": 1, "b": 1, "c": 1}, NOW_MS + number)])
        assert engine.count("a = 1 and b = 1 and c = 1").count > 600
        sizes.append(engine._shard.queries.session.word_counter.size_bytes)
    assert 0 < max(sizes) == min(sizes)
