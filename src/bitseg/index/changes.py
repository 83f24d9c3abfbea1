"""Logs of the users who changed recently, by which cached answers are refreshed instead of recomputed."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Beyond these bounds, refreshing an answer is no faster than recomputing it.
MAX_CHANGES = 1_024
MAX_USERS = 262_144


@dataclass(frozen=True, slots=True)
class Change:
    """The users whom one revision changed, with repeats, and the first and last instant of the events concerned.

    `added_only` means that events were added and no event was removed.
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
        # Changes up to and including this revision were dropped.
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
        """Add the latest change; old changes are dropped to stay within the bounds."""
        self._changes.append(Change(revision, users, first_ms, last_ms, added_only))
        self._users += len(users)
        while self._changes and (len(self._changes) > MAX_CHANGES or self._users > MAX_USERS):
            oldest = self._changes.popleft()
            self._users -= len(oldest.users)
            self._forgotten = oldest.revision

    def forget(self, revision: int) -> None:
        """Drop all changes up to and including `revision`, whose own change was not added."""
        self._changes.clear()
        self._users = 0
        self._forgotten = revision

    def since(self, revision: int) -> list[Change] | None:
        """The changes after a revision, oldest first; None where some of them were dropped."""
        if revision < self._forgotten:
            return None
        changes: list[Change] = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            changes.append(change)
        return changes[::-1]
