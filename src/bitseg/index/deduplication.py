"""Deduplication: the last 4 to 8 million message ids, and each producer's last sequence."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import xxhash

from bitseg.errors import InvalidArgumentError
from bitseg.storage.snapshot import Part

# The size of one of the two generations: between one and two times this many message ids are remembered.
WINDOW_MESSAGES = 4_000_000
MAX_PRODUCERS = 10_000
DIGEST_BYTES = 16
# Ids in one part of a snapshot.
_PART_IDS = 2**18


def digest(message_id: str) -> bytes:
    """The digest that stands for a message id: xxh3_128 of its UTF-8. Two ids collide once in 10^24 windows."""
    return xxhash.xxh3_128_digest(message_id.encode())


class SeenMessages:
    """Remembers at least the last `window` message ids, in two generations of which the older is dropped whole.

    `revision` grows whenever ids are added.
    """

    def __init__(self, window: int = WINDOW_MESSAGES) -> None:
        self._window = window
        self._generation = 0
        self.revision = 0
        self._recent: set[bytes] = set()
        self._older: set[bytes] = set()
        # The digests of both sets end to end, in order of arrival.
        self._recent_bytes = bytearray()
        self._older_bytes = bytearray()

    def __contains__(self, message_digest: bytes) -> bool:
        return message_digest in self._recent or message_digest in self._older

    def isdisjoint(self, digests: Iterable[bytes]) -> bool:
        """Whether no message id of these digests is remembered."""
        return self._recent.isdisjoint(digests) and self._older.isdisjoint(digests)

    def add(self, digests: Sequence[bytes]) -> None:
        """Remember the digests of message ids, which must not be remembered already."""
        self.revision += 1
        start = 0
        while start < len(digests):
            if len(self._recent) >= self._window:
                self._older, self._older_bytes = self._recent, self._recent_bytes
                self._recent, self._recent_bytes = set(), bytearray()
                self._generation += 1
            part = digests[start : start + self._window - len(self._recent)]
            self._recent.update(part)
            self._recent_bytes += b"".join(part)
            start += len(part)

    def capture(self) -> list[Part]:
        """The parts for a snapshot of the present state."""
        parts: list[Part] = []
        for generation, digests in ((self._generation - 1, self._older_bytes), (self._generation, self._recent_bytes)):
            step = _PART_IDS * DIGEST_BYTES
            for place, first in enumerate(range(0, len(digests), step)):
                last = min(first + step, len(digests))
                # Digests are only appended, so the bytes up to `last` never change.
                parts.append(Part(("messages", generation, place), last, partial(_copied, digests, first, last)))
        return parts

    def restore(self, generation: int, digests: bytes) -> None:
        """Restore the next part of a snapshot; ValueError for bytes that are not digests."""
        if generation > self._generation and self._recent:
            self._older, self._older_bytes = self._recent, self._recent_bytes
            self._recent, self._recent_bytes = set(), bytearray()
        self._generation = generation
        self._recent.update(split(digests))
        self._recent_bytes += digests


def _copied(digests: bytearray, first: int, last: int) -> bytes:
    return bytes(digests[first:last])


def split(digests: bytes) -> list[bytes]:
    """The digests in a string of digests end to end; ValueError for bytes that are not digests."""
    if not isinstance(digests, bytes) or len(digests) % DIGEST_BYTES:
        raise ValueError("the message ids are cut short")
    return [digests[place : place + DIGEST_BYTES] for place in range(0, len(digests), DIGEST_BYTES)]


class Producers:
    """The sequence number of the last accepted batch of each producer."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def last(self, name: str) -> int:
        """The sequence number of the last accepted batch of a producer; 0 before the first."""
        return self._last.get(name, 0)

    def require_next(self, name: str, sequence: int) -> None:
        """Raise InvalidArgumentError unless `sequence` follows the last batch, and for too many producers."""
        last = self.last(name)
        if sequence != last + 1:
            raise InvalidArgumentError(
                f'the producer "{name}" sent batch {sequence} after batch {last}',
                hint=f"continue with batch {last + 1}",
            )
        if name not in self._last and len(self._last) >= MAX_PRODUCERS:
            raise InvalidArgumentError(f"there are {MAX_PRODUCERS:,} producers already, the limit")

    def advance(self, name: str, sequence: int) -> None:
        """Record that a batch was accepted."""
        self._last[name] = sequence

    def state(self) -> dict[str, int]:
        """Plain values for a snapshot."""
        return dict(self._last)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what a snapshot has; ValueError for anything else."""
        if not isinstance(state, dict) or not all(
            type(name) is str and type(last) is int for name, last in state.items()
        ):
            raise ValueError("the producers are not numbers by name")
        self._last = dict(state)
