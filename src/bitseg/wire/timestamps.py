"""Instants and spans of time to protobuf and back."""

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from bitseg.errors import InvalidArgumentError


def to_timestamp(instant_ms: int) -> Timestamp:
    """An instant as a protobuf timestamp."""
    seconds, milliseconds = divmod(instant_ms, 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def from_timestamp(timestamp: Timestamp) -> int:
    """Milliseconds since the epoch, rounded down."""
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000


def to_datetime(timestamp: Timestamp, field: str) -> datetime:
    """A timestamp as a UTC datetime; InvalidArgumentError, naming the field, outside the years 1 to 9999."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{field} is outside the years 1 to 9999") from None


def to_duration(seconds: float) -> Duration:
    """A span of time as a protobuf duration."""
    return Duration(nanos=round(seconds * 1e9) % 10**9, seconds=int(seconds))


def from_duration(duration: Duration) -> float:
    """Seconds."""
    return duration.seconds + duration.nanos / 1e9
