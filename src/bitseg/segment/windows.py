"""The interval of time that a window means, as one pure function.

Every window is a half-open interval of UTC milliseconds. The language's rules for days, weeks, months and exact
hours are all here; nothing else in bitseg does arithmetic on windows.
"""

from dataclasses import dataclass

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar, add_months, from_day, to_day
from bitseg.segment.nodes import (
    After,
    Before,
    Between,
    BetweenDaysAgo,
    Day,
    Duration,
    During,
    InLast,
    InNext,
    Moment,
    MoreThanAgo,
    On,
    OnToday,
    Period,
    Since,
    Unit,
    Window,
)

_UNIT_MS = {Unit.MINUTES: 60_000, Unit.HOURS: 3_600_000, Unit.DAYS: 86_400_000, Unit.WEEKS: 604_800_000}


@dataclass(frozen=True, slots=True)
class Interval:
    """The instants from `start_ms`, included, to `end_ms`, excluded."""

    start_ms: int
    end_ms: int

    def clipped(self, other: "Interval") -> "Interval":
        """The part that lies in both."""
        return Interval(max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms))


ALL_TIME = Interval(FIRST_INSTANT_MS, LAST_INSTANT_MS)


def duration_ms(duration: Duration) -> int:
    """The exact length of a duration in milliseconds; a day has 24 hours here. KeyError for months."""
    return duration.amount * _UNIT_MS[duration.unit]


def resolve(window: Window | None, now_ms: int, calendar: Calendar) -> Interval:
    """The interval that a window means at the instant `now_ms`, in the time zone of the calendar; None is all time."""
    match window:
        case None:
            return ALL_TIME
        case InLast(Duration(amount, Unit.MINUTES | Unit.HOURS as unit)):
            return Interval(now_ms - amount * _UNIT_MS[unit] + 1, now_ms + 1)
        case InNext(Duration(amount, Unit.MINUTES | Unit.HOURS as unit)):
            return Interval(now_ms + 1, now_ms + amount * _UNIT_MS[unit] + 1)
        case Before(moment):
            return Interval(ALL_TIME.start_ms, _moment(moment, calendar).start_ms)
        case Since(moment):
            return Interval(_moment(moment, calendar).start_ms, ALL_TIME.end_ms)
        case After(moment):
            return Interval(_moment(moment, calendar).end_ms, ALL_TIME.end_ms)
        case On(moment):
            return _moment(moment, calendar)
        case Between(start, end):
            return Interval(_moment(start, calendar).start_ms, _moment(end, calendar).end_ms)
        case MoreThanAgo(duration):
            return Interval(ALL_TIME.start_ms, resolve(InLast(duration), now_ms, calendar).start_ms)
    today = calendar.day_of(now_ms)
    first, last = _days(window, today)
    return Interval(calendar.day_start_ms(first), calendar.day_start_ms(last + 1))


def _days(window: InLast | InNext | OnToday | BetweenDaysAgo | During, today: int) -> tuple[int, int]:
    """The first and the last day of a window of whole days."""
    match window:
        case InLast(Duration(amount, Unit.MONTHS)):
            return add_months(today, -amount) + 1, today
        case InLast(duration):
            return today - _whole_days(duration) + 1, today
        case InNext(Duration(amount, Unit.MONTHS)):
            return today, add_months(today, amount) - 1
        case InNext(duration):
            return today, today + _whole_days(duration) - 1
        case OnToday(offset_days):
            return today + offset_days, today + offset_days
        case BetweenDaysAgo(oldest_days, newest_days):
            return today - oldest_days, today - newest_days
        case During(period):
            return _period_days(period, today)


def _whole_days(duration: Duration) -> int:
    return duration.amount * 7 if duration.unit is Unit.WEEKS else duration.amount


def _period_days(period: Period, today: int) -> tuple[int, int]:
    monday = today - from_day(today).weekday()
    first_of_month = today - from_day(today).day + 1
    match period:
        case Period.TODAY:
            return today, today
        case Period.YESTERDAY:
            return today - 1, today - 1
        case Period.THIS_WEEK:
            return monday, monday + 6
        case Period.LAST_WEEK:
            return monday - 7, monday - 1
        case Period.THIS_MONTH:
            return first_of_month, add_months(first_of_month, 1) - 1
        case Period.LAST_MONTH:
            return add_months(first_of_month, -1), first_of_month - 1


def _moment(moment: Moment, calendar: Calendar) -> Interval:
    if isinstance(moment, Day):
        day = to_day(moment.value)
        return Interval(calendar.day_start_ms(day), calendar.day_start_ms(day + 1))
    return Interval(moment.value_ms, moment.value_ms + 1)
