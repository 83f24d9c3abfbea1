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

# A commit wakes the thread of the regular snapshots when one is due. It also looks by itself: an fsync may fail in the
# background. After a failure it tries again within these seconds, after further ones later.
LOOK_SECONDS = 0.5
RETRY_SECONDS = 2.0

_log = logging.getLogger("bitseg.shard")


class Snapshots:
    """Takes snapshots of one workspace, one at a time; safe to use from many threads.

    `settings` are those of the workspace, as plain values.
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
        """Take snapshots in a thread: when the journal has grown, and when only that makes it take records again."""

        def is_due() -> bool:
            store = self._writer.store
            # A broken workspace can have no snapshot until it is opened again.
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
        """End the thread after the snapshot that it is taking, and the export that is open."""
        # First the export, for which the thread may wait.
        self._exports.end("the workspace was closed")
        if self._thread is not None:
            self._thread.stop()

    @property
    def failures(self) -> int:
        """How many of the regular snapshots have failed."""
        return 0 if self._thread is None else self._thread.failures

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
        """Take a snapshot and copy it into a directory that is empty or new, from which the same workspace is opened.

        DataDirectoryError or DiskFullError where the disk refuses, or the directory holds a workspace already.
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
        """Make a workspace like this one, which may be empty, in a directory that has none."""
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
        """All users, and then all events of each name, as they are now, in blocks that can be ingested.

        Yields the name of the event, None for users, the type of every attribute or property, and the blocks, each to
        be read before the next. The times of user rows mean nothing.

        A snapshot or another export waits meanwhile, but not for a reader that stops reading: where no block is taken
        for 10 seconds, or the reader's own thread asks for a snapshot, the export ends and its next step raises
        VersionGoneError.
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
