"""Windows as intervals, with literal dates: month ends, leap days, both daylight-saving changes."""

from datetime import UTC, datetime

import pytest

from bitseg.calendar import Calendar, to_ms
from bitseg.segment import nodes as n
from bitseg.segment import parse
from bitseg.segment.windows import Interval, resolve


def interval(window_text, now, zone):
    condition = parse(window_text if window_text.startswith("d ") else f'did "E" {window_text}')
    window = condition.window if isinstance(condition, n.Did) else condition.predicate.window
    now_ms = to_ms(datetime.fromisoformat(now).replace(tzinfo=UTC))
    return resolve(window, now_ms, Calendar(zone))


@pytest.mark.parametrize(
    ("window", "now", "zone", "start", "end"),
    [
        ("in last 1 days", "2024-05-15 12:00", "UTC", "2024-05-15 00:00:00", "2024-05-16 00:00:00"),
        ("in last 30 days", "2024-03-01 00:00", "UTC", "2024-02-01 00:00:00", "2024-03-02 00:00:00"),
        ("in last 2 weeks", "2024-05-15 12:00", "UTC", "2024-05-02 00:00:00", "2024-05-16 00:00:00"),
        ("in last 1 months", "2024-03-31 12:00", "UTC", "2024-03-01 00:00:00", "2024-04-01 00:00:00"),
        ("in last 1 months", "2024-05-15 12:00", "UTC", "2024-04-16 00:00:00", "2024-05-16 00:00:00"),
        ("in last 12 months", "2024-02-29 12:00", "UTC", "2023-03-01 00:00:00", "2024-03-01 00:00:00"),
        ("in last 6 hours", "2024-05-15 12:00", "UTC", "2024-05-15 06:00:00.001", "2024-05-15 12:00:00.001"),
        ("more than 30 days ago", "2024-03-01 00:00", "UTC", "0001-01-04 00:00:00", "2024-02-01 00:00:00"),
        ("between 60 and 30 days ago", "2024-03-01 09:00", "UTC", "2024-01-01 00:00:00", "2024-02-01 00:00:00"),
        ("between 2024-01-01 and 2024-01-31", "2024-05-15", "UTC", "2024-01-01 00:00:00", "2024-02-01 00:00:00"),
        ("this week", "2024-05-15 12:00", "UTC", "2024-05-13 00:00:00", "2024-05-20 00:00:00"),
        ("this week", "2024-05-13 00:00", "UTC", "2024-05-13 00:00:00", "2024-05-20 00:00:00"),
        ("last week", "2024-05-19 23:59", "UTC", "2024-05-06 00:00:00", "2024-05-13 00:00:00"),
        ("this month", "2024-02-10 12:00", "UTC", "2024-02-01 00:00:00", "2024-03-01 00:00:00"),
        ("last month", "2024-01-10 12:00", "UTC", "2023-12-01 00:00:00", "2024-01-01 00:00:00"),
        ("yesterday", "2024-03-01 12:00", "UTC", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
        # A day of 23 hours, a day of 25 hours, and a local midnight in UTC.
        ("today", "2023-03-12 12:00", "America/New_York", "2023-03-12 05:00:00", "2023-03-13 04:00:00"),
        ("today", "2023-11-05 12:00", "America/New_York", "2023-11-05 04:00:00", "2023-11-06 05:00:00"),
        ("today", "2023-03-12 03:00", "America/New_York", "2023-03-11 05:00:00", "2023-03-12 05:00:00"),
        ("in last 2 days", "2023-10-29 12:00", "Europe/Madrid", "2023-10-27 22:00:00", "2023-10-29 23:00:00"),
        # A midnight that does not exist: the day begins at the end of the gap.
        ("today", "2018-11-04 12:00", "America/Sao_Paulo", "2018-11-04 03:00:00", "2018-11-05 02:00:00"),
        # A day that was skipped is empty.
        ("on 2011-12-30", "2012-01-01", "Pacific/Apia", "2011-12-30 10:00:00", "2011-12-30 10:00:00"),
        ("d in next 7 days", "2024-05-15 12:00", "UTC", "2024-05-15 00:00:00", "2024-05-22 00:00:00"),
        ("d in next 1 months", "2024-01-31 12:00", "UTC", "2024-01-31 00:00:00", "2024-02-29 00:00:00"),
        ("d on today + 5 days", "2024-02-25 12:00", "UTC", "2024-03-01 00:00:00", "2024-03-02 00:00:00"),
        ("d after 2024-01-31", "2024-05-15", "UTC", "2024-02-01 00:00:00", "9999-12-28 00:00:00"),
        ("before 2024-01-31", "2024-05-15", "UTC", "0001-01-04 00:00:00", "2024-01-31 00:00:00"),
        ("since 2024-01-31T10:00:00Z", "2024-05-15", "UTC", "2024-01-31 10:00:00", "9999-12-28 00:00:00"),
        ("on 2024-01-31T10:00:00Z", "2024-05-15", "UTC", "2024-01-31 10:00:00", "2024-01-31 10:00:00.001"),
    ],
)
def test_Window_is_the_interval(window, now, zone, start, end):
    start_ms, end_ms = (to_ms(datetime.fromisoformat(each).replace(tzinfo=UTC)) for each in (start, end))
    assert interval(window, now, zone) == Interval(start_ms, end_ms)


def test_More_than_n_ago_ends_where_in_last_n_begins():
    calendar, now_ms = Calendar("Europe/Madrid"), 1_700_000_000_000
    for amount in range(1, 70):
        for unit in n.Unit:
            duration = n.Duration(amount, unit)
            before = resolve(n.MoreThanAgo(duration), now_ms, calendar)
            assert before.end_ms == resolve(n.InLast(duration), now_ms, calendar).start_ms
