"""Kept bitmaps: brought up to date as operations arrive and time goes by, and bounded in bytes and number."""

import random
from datetime import UTC, datetime

import pytest
from pyroaring import BitMap

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.operations import Delete, Identify, Track
from bitseg.query.cache import MAX_CONDITIONS, AnswerCache, CachedAnswer
from bitseg.query.freshness import Stamp
from tests.conftest import NOW_MS

HOUR = 3_600_000
START = int(datetime(2024, 3, 28, 20, tzinfo=UTC).timestamp() * 1000)


def entry(bitmap):
    return CachedAnswer(bitmap, Stamp((), (), None), 0, 0, 0)


def test_Least_recently_used_goes_first():
    kept = AnswerCache(3_000)
    for key in "abcdefgh":
        kept.keep(key, entry(BitMap(range(0, 1_000, 3))))
        kept.find("a")
    assert 0 < kept.size_bytes <= 3_000
    assert kept.find("a") is not None
    assert kept.find("b") is None


def test_Bitmap_larger_than_the_bound_is_not_kept():
    kept = AnswerCache(100)
    kept.keep("a", entry(BitMap(range(10))))
    assert kept.find("a") is None
    assert kept.size_bytes == 0


def test_Number_of_kept_bitmaps_is_bounded():
    kept = AnswerCache(2**40)
    for key in range(MAX_CONDITIONS + 5):
        kept.keep(key, entry(BitMap()))
    assert len(kept) == MAX_CONDITIONS
    assert kept.find(0) is None


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


@pytest.mark.parametrize("seed", range(12))
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
            kept = sorted(page for pages in engine.members(segment).pages for page in pages)
            fresh = Engine(engine.workspace, clock=clock)
            fresh._index, fresh._catalog = engine._index, engine._catalog
            assert kept == sorted(page for pages in fresh.members(segment).pages for page in pages), segment
    statistics = engine._materialised
    assert statistics.hits > 10
    assert statistics.refreshes > 10


def test_Kept_answer_is_refreshed_not_worked_out_again():
    clock = FixedClock(START)
    engine = Engine(clock=clock)
    engine.ingest([Track(f"u{number}", "A", {"n": 1}, START) for number in range(100)])
    segment = 'did "A" at least 2 times in last 30 days'
    assert engine.count(segment).count == 0
    for number in range(5):
        engine.ingest([Track(f"u{number}", "A", {"n": 1}, START)])
        clock.at_ms = START + number * 24 * HOUR
        assert engine.count(segment).count == number + 1
    assert engine._materialised.misses == 1
    clock.at_ms = START + 31 * 24 * HOUR
    assert engine.count(segment).count == 0
    assert engine._materialised.misses == 1


def test_Words_of_bitmaps_go_with_what_they_were_of(engine):
    """Under writes each refresh makes new bitmaps; the words of those before were kept until there was no room."""
    total = 20_000
    engine.ingest([Identify(f"u{n}", {"a": n % 2, "b": n % 3, "c": n % 5}, NOW_MS) for n in range(total)])
    sizes = []
    for number in range(20):
        engine.ingest([Identify(f"u{number}", {"a": 1, "b": 1, "c": 1}, NOW_MS + number)])
        assert engine.count("a = 1 and b = 1 and c = 1").count > 600
        sizes.append(engine._dense.size_bytes)
    assert 0 < max(sizes) == min(sizes)
