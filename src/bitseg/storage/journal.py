"""The journal: every change, in order, on disk before it is acknowledged.

A journal is a sequence of files (see `journal_format` for their bytes); records are appended to the last one. Each
process begins a file of its own, and another one after every cut. It never writes to the files of other processes.

No byte of a file is ever written for two different records: the rest of a failed write is truncated, durably, before
the next record is written. A record is durable when its file and the file's name were fsynced after the write. Files
are fsynced in order.

Every step may be interrupted, by Ctrl-C or by a lack of memory. The state of the journal is therefore changed in single
assignments, and after an interrupted step the journal refuses further records.
"""

import errno
import os
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from bitseg.errors import InternalError, NotDurableError, file_error
from bitseg.storage import frames, journal_format

_INTERVAL_SECONDS = 1.0
# A thread that waits for another thread's fsync checks again after this, because that thread may be interrupted.
_WAIT_SECONDS = 1.0
_INTERRUPTED = OSError(errno.EINTR, "an fsync was interrupted")


class Cut(NamedTuple):
    """A moment between two records: the file that begins with it, and the number of the last record before it.

    `has_failed` says that some records before it may be lost. No record was written after it then.
    """

    journal: int
    version: int
    has_failed: bool


class SyncPolicy(Enum):
    """When a record is made durable: before it is acknowledged, every second, or when the operating system decides."""

    ALWAYS = "always"
    INTERVAL = "interval"
    NEVER = "never"


@dataclass(slots=True)
class _File:
    """A file being written. `size` is the end of its last whole record; `is_entered` says that its name is durable."""

    number: int
    path: Path
    descriptor: int
    size: int
    is_entered: bool = False


