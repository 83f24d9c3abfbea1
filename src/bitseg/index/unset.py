"""Attributes that have only been set to null: the time of each user's null, until a value fixes the type."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.storage.snapshot import Part


class UnsetTimes:
    """The latest null of each user for one attribute without a type. `revision` grows with every change."""

    def __init__(self) -> None:
        self.revision = 0
        self._times_ms: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._times_ms)

    def write(self, users: NDArray[np.uint32], timestamps_ms: NDArray[np.int64]) -> None:
        """Store nulls; both arrays have shape (n,)."""
        times_ms = self._times_ms
        for user, time_ms in zip(users.tolist(), timestamps_ms.tolist(), strict=True):
            if time_ms >= times_ms.get(user, time_ms):
                times_ms[user] = time_ms
        self.revision += 1

    def clear(self, users: NDArray[np.uint32]) -> None:
        """Remove users."""
        if self._times_ms:
            for user in users.tolist():
                self._times_ms.pop(user, None)
            self.revision += 1

    def arrays(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Users, ascending, and the times of their nulls, in milliseconds; shape (n,)."""
        users = np.fromiter(self._times_ms, np.uint32, len(self._times_ms))
        times_ms = np.fromiter(self._times_ms.values(), np.int64, len(self._times_ms))
        order = np.argsort(users)
        return users[order], times_ms[order]

    def part(self, name: str) -> Part:
        """The part for a snapshot."""
        users, times_ms = self.arrays()
        return Part(("unset", name), self.revision, lambda: {"users": users, "times_ms": times_ms})

    def restore(self, state: Mapping[str, Any], revision: int, total: int) -> None:
        """Restore the part of a snapshot of `total` users; ValueError for anything else."""
        match state:
            case {"users": np.ndarray() as users, "times_ms": np.ndarray() as times_ms}:
                is_typed = users.dtype == np.uint32 and times_ms.dtype == np.int64
                if is_typed and users.shape == times_ms.shape == (len(users),) and users.max(initial=0) < max(total, 1):
                    self._times_ms = dict(zip(users.tolist(), times_ms.tolist(), strict=True))
                    self.revision = revision
                    return
        raise ValueError("the nulls of an attribute are not users and times")
