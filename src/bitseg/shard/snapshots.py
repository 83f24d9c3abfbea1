"""Snapshots, backups and exports of a workspace, while queries and writes go on."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bitseg.columns import Columns
from bitseg.errors import DataDirectoryError, InvalidArgumentError, NotDurableError
from bitseg.results import SnapshotResult
from bitseg.runtime.locks import FairLock
from bitseg.runtime.periodic import PeriodicThread
from bitseg.shard.exports import Exports
from bitseg.shard.state import CapturedState
from bitseg.shard.writer import Writer
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import Store
from bitseg.values import ValueType

# How often the thread looks by itself whether a snapshot is due, and how long it waits after the first that failed.
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 2.0

_log = logging.getLogger("bitseg.shard")


class Snapshots:
    """Takes snapshots of one workspace, one at a time; safe to use from many threads.

    `settings` are those of the workspace, as plain values.
    """

    def __init__(self, writer: Writer, settings: Mapping[str, Any]) -> None:
        self._writer = writer
        self._state = writer.state
        self._settings = settings
        # One capture at a time.
        self._lock = FairLock()
        self.exports = Exports()
        self.saved_version = -1

    def snapshot(self) -> SnapshotResult:
        """Write what changed since the last snapshot, and shorten the journal.

        Raises DataDirectoryError or DiskFullError where the disk refuses; nothing is lost then. InvalidArgumentError
        for a workspace that lives in memory alone, WorkspaceBrokenError for one that has to be opened again.
        """
        with self._lock:
            store = self._writer.store
            if not isinstance(store, Store):
                raise InvalidArgumentError("the workspace lives in memory alone", hint="open one in a directory")
            started = time.perf_counter()
            with suppress(NotDurableError):
                # What the journal has lost, the snapshot will have.
                store.flush()
            with self._writer.lock:
                version = self._state.version
            if version == self.saved_version and not store.has_failed:
                return SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)
            self.exports.give_way()
            with self._writer.lock:
                version = self._state.version
                captured, cut = self._state.capture(self._writer.lock), store.cut()
            is_stored = False
            try:
                store.publish(cut, captured.parts(), version=version, purge=captured.index.has_deleted)
                is_stored = True
                self.saved_version = version
            finally:
                self._release(captured, is_stored=is_stored)
            return SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)

    def backup(self, directory: Path) -> SnapshotResult:
        """Take a snapshot and copy it into a directory that is empty or new, from which the same workspace is opened.

        DataDirectoryError or DiskFullError where the disk refuses, or the directory holds a workspace already.
        """
        with self._lock:
            store = self._writer.store
            if not isinstance(store, Store):
                store, result = self.create(directory, SyncPolicy.NEVER)
                store.close()
                return result
            result = self.snapshot()
            store.copy_to(directory)
            return result

    def create(self, directory: Path, sync: SyncPolicy) -> tuple[Store, SnapshotResult]:
        """Make a workspace like this one in a directory that has none."""
        started = time.perf_counter()
        with self._lock, self._captured() as captured:
            store = Store.create(directory, self._settings, captured.parts(), sync, version=captured.version)
        return store, SnapshotResult(captured.version, store.snapshot_bytes, time.perf_counter() - started)

    def tables(self) -> Iterator[tuple[str | None, dict[str, ValueType], Iterator[Columns]]]:
        """All users, and then all events of each name, as they are now, in blocks that can be ingested.

        Yields the name of the event, None for users, the type of every attribute or property, and the blocks, each to
        be read before the next. The times of user rows mean nothing.

        Snapshots and other exports wait meanwhile, unless the reader stops reading: see `Exports`. The export then ends
        and its next step raises VersionGoneError.
        """
        with self._lock:
            self.exports.give_way()
            with self._writer.lock:
                captured = self._state.capture(self._writer.lock)
            export = self.exports.begin(captured.version, lambda: self._release(captured, is_stored=False))
        try:
            yield None, captured.index.attribute_types(), export.blocks(captured.index.user_blocks())
            for event in captured.index.events:
                with export.reading():
                    table = event.name, dict(event.types), export.blocks(captured.index.event_blocks(event))
                yield table
        finally:
            export.close()

    @contextmanager
    def _captured(self) -> Iterator[CapturedState]:
        """The state as it is, whatever is written meanwhile; the caller holds the lock of the snapshots."""
        self.exports.give_way()
        with self._writer.lock:
            captured = self._state.capture(self._writer.lock)
        try:
            yield captured
        finally:
            self._release(captured, is_stored=False)

    def _release(self, captured: CapturedState, *, is_stored: bool) -> None:
        if self._writer.lock.is_broken:
            return
        with self._writer.lock:
            self._state.release(captured, is_stored=is_stored)


class RegularSnapshots:
    """A thread that takes snapshots: when the journal has grown, and when only that makes it take records again.

    A writer wakes it. It also looks by itself, for an fsync may fail in the background.
    """

    def __init__(self, snapshots: Snapshots, writer: Writer, after_bytes: int) -> None:
        self._snapshots = snapshots
        self._writer = writer
        self._after_bytes = after_bytes
        self._thread = PeriodicThread(
            "snapshot",
            self._snapshot_if_due,
            _LOOK_SECONDS,
            retry_seconds=_RETRY_SECONDS,
            log=_log,
            expected=(DataDirectoryError,),
        )
        self._thread.start()
        writer.on_sync = self._wake_if_due

    @property
    def failures(self) -> int:
        """How many snapshots have failed."""
        return self._thread.failures

    def stop(self) -> None:
        """End after the snapshot that is being taken, if there is one."""
        self._thread.stop()

    def _is_due(self) -> bool:
        # A broken workspace takes no snapshot until it is opened again.
        if self._writer.lock.is_broken:
            return False
        store = self._writer.store
        return store.has_failed or store.journal_bytes >= self._after_bytes

    def _wake_if_due(self) -> None:
        if self._is_due():
            self._thread.wake()

    def _snapshot_if_due(self) -> None:
        if self._is_due():
            self._snapshots.snapshot()
