"""The journal: every change, in order, on disk before anybody is told that it was made.

A journal is a row of files (see `journal_format` for their bytes), of which the last is appended to. A file that was
begun is never written by another process: each process begins one of its own, and one after every cut.

No place of a file is written twice with two records: what a failed write leaves behind is cut, and the cut is made
durable, before the next record. A record is durable when its file, and the file's name, were fsynced after it was
written; files are fsynced in order.

Every step may be interrupted, by Ctrl-C or for want of memory. What the file and the counters say is therefore changed
in single assignments, and a step that did not end as it should leaves a journal that refuses further records.
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
# Whoever waits for another thread's fsync looks again after this, should that thread have been interrupted.
_WAIT_SECONDS = 1.0
_INTERRUPTED = OSError(errno.EINTR, "an fsync was interrupted")


class Cut(NamedTuple):
    """A moment between two records: the file that begins with it, and the number of the last record before it.

    `has_failed` says that some of those may be lost, so that no record was taken after it.
    """

    journal: int
    version: int
    has_failed: bool


class SyncPolicy(Enum):
    """When a record is made durable: before it is acknowledged, every second, or when the system sees fit."""

    ALWAYS = "always"
    INTERVAL = "interval"
    NEVER = "never"


@dataclass(slots=True)
class _File:
    """A file being written: `size` is where its last whole record ends, `is_entered` that its name is durable."""

    number: int
    path: Path
    descriptor: int
    size: int
    is_entered: bool = False


class Journal:
    """Appends records to files of its own; safe to use from many threads.

    A record is durable when `sync` has returned. Threads that wait for it at the same time share one fsync. Once an
    fsync failed, what was written since the last that succeeded may be lost whatever is done, so all further records
    are refused with NotDurableError until `superseded` says that a snapshot has everything.
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
        """A journal that goes on after record `version`, which is durable, in the file `number`, which is to be."""
        self._folder = folder
        self._workspace = workspace
        self._marker = journal_format.marker(workspace)
        self._policy = policy
        self._number = number
        self._last = self._durable = version
        self._file: _File | None = None
        # Files that get no further records, but may not be durable yet.
        self._finished: list[_File] = []
        self._failure: OSError | None = None
        # An append is under way, or was interrupted where it could not clean up.
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
        """What was written since the last cut, and what there was in files before."""
        return self._size_bytes

    @property
    def oldest_ms(self) -> int:
        """When the first record since the last cut was written, or in files before the earliest it can have been.

        0 where no record was written since.
        """
        return self._oldest_ms if self._size_bytes else 0

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._last

    @property
    def has_failed(self) -> bool:
        """Whether records are refused until a snapshot has all there are."""
        with self._changed:
            return self._failure is not None or self._is_writing

    def append(self, payload: bytes) -> int:
        """Write a record; its number, for `sync`. Where it raises, `last_record` tells whether the record was written.

        Raises DiskFullError where there is no room, NotDurableError after a failed fsync, InternalError after
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
                # One statement without a call, which nothing interrupts.
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
        """Take back the last record, which had this payload and was not acknowledged; no further ones are taken.

        Should the file system refuse, the record is still there for whoever opens the directory next.
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
        """Wait until a record may be acknowledged, by the policy; NotDurableError where it may be lost."""
        if self._policy is SyncPolicy.ALWAYS:
            self._sync(record)
        else:
            self._require_sound()

    def flush(self) -> None:
        """Make all records durable; NotDurableError where they may be lost."""
        self._sync(self._last)

    def cut(self) -> Cut:
        """Go on in a file to come."""
        with self._changed:
            finished = [*self._finished, *([self._file] if self._file else [])]
            cut = Cut(self._number + 1, self._last, self._failure is not None or self._is_writing)
            self._finished, self._file, self._number, self._size_bytes = finished, None, cut.journal, 0
            return cut

    def superseded(self, cut: Cut, version: int) -> None:
        """A snapshot, which is durable, has all records before a cut; its number is `version`.

        That is the cut's, unless records were numbered otherwise before; then none must have come after the cut.
        """
        with self._changed:
            self._await_turn()
            if version != cut.version:
                if self._file is not None or self._last != cut.version:
                    raise InternalError("records came after a snapshot that numbers them anew")
                self._last = self._durable = version
            if cut.has_failed:
                self._failure, self._is_writing, self._durable = None, False, self._last
            self._durable = max(self._durable, version)
            left = [file for file in self._finished if file.number >= cut.journal]
            done, self._finished = [file for file in self._finished if file.number < cut.journal], left
            _close(done)
            self._changed.notify_all()

    def close(self) -> None:
        """Make all records durable and close; NotDurableError where they may be lost."""
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
        """Begin a file; what is left of it where that fails is removed, or no record may follow."""
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
            raise file_error("cannot begin a journal", path, error) from error
        except OSError as error:
            raise file_error("cannot begin a journal", path, error) from error
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
        """Cut what follows the last whole record, durably; where even that fails, no record may follow it."""
        file = self._file
        try:
            if file is not None and os.fstat(file.descriptor).st_size != file.size:
                os.ftruncate(file.descriptor, file.size)
                os.fsync(file.descriptor)
            # What is left of a file that could not be begun is in the way of the next, until a cut.
            is_in_the_way = file is None and journal_format.path_of(self._folder, self._number).exists()
            self._is_writing = is_in_the_way
        except OSError as error:
            self._failure, self._is_writing = error, False

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise NotDurableError(
                f"the journal in {self._folder} cannot be relied on: {self._failure.strerror}",
                hint="writes are refused until a snapshot has succeeded, which is tried again and again; "
                "check the disk, and send again what was not acknowledged",
            )

    def _require_writable(self) -> None:
        self._require_sound()
        if self._has_withdrawn:
            raise InternalError(
                f"the last record of the journal in {self._folder} was withdrawn, so that no other may follow it",
                hint="open the directory again",
            )
        if self._is_writing:
            raise NotDurableError(
                f"a write to the journal in {self._folder} was interrupted",
                hint="writes are refused until a snapshot has succeeded, which is tried again and again",
            )

    def _sync(self, record: int) -> None:
        while True:
            with self._changed:
                self._require_sound()
                if self._durable >= record:
                    return
            self._sync_files()

    def _sync_files(self) -> None:
        """Make durable what was written, or wait for another thread that does."""
        failure, is_leader = _INTERRUPTED, False
        try:
            with self._changed:
                if self._is_syncing:
                    self._changed.wait(_WAIT_SECONDS)
                    return
                written, finished, file = self._last, self._finished, self._file
                files = [*finished, *([file] if file else [])]
                self._is_syncing, is_leader = True, True
            # In order: no record may outlive one before it.
            for each in files:
                os.fsync(each.descriptor)
                if not each.is_entered:
                    frames.sync_directory(self._folder)
                    each.is_entered = True
            with self._changed:
                # Those that were cut meanwhile are in both lists.
                left = [each for each in self._finished if each not in finished]
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
        """Wait, holding the lock, until no thread is using the descriptors."""
        while self._is_syncing:
            self._changed.wait(_WAIT_SECONDS)

    def _sync_regularly(self) -> None:
        while not self._closing.wait(_INTERVAL_SECONDS):
            try:
                self.flush()
            except NotDurableError:
                # Whoever writes next is told.
                continue


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _close(files: list[_File]) -> None:
    for file in files:
        os.close(file.descriptor)