class Journal:
    """Appends records to files of its own; safe to use from many threads.

    A record is durable when `sync` has returned. Threads that wait for it at the same time share one fsync. After a
    failed fsync, the records since the last successful one may be lost even if a later fsync succeeds. All further
    records are then refused with NotDurableError until `superseded` reports a snapshot that has them all.
    """

    def __init__(
        self,
        folder: Path,
        workspace: str,
        number: int,
        version: int,
        policy: SyncPolicy,
        size_bytes: int = 0,
        oldest_ms: int = 0,
    ) -> None:
        """A journal that continues after the durable record `version` in a file `number` that it creates."""
        self._folder = folder
        self._workspace = workspace
        self._marker = journal_format.marker(workspace)
        self._policy = policy
        self._number = number
        self._last = self._durable = version
        self._file: _File | None = None
        # Files without further records to come, which may not be durable yet.
        self._finished: list[_File] = []
        self._failure: OSError | None = None
        # True during an append, and after one that was interrupted before it could clean up.
        self._is_writing = False
        self._has_withdrawn = False
        self._is_syncing = False
        self._changed = threading.Condition()
        self._size_bytes = size_bytes
        self._oldest_ms = oldest_ms
        self._closing = threading.Event()
        self._timer: threading.Thread | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes written since the last cut, and those of earlier files."""
        return self._size_bytes

    @property
    def oldest_ms(self) -> int:
        """When the first record since the last cut was written; for earlier files the earliest possible time.

        0 if no record was written since.
        """
        return self._oldest_ms if self._size_bytes else 0

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._last

    @property
    def has_failed(self) -> bool:
        """Whether records are refused until a snapshot has all of them."""
        with self._changed:
            return self._failure is not None or self._is_writing

    def append(self, payload: bytes) -> int:
        """Write a record and return its number, for `sync`. After an error, `last_record` tells whether it was written.

        Raises DiskFullError if the disk is full, NotDurableError after a failed fsync, InternalError after
        `withdraw`, else DataDirectoryError.
        """
        with self._changed:
            self._require_writable()
            record, file = self._last + 1, self._file
            frame = journal_format.frame(self._marker, payload, record, self._durable)
            now_ms = self._oldest_ms if self._size_bytes else time.time_ns() // 1_000_000
            total = self._size_bytes + len(frame)
            self._is_writing = True
            try:
                if file is None:
                    file = self._begin()
                end = file.size + len(frame)
                _write(file.descriptor, frame)
                # A single statement without a call, which nothing can interrupt.
                file.size, self._last, self._size_bytes, self._oldest_ms = end, record, total, now_ms
            except BaseException as error:
                self._cut_to_size()
                if isinstance(error, OSError):
                    path = journal_format.path_of(self._folder, self._number)
                    raise file_error("cannot write to the journal", path, error) from error
                raise
            self._is_writing = False
            return record

    def withdraw(self, payload: bytes) -> None:
        """Remove the last record, which has this payload and was not acknowledged; further records are refused.

        If the file system refuses, the record stays in the file, and the next process to open it applies it.
        """
        self._has_withdrawn = True
        with self._changed:
            file = self._file
            if file is None:
                raise InternalError("there is no record to withdraw from the journal")
            size, record = file.size - journal_format.HEADER_BYTES - len(payload), self._last - 1
            file.size, self._last, self._durable = size, record, min(self._durable, record)
            self._cut_to_size()

    def sync(self, record: int) -> None:
        """Wait until the policy lets a record be acknowledged; NotDurableError if it may be lost."""
        if self._policy is SyncPolicy.ALWAYS:
            self._sync(record)
        else:
            self._require_sound()

    def flush(self) -> None:
        """Make all records durable; NotDurableError if they may be lost."""
        self._sync(self._last)

    def cut(self) -> Cut:
        """End the current file; the next record begins another one."""
        with self._changed:
            finished = [*self._finished, *([self._file] if self._file else [])]
            cut = Cut(self._number + 1, self._last, self._failure is not None or self._is_writing)
            self._finished, self._file, self._number, self._size_bytes = finished, None, cut.journal, 0
            return cut

    def superseded(self, cut: Cut, version: int) -> None:
        """Report a durable snapshot that has all records before a cut; `version` numbers the last of them.

        It is the cut's version, except when an upgrade renumbers the records. None may have followed the cut then.
        """
        with self._changed:
            self._await_turn()
            if version != cut.version:
                if self._file is not None or self._last != cut.version:
                    raise InternalError("records were written after a snapshot that renumbers them")
                self._last = self._durable = version
            if cut.has_failed:
                self._failure, self._is_writing, self._durable = None, False, self._last
            self._durable = max(self._durable, version)
            left = [file for file in self._finished if file.number >= cut.journal]
            done, self._finished = [file for file in self._finished if file.number < cut.journal], left
            _close(done)
            self._changed.notify_all()

    def close(self) -> None:
        """Make all records durable and close; NotDurableError if they may be lost."""
        self._closing.set()
        if self._timer is not None:
            self._timer.join()
        try:
            self.flush()
        finally:
            with self._changed:
                self._await_turn()
                files = [*self._finished, *([self._file] if self._file else [])]
                self._finished, self._file = [], None
                _close(files)

    def _begin(self) -> _File:
        """Create a file. If that fails, its remains are removed; if they cannot be, no record may follow."""
        if self._policy is SyncPolicy.INTERVAL and self._timer is None:
            self._timer = threading.Thread(target=self._sync_regularly, name="bitseg-journal", daemon=True)
            self._timer.start()
        path = journal_format.path_of(self._folder, self._number)
        start = journal_format.opening(self._workspace, self._last, self._durable)
        descriptor = -1
        is_ours = True
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _write(descriptor, start)
            file = self._file = _File(self._number, path, descriptor, len(start))
        except FileExistsError as error:
            is_ours = False
            raise file_error("cannot create a journal file", path, error) from error
        except OSError as error:
            raise file_error("cannot create a journal file", path, error) from error
        finally:
            if self._file is None and is_ours:
                self._unlink(path, descriptor)
        return file

    def _unlink(self, path: Path, descriptor: int) -> None:
        try:
            if descriptor >= 0:
                os.close(descriptor)
            path.unlink(missing_ok=True)
        except OSError as error:
            self._failure = error

    def _cut_to_size(self) -> None:
        """Truncate the file after its last whole record, durably. If that fails too, no record may follow."""
        file = self._file
        try:
            if file is not None and os.fstat(file.descriptor).st_size != file.size:
                os.ftruncate(file.descriptor, file.size)
                os.fsync(file.descriptor)
            # The remains of a file whose creation failed block the next file until a cut.
            is_in_the_way = file is None and journal_format.path_of(self._folder, self._number).exists()
            self._is_writing = is_in_the_way
        except OSError as error:
            self._failure, self._is_writing = error, False

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise NotDurableError(
                f"the journal in {self._folder} cannot be relied on: {self._failure.strerror}",
                hint="writes are refused until a snapshot succeeds, which is retried; "
                "check the disk, and send unacknowledged changes again",
            )

    def _require_writable(self) -> None:
        self._require_sound()
        if self._has_withdrawn:
            raise InternalError(
                f"the last record of the journal in {self._folder} was withdrawn, and no other can follow it",
                hint="open the directory again",
            )
        if self._is_writing:
            raise NotDurableError(
                f"a write to the journal in {self._folder} was interrupted",
                hint="writes are refused until a snapshot succeeds, which is retried",
            )

    def _sync(self, record: int) -> None:
        while True:
            with self._changed:
                self._require_sound()
                if self._durable >= record:
                    return
            self._sync_files()

    def _sync_files(self) -> None:
        """Make all written records durable, or wait for another thread that does."""
        failure, is_leader = _INTERRUPTED, False
        try:
            with self._changed:
                if self._is_syncing:
                    self._changed.wait(_WAIT_SECONDS)
                    return
                written, finished, current = self._last, self._finished, self._file
                files = [*finished, *([current] if current else [])]
                self._is_syncing, is_leader = True, True
            # In order, so that no record is durable before an earlier one.
            for file in files:
                os.fsync(file.descriptor)
                if not file.is_entered:
                    frames.sync_directory(self._folder)
                    file.is_entered = True
            with self._changed:
                # Files that were cut meanwhile are in both lists.
                left = [file for file in self._finished if file not in finished]
                durable = max(self._durable, min(written, self._last))
                self._durable, self._finished, self._is_syncing, is_leader = durable, left, False, False
                self._changed.notify_all()
                _close(finished)
        except OSError as error:
            failure = error
        finally:
            if is_leader:
                self._failure, self._is_syncing = failure, False
                with self._changed:
                    self._changed.notify_all()

    def _await_turn(self) -> None:
        """Wait until no thread uses the descriptors. Called with the lock held."""
        while self._is_syncing:
            self._changed.wait(_WAIT_SECONDS)

    def _sync_regularly(self) -> None:
        while not self._closing.wait(_INTERVAL_SECONDS):
            try:
                self.flush()
            except NotDurableError:
                # The next write raises it.
                continue


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _close(files: list[_File]) -> None:
    for file in files:
        os.close(file.descriptor)
