"""Partitions while events come in: readers keep what they hold, and nothing is lost or doubled."""

import random
import time

import numpy as np
from pyroaring import BitMap

from bitseg.calendar import Calendar
from bitseg.index import partitions
from bitseg.index.bitmaps import to_array
from bitseg.index.events import Event
from bitseg.index.partitions import Property
from bitseg.segment.windows import ALL_TIME, Interval
from bitseg.values import ValueType

CALENDAR = Calendar("UTC")
DAY_MS = 86_400_000


def appended(event, users, times_ms, numbers):
    event.properties.setdefault("n", Property(ValueType.NUMBER))
    event.append(
        np.array(users, np.uint32), np.array(times_ms, np.int64), {"n": np.array(numbers, np.float64)}, CALENDAR
    )


def rows_of(content):
    rows = content.rows()
    return list(zip(rows.users.tolist(), rows.offsets_ms.tolist(), rows.columns["n"].values().tolist(), strict=True))


def test_Reader_keeps_what_it_held_and_later_ones_see_all(monkeypatch):
    monkeypatch.setattr(partitions, "_SMALLEST_MERGE", 40)
    monkeypatch.setattr(partitions, "_MOST_BLOCKS", 3)
    source = random.Random(3)
    event, model, held = Event("A"), [], []
    for number in range(300):
        batch = [
            (source.randrange(9), source.randrange(50), float(number * 10 + each))
            for each in range(source.randrange(1, 6))
        ]
        appended(event, *zip(*batch, strict=True))
        model += batch
        partition = event.partitions[0]
        assert len(partition) == len(model)
        if source.random() < 0.4:
            held.append((partition.content(), sorted(model, key=lambda row: row[:2])))
        if held and source.random() < 0.3:
            content, expected = held.pop(source.randrange(len(held)))
            few = sorted(source.sample(range(9), 3))
            rows = content.rows_of(np.array(few, np.uint32))
            assert rows.columns["n"].values().tolist() == [row[2] for row in expected if row[0] in few]
            assert rows_of(content) == expected
        assert set(partition.bitmap) == {row[0] for row in model}
    for content, expected in held:
        assert rows_of(content) == expected
    assert rows_of(event.partitions[0].content()) == sorted(model, key=lambda row: row[:2])


def test_Days_are_in_order_whenever_they_arrive():
    event = Event("A")
    for days in ([7], [3, 9], [5, 1, 7]):
        appended(event, [1] * len(days), [day * DAY_MS + 5 for day in days], [1.0] * len(days))
    assert list(event.partitions) == [1, 3, 5, 7, 9]
    whole = [(partition.day, is_whole) for partition, is_whole in event.within(Interval(3 * DAY_MS, 7 * DAY_MS + 5))]
    assert whole == [(3, True), (5, True), (7, False)]
    assert event.drop_before(5) == 2
    assert [partition.day for partition in event.partitions.values()] == [5, 7, 9]
    assert event.total == sum(map(len, event.partitions.values())) == 4


def test_Appending_takes_as_long_for_a_day_however_many_there_are():
    """10,000 days took 20 seconds, and four times as long for twice as many: each new day sorted all of them."""
    event, days = Event("A"), np.random.default_rng(1).permutation(20_000)
    started = time.monotonic()
    for first in range(0, len(days), 10):
        some = days[first : first + 10]
        appended(event, [1] * len(some), some * DAY_MS, [1.0] * len(some))
    assert time.monotonic() - started < 20
    assert list(event.partitions) == list(range(20_000))


def test_Rollups_are_gone_with_days_that_had_no_events_left():
    event = Event("A")
    for day in range(40):
        appended(event, [day // 8], [day * DAY_MS], [1.0])
    event.prepare()
    event.remove(np.array([0], np.uint32))
    event.prepare()
    event.drop_before(8)
    assert event.faults(BitMap(range(5))) == []


def test_Rollups_have_the_users_of_their_days_as_days_go_by():
    """A rollup made while its last days were still to come stood for them once they had come."""
    source = random.Random(4)
    event, by_day = Event("A"), {}
    for day in range(100):
        for _ in range(2):
            late = max(day - source.choice([0, 0, 0, 5, 30]), 0)
            users = [source.randrange(500) for _ in range(5)]
            appended(event, users, [late * DAY_MS + 1] * 5, [1.0] * 5)
            by_day.setdefault(late, set()).update(users)
        first = source.randrange(day + 1)
        days = [each for each in range(first, day + 1) if each in by_day]
        found = set()
        for bitmap in event.bitmaps(days):
            found |= set(to_array(bitmap).tolist())
        assert found == set().union(*(by_day[each] for each in days))
        if day == 50:
            event.drop_before(20)
            by_day = {each: users for each, users in by_day.items() if each >= 20}
    assert len(event.bitmaps(sorted(by_day))) < 20
    assert [partition.day for partition, _ in event.within(ALL_TIME)] == sorted(by_day)
