"""How long a client waits before it calls again."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts with full jitter.

    Each wait is anything from no time to a ceiling, so that many clients of a server that starts again do not all call
    at once. The ceiling is `first_seconds` at first and grows by `multiplier` up to `longest_seconds`. `attempts`
    bounds the calls that gRPC makes again by itself.
    """

    first_seconds: float
    longest_seconds: float
    multiplier: float
    attempts: int

    def waits(self, jitter: Callable[[], float] = random.random) -> Iterator[float]:
        """Seconds to wait before each further attempt, without end; `jitter` gives fractions from 0 to 1."""
        ceiling = self.first_seconds
        while True:
            yield ceiling * jitter()
            ceiling = min(ceiling * self.multiplier, self.longest_seconds)

    def service_config(self) -> dict[str, Any]:
        """The same as a `retryPolicy` of gRPC, which adds its own jitter."""
        return {
            "maxAttempts": self.attempts,
            "initialBackoff": f"{self.first_seconds}s",
            "maxBackoff": f"{self.longest_seconds}s",
            "backoffMultiplier": self.multiplier,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }


# Enough for a server that is started again.
RETRY = RetryPolicy(first_seconds=0.1, longest_seconds=2.0, multiplier=3, attempts=4)
