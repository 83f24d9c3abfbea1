"""Drops events past the retention by the clock, also when nobody writes."""

import logging

from bitseg.errors import DataDirectoryError
from bitseg.grouping import Limits
from bitseg.records import EventsExpired
from bitseg.shard.writer import Writer

_log = logging.getLogger("bitseg.shard")

# How far a timestamp may lie ahead of the clock.
FUTURE_TOLERANCE_MS = 3_600_000


class Retention:
    """Drops the events before the last `days` days, today included; None retains all events."""

    def __init__(self, writer: Writer, days: int | None) -> None:
        self._writer = writer
        self._days = days
        # The next midnight, at which the oldest day changes.
        self._next_ms = 0

    def expire(self, now_ms: int) -> None:
        """Write a record that drops the events past the retention at an instant, if there are any."""
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
        """`expire` for readers: if the disk refuses the record, the events stay until a later record succeeds."""
        try:
            self.expire(now_ms)
        except DataDirectoryError as error:
            _log.warning("events past the retention are still counted: %s", error)

    def limits(self, now_ms: int) -> Limits:
        """The range of instants in which timestamps must lie."""
        newest_ms = now_ms + FUTURE_TOLERANCE_MS
        if self._days is None:
            return Limits(newest_ms)
        calendar = self._writer.state.index.calendar
        return Limits(newest_ms, calendar.day_start_ms(calendar.day_of(now_ms) - self._days + 1))
