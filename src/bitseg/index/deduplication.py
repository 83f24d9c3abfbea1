"""Deduplication: the last 4 to 8 million message ids, and each producer's last sequence."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import xxhash

from bitseg.errors import InvalidArgumentError
from bitseg.storage.snapshot import Part

# Two generations of this size: at least the last so many message ids are remembered, at most twice as many.
WINDOW_MESSAGES = 4_000_000
MAX_PRODUCERS = 10_000
DIGEST_BYTES = 16
# Ids that one part of a snapshot has.
_PART_IDS = 2**18


def digest(message_id: str) -> bytes:
    """What is kept of a message id: xxh3_128 of its UTF-8, which two ids share once in 10^24 windows."""
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
        # The same end to end, in order of arrival.
        self._recent_bytes = bytearray()
        self._older_bytes = bytearray()

    def __contains__(self, message_digest: bytes) -> bool:
        return message_digest in self._recent or message_digest in self._older

    def isdisjoint(self, digests: Iterable[bytes]) -> bool:
        """Whether none of some ids is remembered."""
        return self._recent.isdisjoint(digests) and self._older.isdisjoint(digests)

    def add(self, digests: Sequence[bytes]) -> None:
        """Remember ids that are not remembered, by their digests."""
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
        """The parts for a snapshot, as they are."""
        parts: list[Part] = []
        for generation, held in ((self._generation - 1, self._older_bytes), (self._generation, self._recent_bytes)):
            step = _PART_IDS * DIGEST_BYTES
            for place, first in enumerate(range(0, len(held), step)):
                last = min(first + step, len(held))
                # The bytes up to here never change, wherever they lie.
                parts.append(Part(("messages", generation, place), last, partial(_copied, held, first, last)))
        return parts

    def restore(self, generation: int, digests: bytes) -> None:
        """Take back the next part of a snapshot; ValueError for bytes that are not digests."""
        if generation > self._generation and self._recent:
            self._older, self._older_bytes = self._recent, self._recent_bytes
            self._recent, self._recent_bytes = set(), bytearray()
        self._generation = generation
        self._recent.update(split(digests))
        self._recent_bytes += digests


def _copied(held: bytearray, first: int, last: int) -> bytes:
    return bytes(held[first:last])


def split(digests: bytes) -> list[bytes]:
    """Digests that lie end to end; ValueError for bytes that are not digests."""
    if not isinstance(digests, bytes) or len(digests) % DIGEST_BYTES:
        raise ValueError("the message ids are cut short")
    return [digests[place : place + DIGEST_BYTES] for place in range(0, len(digests), DIGEST_BYTES)]


class Producers:
    """The number of the last batch taken from each producer."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def last(self, name: str) -> int:
        """The number of the last batch taken from a producer; 0 before the first."""
        return self._last.get(name, 0)

    def require_next(self, name: str, sequence: int) -> None:
        """Raise InvalidArgumentError for a batch that cannot follow the last."""
        last = self.last(name)
        if sequence != last + 1:
            raise InvalidArgumentError(
                f'the producer "{name}" sent batch {sequence} after batch {last}', hint=f"go on with batch {last + 1}"
            )
        if name not in self._last and len(self._last) >= MAX_PRODUCERS:
            raise InvalidArgumentError(f"there are {MAX_PRODUCERS:,} producers already, the limit")

    def advance(self, name: str, sequence: int) -> None:
        """Note that a batch was taken."""
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
