"""Days and local times: gaps, overlaps, skipped days, and arrays against single values."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitseg.calendar import DAY_MS, Calendar, add_months, format_instant, from_day, to_day, to_ms
from bitseg.errors import InvalidArgumentError
from tests.generate import ZONES


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "utc\x00"])
def test_Calendar_refuses_unknown_zones(zone):
    with pytest.raises(InvalidArgumentError, match="time zone"):
        Calendar(zone)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", "2023-03-12", 23),
        ("America/New_York", "2023-11-05", 25),
        ("Europe/Madrid", "2023-03-26", 23),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Sao_Paulo", "2018-02-17", 25),
        ("Australia/Lord_Howe", "2023-04-02", 24.5),
        ("Pacific/Apia", "2011-12-30", 0),
        ("Asia/Kolkata", "2023-03-12", 24),
    ],
)
def test_Day_has_its_length(zone, day, hours):
    calendar = Calendar(zone)
    number = to_day(date.fromisoformat(day))
    assert calendar.day_start_ms(number + 1) - calendar.day_start_ms(number) == hours * 3_600_000


@given(
    st.sampled_from(ZONES),
    st.lists(st.integers(to_ms(datetime(1950, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC)))),
)
def test_Days_of_an_array_are_local_dates(zone, instants):
    calendar = Calendar(zone)
    found = calendar.days_of(np.array(instants, np.int64))
    expected = [to_day(datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).date()) for ms in instants]
    assert found.tolist() == expected == [calendar.day_of(ms) for ms in instants]


@given(
    st.sampled_from(ZONES),
    st.integers(0, 25 * 3_600_000 - 1),
    st.sampled_from(["2023-03-12", "2023-11-05", "2023-04-02", "2018-02-17"]),
)
def test_Time_of_day_is_what_the_clock_shows(zone, offset_ms, day):
    calendar, number = Calendar(zone), to_day(date.fromisoformat(day))
    start_ms = calendar.day_start_ms(number)
    instant_ms = start_ms + offset_ms % (calendar.day_start_ms(number + 1) - start_ms)
    local = datetime.fromtimestamp(instant_ms // 1000, ZoneInfo(zone))
    expected = (local.hour * 3600 + local.minute * 60 + local.second) * 1000 + instant_ms % 1000
    assert calendar.time_of_day_ms(number, np.array([instant_ms])).tolist() == [expected]


def test_Days_far_apart_are_computed_without_a_table():
    calendar = Calendar("America/New_York")
    instants = np.array([-60_000_000_000_000, 0, 200_000_000_000_000], np.int64)
    assert calendar.days_of(instants).tolist() == [calendar.day_of(int(ms)) for ms in instants]


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        ("2024-01-31", 1, "2024-02-29"),
        ("2023-01-31", 1, "2023-02-28"),
        ("2024-03-31", -1, "2024-02-29"),
        ("2024-12-15", 1, "2025-01-15"),
        ("2024-01-15", -1, "2023-12-15"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-11-30", 3, "2025-02-28"),
    ],
)
def test_Months_are_added_and_clamped(day, months, expected):
    assert from_day(add_months(to_day(date.fromisoformat(day)), months)).isoformat() == expected


def test_Instant_is_written_with_milliseconds_where_it_has_any():
    assert format_instant(1_706_695_200_000) == "2024-01-31T10:00:00Z"
    assert format_instant(1_706_695_200_050) == "2024-01-31T10:00:00.050Z"
    assert format_instant(-DAY_MS) == "1969-12-31T00:00:00Z"
