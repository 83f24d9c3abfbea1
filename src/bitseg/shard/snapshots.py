"""Snapshots, backups and exports of a workspace, while queries and writes go on."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bitseg.columns import Columns
from bitseg.errors import DataDirectoryError, InvalidArgumentError, NotDurableError, WorkspaceBrokenError
from bitseg.results import SnapshotResult
from bitseg.runtime.locks import FairLock
from bitseg.runtime.periodic import PeriodicThread
from bitseg.shard.exports import Exports
from bitseg.shard.state import CapturedState
from bitseg.shard.writer import Writer
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import Store
from bitseg.values import ValueType

# A commit wakes the thread of regular snapshots when one is due. The thread also checks by itself, because an fsync may
# fail in the background. After a failure it retries within these seconds, and after further failures later.
LOOK_SECONDS = 0.5
RETRY_SECONDS = 2.0

_log = logging.getLogger("bitseg.shard")


class Snapshots:
    """Takes snapshots of one workspace, one at a time; safe to use from many threads.

    `settings` are the workspace's settings as plain values.
    """

    def __init__(self, writer: Writer, settings: Mapping[str, Any]) -> None:
        self._writer = writer
        self._state = writer.state
        self._settings = settings
        self._lock = FairLock()
        self._exports = Exports()
        self._thread: PeriodicThread | None = None
        self.saved_version = -1

    def start(self, after_bytes: int) -> None:
        """Take snapshots in a thread: when the journal has grown by `after_bytes`, or has failed and needs one."""

        def is_due() -> bool:
            store = self._writer.store
            # A broken workspace cannot be saved until it is opened again.
            if self._writer.lock.is_broken:
                return False
            return store.has_failed or store.journal_bytes >= after_bytes

        thread = self._thread = PeriodicThread(
            "snapshot",
            lambda: self.snapshot() if is_due() else None,
            LOOK_SECONDS,
            retry_seconds=RETRY_SECONDS,
            log=_log,
            expected=(DataDirectoryError, WorkspaceBrokenError),
        )
        self._writer.observe(lambda _: thread.wake() if is_due() else None)
        thread.start()

    def stop(self) -> None:
        """End the open export, and the thread after its current snapshot."""
        # The export first, because the thread may be waiting for it.
        self._exports.end("the workspace was closed")
        if self._thread is not None:
            self._thread.stop()

    @property
    def failures(self) -> int:
        """How many regular snapshots have failed."""
        return 0 if self._thread is None else self._thread.failures

    def snapshot(self) -> SnapshotResult:
        """Write what changed since the last snapshot, and shorten the journal.

        Raises DataDirectoryError or DiskFullError if the disk refuses; nothing is lost then. InvalidArgumentError
        for a workspace in memory, WorkspaceBrokenError for a workspace that has to be opened again.
        """
        with self._lock:
            store = self._writer.store
            if not isinstance(store, Store):
                raise InvalidArgumentError("the workspace is only in memory", hint="open a workspace in a directory")
            started = time.perf_counter()
            with suppress(NotDurableError):
                # The snapshot has the records that the journal may have lost.
                store.flush()
            with self._writer.lock:
                version = self._state.version
            if version == self.saved_version and not store.has_failed:
                return SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)
            self._exports.give_way()
            with self._writer.lock:
                captured, cut = self._state.capture(self._writer.lock), store.cut()
            version, is_stored = captured.version, False
            try:
                store.publish(cut, captured.parts(), version=version, purge=captured.index.has_deleted)
                is_stored = True
                self.saved_version = version
            finally:
                self._release(captured, is_stored=is_stored)
            return SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)

    def backup(self, directory: Path) -> SnapshotResult:
        """Take a snapshot and copy it into an empty or new directory, which can be opened as the same workspace.

        DataDirectoryError or DiskFullError if the disk refuses, or the directory has a workspace already.
        """
        with self._lock:
            store = self._writer.store
            if not isinstance(store, Store):
                store, result = self.create(directory, SyncPolicy.NEVER, is_empty=False)
                store.close()
                return result
            result = self.snapshot()
            store.copy_to(directory)
            return result

    def create(self, directory: Path, sync: SyncPolicy, *, is_empty: bool) -> tuple[Store, SnapshotResult]:
        """Make a workspace with the contents of this one, which may be empty, in a directory without one."""
        started = time.perf_counter()
        with self._lock:
            self._exports.give_way()
            with self._writer.lock:
                captured = self._state.capture(self._writer.lock)
            try:
                store = Store.create(
                    directory, self._settings, captured.parts(), sync, version=captured.version, is_empty=is_empty
                )
            finally:
                self._release(captured, is_stored=False)
        return store, SnapshotResult(captured.version, store.snapshot_bytes, time.perf_counter() - started)

    def tables(self) -> Iterator[tuple[str | None, dict[str, ValueType], Iterator[Columns]]]:
        """All users, and then all events of each name, at one version, in blocks that can be ingested.

        Yields the name of the event (None for users), the type of every attribute or property, and the blocks. A block
        must be read before the next one. The times of user rows have no meaning.

        A snapshot or another export waits meanwhile. If no block is read for 10 seconds, or the reader's own thread
        takes a snapshot, the export ends, and the reader's next step raises VersionGoneError.
        """
        with self._lock:
            self._exports.give_way()
            with self._writer.lock:
                captured = self._state.capture(self._writer.lock)
            export = self._exports.begin(captured.version, lambda: self._release(captured, is_stored=False))
        try:
            index = captured.index
            yield None, index.attribute_types(), export.blocks(index.user_blocks())
            for event in index.events:
                with export.reading():
                    table = event.name, dict(event.types), export.blocks(index.event_blocks(event))
                yield table
        finally:
            export.close()

    def _release(self, captured: CapturedState, *, is_stored: bool) -> None:
        if self._writer.lock.is_broken:
            return
        with self._writer.lock:
            self._state.release(captured, is_stored=is_stored)
