"""How long a client waits before a retry."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts, with full jitter.

    A wait is random between zero and a ceiling, so that clients do not all call a restarted server at once. The first
    ceiling is `first_seconds`; it is multiplied by `multiplier` every time, up to `longest_seconds`. `attempts` bounds
    the retries that gRPC makes by itself.
    """

    first_seconds: float
    longest_seconds: float
    multiplier: float
    attempts: int

    def waits(self, jitter: Callable[[], float] = random.random) -> Iterator[float]:
        """Endless seconds to wait before each further attempt; `jitter` returns fractions from 0 to 1."""
        ceiling = self.first_seconds
        while True:
            yield ceiling * jitter()
            ceiling = min(ceiling * self.multiplier, self.longest_seconds)

    def service_config(self) -> dict[str, Any]:
        """The policy as a `retryPolicy` of gRPC, which adds its own jitter."""
        return {
            "maxAttempts": self.attempts,
            "initialBackoff": f"{self.first_seconds}s",
            "maxBackoff": f"{self.longest_seconds}s",
            "backoffMultiplier": self.multiplier,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }


# Long enough for the restart of a server.
RETRY = RetryPolicy(first_seconds=0.1, longest_seconds=2.0, multiplier=3, attempts=4)
