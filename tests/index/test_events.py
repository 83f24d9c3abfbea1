"""Partitions while events arrive: the view of a reader does not change, and no event is lost or doubled."""

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


def test_View_of_a_reader_does_not_change_and_later_readers_see_all_events(monkeypatch):
    monkeypatch.setattr(partitions, "_SMALLEST_MERGE", 40)
    monkeypatch.setattr(partitions, "_MOST_BLOCKS", 3)
    source = random.Random(3)
    event, model, views = Event("A"), [], []
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
            views.append((partition.content(), sorted(model, key=lambda row: row[:2])))
        if views and source.random() < 0.3:
            content, expected = views.pop(source.randrange(len(views)))
            few = sorted(source.sample(range(9), 3))
            rows = content.rows_of(np.array(few, np.uint32))
            assert rows.columns["n"].values().tolist() == [row[2] for row in expected if row[0] in few]
            assert rows_of(content) == expected
        assert set(partition.bitmap) == {row[0] for row in model}
    for content, expected in views:
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


def test_Appending_to_a_day_takes_constant_time_for_any_number_of_days():
    """Sorting all days for every added day would take 20 seconds for 10,000 days, and grow with the square."""
    event, days = Event("A"), np.random.default_rng(1).permutation(20_000)
    started = time.monotonic()
    for first in range(0, len(days), 10):
        some = days[first : first + 10]
        appended(event, [1] * len(some), some * DAY_MS, [1.0] * len(some))
    assert time.monotonic() - started < 20
    assert list(event.partitions) == list(range(20_000))


def test_Rollups_of_emptied_days_are_dropped_with_the_days():
    event = Event("A")
    for day in range(40):
        appended(event, [day // 8], [day * DAY_MS], [1.0])
    event.prepare()
    event.remove(np.array([0], np.uint32))
    event.prepare()
    event.drop_before(8)
    assert event.faults(BitMap(range(5))) == []


def test_Rollup_has_the_users_of_days_added_after_it_was_made():
    """A rollup made before its last days have arrived must not be used for them."""
    source = random.Random(4)
    event, by_day = Event("A"), {}
    for day in range(100):
        for _ in range(2):
            late = max(day - source.choice([0, 0, 0, 5, 30]), 0)
            users = [source.randrange(500) for _ in range(5)]
            appended(event, users, [late * DAY_MS + 1] * 5, [1.0] * 5)
            by_day.setdefault(late, set()).update(users)
        first = source.randrange(day + 1)
        days = [past for past in range(first, day + 1) if past in by_day]
        members = set()
        for bitmap in event.bitmaps(days):
            members |= set(to_array(bitmap).tolist())
        assert members == set().union(*(by_day[past] for past in days))
        if day == 50:
            event.drop_before(20)
            by_day = {each: users for each, users in by_day.items() if each >= 20}
    assert len(event.bitmaps(sorted(by_day))) < 20
    assert [partition.day for partition, _ in event.within(ALL_TIME)] == sorted(by_day)
