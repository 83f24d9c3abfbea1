"""Clocks: the source of the present instant. Tests and replays pass their own clock."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Tells the present instant in milliseconds since 1970-01-01T00:00:00Z."""

    def now_ms(self) -> int: ...


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@dataclass(slots=True)
class FixedClock:
    """A clock that stands still at `at_ms`."""

    at_ms: int

    def now_ms(self) -> int:
        return self.at_ms
