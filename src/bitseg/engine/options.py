"""The settings and options of an engine."""

from dataclasses import dataclass
from typing import Any, TypedDict

from bitseg.clock import Clock
from bitseg.errors import InvalidArgumentError

MAX_RETENTION_DAYS = 100_000
DEFAULT_MATERIALISED_BYTES = 512 * 2**20
# A journal is replayed about as fast as it was written: this size takes seconds to open.
DEFAULT_SNAPSHOT_AFTER_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """Fixed when a workspace is made: its IANA time zone, and how many days of events it retains.

    Raises InvalidArgumentError for a retention that is out of range.
    """

    timezone: str = "UTC"
    retention_days: int | None = None

    def __post_init__(self) -> None:
        retention = self.retention_days
        if retention is not None and not 1 <= retention <= MAX_RETENTION_DAYS:
            raise InvalidArgumentError(f"a retention of {retention} days is out of range", hint="use 1 or more")

    def plain(self) -> dict[str, Any]:
        """Plain values, for the data directory."""
        return {"timezone": self.timezone, "retention_days": self.retention_days}


class EngineOptions(TypedDict, total=False):
    """Options of every engine: the clock, and the memory for cached answers in bytes."""

    clock: Clock
    materialised_bytes: int
