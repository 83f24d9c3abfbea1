"""The users who changed lately: with them, a cached answer is brought up to date instead of computed anew."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Beyond this many, computing an answer anew is no slower than bringing it up to date.
MAX_CHANGES = 1_024
MAX_USERS = 262_144


@dataclass(frozen=True, slots=True)
class Change:
    """The users whom one revision changed, with repeats, and the first and last instant of their events.

    `added_only` says that events were added and none removed.
    """

    revision: int
    users: NDArray[np.uint32]
    first_ms: int = 0
    last_ms: int = 0
    added_only: bool = False


class ChangeLog:
    """The latest changes, revision by revision."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._users = 0
        # Changes up to this revision were forgotten.
        self._forgotten = 0

    def add(
        self,
        revision: int,
        users: NDArray[np.uint32],
        first_ms: int = 0,
        last_ms: int = 0,
        *,
        added_only: bool = False,
    ) -> None:
        """Note a change, the latest so far."""
        self._changes.append(Change(revision, users, first_ms, last_ms, added_only))
        self._users += len(users)
        while self._changes and (len(self._changes) > MAX_CHANGES or self._users > MAX_USERS):
            forgotten = self._changes.popleft()
            self._users -= len(forgotten.users)
            self._forgotten = forgotten.revision

    def forget(self, revision: int) -> None:
        """Forget all changes up to and including a revision, which itself was not added."""
        self._changes.clear()
        self._users = 0
        self._forgotten = revision

    def since(self, revision: int) -> list[Change] | None:
        """The changes after a revision, oldest first; None where some of them were forgotten."""
        if revision < self._forgotten:
            return None
        changes: list[Change] = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            changes.append(change)
        return changes[::-1]
