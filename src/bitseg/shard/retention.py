"""Events past the retention go by the clock, also while nobody writes."""

import logging

from bitseg.errors import DataDirectoryError
from bitseg.grouping import Limits
from bitseg.records import EventsExpired
from bitseg.shard.writer import Writer

_log = logging.getLogger("bitseg.shard")

# How far ahead of the clock a timestamp may be.
FUTURE_TOLERANCE_MS = 3_600_000


class Retention:
    """Drops whole days of events, those before the last `days`, today included; None keeps all."""

    def __init__(self, writer: Writer, days: int | None) -> None:
        self._writer = writer
        self._days = days
        # When a day turns, and with it the oldest day changes.
        self._next_ms = 0

    def expire(self, now_ms: int) -> None:
        """Drop the events that are past the retention at an instant, by a record; nothing where there are none."""
        if self._days is None or now_ms < self._next_ms:
            return
        index = self._writer.state.index
        calendar = index.calendar
        today = calendar.day_of(now_ms)
        oldest_day = today - self._days + 1
        with self._writer.editing():
            if index.has_events_before(oldest_day):
                self._writer.write(EventsExpired(oldest_day))
        self._next_ms = calendar.day_start_ms(today + 1)

    def try_expire(self, now_ms: int) -> None:
        """As `expire`, for who only reads: where the disk refuses the record, the events stay until it takes one."""
        try:
            self.expire(now_ms)
        except DataDirectoryError as error:
            _log.warning("events past the retention are still counted: %s", error)

    def limits(self, now_ms: int) -> Limits:
        """The instants that timestamps must lie in."""
        newest_ms = now_ms + FUTURE_TOLERANCE_MS
        if self._days is None:
            return Limits(newest_ms)
        calendar = self._writer.state.index.calendar
        return Limits(newest_ms, calendar.day_start_ms(calendar.day_of(now_ms) - self._days + 1))
