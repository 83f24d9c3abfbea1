"""Conversion between instants and the calendar days of a time zone, for single values and for arrays.

A day is an integer: days since 1970-01-01. An instant is an integer: milliseconds since
1970-01-01T00:00:00Z. A day is the half-open interval from the instant of its local midnight to the start of the
following day. If midnight occurs twice, the first one counts; if it falls into a gap, the end of the gap. So days of 23
and 25 hours and days that a zone skipped need no special case anywhere else.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from bitseg.errors import InvalidArgumentError

DAY_MS = 86_400_000
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A margin of days at both ends of the range of `datetime`, so that no zone's offset leaves that range.
FIRST_DAY = date(1, 1, 4).toordinal() - EPOCH_ORDINAL
LAST_DAY = date(9999, 12, 28).toordinal() - EPOCH_ORDINAL
FIRST_INSTANT_MS = FIRST_DAY * DAY_MS
LAST_INSTANT_MS = LAST_DAY * DAY_MS

# The days of instants are looked up in a table of all days that the instants span. A table wider than this, or than
# four times the number of instants, is not made; then only the days near the instants are computed.
_WIDEST_TABLE_DAYS = 40_000
# Up to this width, the table is always made.
_SMALL_TABLE_DAYS = 400


def to_day(value: date) -> int:
    """Days since 1970-01-01."""
    return value.toordinal() - EPOCH_ORDINAL


def from_day(day: int) -> date:
    """The date that is `day` days after 1970-01-01, clamped to FIRST_DAY and LAST_DAY."""
    return date.fromordinal(min(max(day, FIRST_DAY), LAST_DAY) + EPOCH_ORDINAL)


def to_ms(value: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime, rounded down."""
    delta = value - EPOCH
    return delta.days * DAY_MS + delta.seconds * 1000 + delta.microseconds // 1000


def from_ms(instant_ms: int) -> datetime:
    """The UTC datetime of an instant."""
    return EPOCH + timedelta(milliseconds=instant_ms)


def format_instant(instant_ms: int) -> str:
    """`2024-01-31T10:00:00Z`, with milliseconds only where there are any."""
    moment = from_ms(instant_ms)
    precision = "milliseconds" if instant_ms % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def add_months(day: int, months: int) -> int:
    """The same day of the month `months` later (or earlier), clamped to that month's last day."""
    start = from_day(day)
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    if year < 1:
        return FIRST_DAY
    if year > 9998:
        return LAST_DAY
    following = date(year + month // 11, (month + 1) % 12 + 1, 1)
    last_of_month = (following - timedelta(days=1)).day
    return to_day(date(year, month + 1, min(start.day, last_of_month)))


class Calendar:
    """Days and local times of one IANA time zone.

    Raises InvalidArgumentError for a name that is not in the time zone database.
    """

    def __init__(self, zone_name: str) -> None:
        if zone_name not in _zone_names():
            raise InvalidArgumentError(
                f"{zone_name!r} is not an IANA time zone", hint='write one such as "Europe/Madrid" or "UTC"'
            )
        self.zone_name = zone_name
        self._zone = ZoneInfo(zone_name)
        self._starts: dict[int, int] = {}

    def day_start_ms(self, day: int) -> int:
        """The instant at which `day` begins; days are clamped to FIRST_DAY and LAST_DAY."""
        day = min(max(day, FIRST_DAY), LAST_DAY)
        start = self._starts.get(day)
        if start is None:
            midnight = datetime.combine(from_day(day), datetime.min.time(), tzinfo=self._zone)
            start = self._starts[day] = to_ms(midnight)
        return start

    def day_of(self, instant_ms: int) -> int:
        """The day of an instant."""
        day = instant_ms // DAY_MS + 1
        while self.day_start_ms(day) > instant_ms and day > FIRST_DAY:
            day -= 1
        return day

    def days_of(self, instants_ms: NDArray[np.int64]) -> NDArray[np.int32]:
        """The day of each instant; shape (n,) in, shape (n,) out."""
        if not len(instants_ms):
            return np.empty(0, np.int32)
        first = int(instants_ms.min()) // DAY_MS - 1
        last = int(instants_ms.max()) // DAY_MS + 2
        if last - first <= min(max(4 * len(instants_ms), _SMALL_TABLE_DAYS), _WIDEST_TABLE_DAYS):
            days = np.arange(first, last + 1)
        else:
            utc_days = np.unique(instants_ms // DAY_MS)
            days = np.unique((utc_days[:, None] + np.arange(-1, 3)).ravel())
        starts = np.array([self.day_start_ms(int(day)) for day in days], np.int64)
        result: NDArray[np.int32] = days[np.searchsorted(starts, instants_ms, side="right") - 1].astype(np.int32)
        return result

    def time_of_day_ms(self, day: int, instants_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Local wall-clock time, in milliseconds after midnight, of instants that all lie in `day`."""
        start, end = self.day_start_ms(day), self.day_start_ms(day + 1)
        if end - start == DAY_MS and self._offset_ms(start) == self._offset_ms(end - 1):
            return instants_ms - start
        seconds, inverse = np.unique(instants_ms // 1000, return_inverse=True)
        offsets = np.array([self._offset_ms(int(second) * 1000) for second in seconds], np.int64)
        return (instants_ms + offsets[inverse]) % DAY_MS

    def format_local(self, instant_ms: int) -> str:
        """The local time of an instant with its offset: `2024-01-31T11:00:00+01:00`."""
        precision = "milliseconds" if instant_ms % 1000 else "seconds"
        return from_ms(instant_ms).astimezone(self._zone).isoformat(timespec=precision)

    def local_ms(self, value: datetime) -> int:
        """The instant of a datetime; one without an offset is a local time of this zone."""
        return to_ms(value if value.tzinfo else value.replace(tzinfo=self._zone))

    def _offset_ms(self, instant_ms: int) -> int:
        offset = from_ms(instant_ms).astimezone(self._zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds() * 1000)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())
