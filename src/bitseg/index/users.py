"""External user ids to dense integers and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import to_array


class UserDirectory:
    """Numbers users 0, 1, 2, … in order of arrival. A deleted user's number is never given out again.

    `everyone` is the bitmap of users that are not deleted; callers must not change it. `revision` grows with every user
    who comes or goes.
    """

    def __init__(self) -> None:
        self._dense: dict[str, int] = {}
        self._external: list[str] = []
        self._hashes = np.empty(0, np.uint64)
        self.everyone = BitMap()
        self.revision = 0

    def __len__(self) -> int:
        """How many numbers were given out, those of deleted users included."""
        return len(self._external)

    def find(self, user_id: str) -> int | None:
        """The dense id of a user, or None."""
        return self._dense.get(user_id)

    def assign(self, user_ids: Sequence[str]) -> NDArray[np.uint32]:
        """The dense id of each user, with numbers for those met for the first time."""
        first_free = len(self._external)
        found = [*map(self._dense.get, user_ids)]
        for position, dense in enumerate(found):
            if dense is None:
                user_id = user_ids[position]
                dense = self._dense.setdefault(user_id, len(self._external))
                if dense == len(self._external):
                    self._external.append(user_id)
                found[position] = dense
        if len(self._external) > first_free:
            arrived = BitMap()
            arrived.add_range(first_free, len(self._external))
            self.everyone = self.everyone | arrived
            self.revision += 1
        return np.array(found, np.uint32)

    def delete(self, user_ids: Iterable[str]) -> NDArray[np.uint32]:
        """Forget users; the numbers that stood for those who were known."""
        found = [dense for user_id in user_ids if (dense := self._dense.pop(user_id, None)) is not None]
        for dense in found:
            self._external[dense] = ""
        if found:
            self.everyone = self.everyone - BitMap(found)
            self.revision += 1
        return np.array(found, np.uint32)

    def external(self, dense_ids: Iterable[int]) -> list[str]:
        """The external ids of users, in the order given; those deleted are left out."""
        external = self._external
        return [user_id for dense in dense_ids if (user_id := external[dense])]

    def hashes(self) -> NDArray[np.uint64]:
        """xxh3_64 of every external id, by dense id; those of deleted users mean nothing."""
        fresh = self._external[len(self._hashes) :]
        if fresh:
            digests = np.array([xxhash.xxh3_64_intdigest(user_id.encode()) for user_id in fresh], np.uint64)
            self._hashes = np.concatenate([self._hashes, digests])
        return self._hashes

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        return {"external": self._external, "everyone": self.everyone.serialize()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "UserDirectory":
        directory = cls()
        directory._external = list(state["external"])
        directory.everyone = BitMap.deserialize(state["everyone"])
        members = to_array(directory.everyone).tolist()
        directory._dense = {directory._external[dense]: dense for dense in members}
        return directory
