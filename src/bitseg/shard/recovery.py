"""Restores a state from a snapshot and the journal after it."""

from typing import Any

from bitseg.shard import legacy
from bitseg.shard.checks import require_fitting
from bitseg.shard.state import WorkspaceState
from bitseg.storage.record_codec import unpack_record
from bitseg.storage.snapshot import Key


class StateRecovery:
    """Restores the parts of a snapshot of a version, then calls `restored`, and then replays later records.

    `is_legacy` says that both have an earlier format. Unexpected contents raise ValueError.
    """

    def __init__(self, state: WorkspaceState, version: int, *, is_legacy: bool) -> None:
        self._state = state
        self._is_legacy = is_legacy
        state.index.version = version

    def restore(self, key: Key, value: Any, revision: int) -> None:
        """Restore one part of the snapshot; ValueError for unexpected contents."""
        if self._is_legacy:
            legacy.restore(self._state, key, value, revision)
        else:
            self._state.restore(key, value, revision)

    def replay(self, number: int, value: Any) -> None:
        """Apply the record with a number; ValueError if it does not follow the last one."""
        if self._is_legacy:
            legacy.replay(self._state, value)
            return
        version, record = unpack_record(value)
        if not version == number == self._state.version + 1:
            raise ValueError(f"record {number} makes version {version}, but follows version {self._state.version}")
        require_fitting(self._state, record)
        self._state.apply(record)

    def restored(self) -> None:
        """Build what snapshots do not store, after the last part."""
        if self._is_legacy:
            legacy.complete(self._state)
        self._state.restored()
        if not self._is_legacy:
            self._state.catalog.require_whole()
