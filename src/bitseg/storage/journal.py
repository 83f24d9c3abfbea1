"""The journal: every change, in order, on disk before anybody is told that it was made.

Files are named `journal-NUMBER`, numbered upwards. Each begins with a frame of {workspace, first_record}: whose it is,
and how many records all files before it have. Every further frame is one record (see `frames`). A file that was begun
is never written by another process: each process begins one of its own.

A write that was cut off can leave an unfinished frame at the end of the last file, which `recover` saves aside and
cuts; nobody was told that it was made. Damage anywhere else is an error that names the file and the byte.
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from bitseg.errors import CorruptJournalError, NotDurableError, file_error
from bitseg.storage import frames

_KIND, _FORMAT = "J", 2
# Before 2, segments and lists had records of their own.
_READABLE = (1, 2)
_PREFIX = "journal-"
_TORN_SUFFIX = ".torn"
_INTERVAL_SECONDS = 1.0


class Cut(NamedTuple):
    """A moment between two records: the file that begins with it, and the records before it.

    `has_failed` says that some of those may be lost, so that none was taken after it.
    """

    journal: int
    records: int
    has_failed: bool


class SyncPolicy(Enum):
    """When a record is made durable: before it is acknowledged, every second, or when the system sees fit."""

    ALWAYS = "always"
    INTERVAL = "interval"
    NEVER = "never"


@dataclass(slots=True)
class _File:
    """A file being written: `size` is where its last whole record ends, `is_entered` that its name is durable."""

    path: Path
    descriptor: int
    size: int
    is_entered: bool = False


class Journal:
    """Appends records to files of its own; safe to use from many threads.

    A record is durable when `sync` has returned. Threads that wait for it at the same time share one fsync. Once an
    fsync failed, what was written since the last that succeeded may be lost whatever is done, so all further records
    are refused with NotDurableError until `begin_anew` says that a snapshot has everything.
    """

    def __init__(
        self,
        folder: Path,
        workspace: str,
        number: int,
        records: int,
        policy: SyncPolicy,
        size_bytes: int = 0,
        oldest_ms: int = 0,
    ) -> None:
        self._folder = folder
        self._workspace = workspace
        self._policy = policy
        self._number = number
        self._records = self._durable = records
        self._file: _File | None = None
        # Files that get no further records, but may not be durable yet.
        self._finished: list[_File] = []
        self._failure: OSError | None = None
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

        0 where there is none.
        """
        return self._oldest_ms if self._size_bytes else 0

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._records

    @property
    def has_failed(self) -> bool:
        """Whether records are refused because an fsync failed."""
        return self._failure is not None

    def append(self, payload: bytes) -> int:
        """Write a record; its number, for `sync`. Where it is refused, the journal stays as it was.

        Raises DiskFullError where there is no room, NotDurableError after a failed fsync, else DataDirectoryError.
        """
        data = frames.header(payload) + payload
        with self._changed:
            self._require_sound()
            file = self._file or self._begin()
            try:
                _write(file.descriptor, data)
            except BaseException as error:
                self._cut(file)
                if isinstance(error, OSError):
                    raise file_error("cannot write to the journal", file.path, error) from error
                raise
            file.size += len(data)
            if not self._size_bytes:
                self._oldest_ms = time.time_ns() // 1_000_000
            self._size_bytes += len(data)
            self._records += 1
            return self._records

    def withdraw(self, payload: bytes) -> None:
        """Take back the last record, which had this payload and was not acknowledged."""
        with self._changed:
            if self._file is None:
                return
            self._file.size -= frames.HEADER_BYTES + len(payload)
            self._records -= 1
            self._durable = min(self._durable, self._records)
            self._cut(self._file)

    def sync(self, record: int) -> None:
        """Wait until a record may be acknowledged, by the policy; NotDurableError where it may be lost."""
        if self._policy is SyncPolicy.ALWAYS:
            self._sync(record)
        else:
            self._require_sound()

    def flush(self) -> None:
        """Make all records durable; NotDurableError where they may be lost."""
        self._sync(self._records)

    def cut(self) -> Cut:
        """Go on in a file to come."""
        with self._changed:
            if self._file is not None:
                self._finished.append(self._file)
                self._file = None
            self._number += 1
            self._size_bytes = 0
            return Cut(self._number, self._records, self.has_failed)

    def begin_anew(self) -> None:
        """Take records again: a snapshot has all there were at a cut after the failure, and none came since."""
        with self._changed:
            for file in self._finished:
                os.close(file.descriptor)
            self._finished.clear()
            self._failure = None
            self._durable = self._records
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
                for file in [*self._finished, *([self._file] if self._file else [])]:
                    os.close(file.descriptor)
                self._finished.clear()
                self._file = None

    def _begin(self) -> _File:
        path = self._folder / f"{_PREFIX}{self._number:08}"
        opening = {"workspace": self._workspace, "first_record": self._records}
        payload = frames.pack(opening)
        start = frames.magic(_KIND, _FORMAT) + frames.header(payload) + payload
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            _write(descriptor, start)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
                path.unlink(missing_ok=True)
            raise file_error("cannot begin a journal", path, error) from error
        self._file = _File(path, descriptor, len(start))
        if self._policy is SyncPolicy.INTERVAL and self._timer is None:
            self._timer = threading.Thread(target=self._sync_regularly, name="bitseg-journal", daemon=True)
            self._timer.start()
        return self._file

    def _cut(self, file: _File) -> None:
        """Cut what a failed write left behind; where even that fails, no record may follow it."""
        try:
            os.ftruncate(file.descriptor, file.size)
        except OSError as error:
            self._failure = error

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise NotDurableError(
                f"the journal in {self._folder} cannot be relied on: {self._failure.strerror}",
                hint="writes are refused until a snapshot has succeeded, which is tried again and again; "
                "check the disk, and send again what was not acknowledged",
            )

    def _sync(self, record: int) -> None:
        with self._changed:
            while self._durable < record:
                self._require_sound()
                if self._is_syncing:
                    self._changed.wait()
                    continue
                self._is_syncing = True
                written, finished, file = self._records, list(self._finished), self._file
                self._changed.release()
                failure: OSError | None = None
                try:
                    # In order: no record may outlive one before it.
                    for each in [*finished, *([file] if file else [])]:
                        os.fsync(each.descriptor)
                        if not each.is_entered:
                            frames.sync_directory(self._folder)
                            each.is_entered = True
                except OSError as error:
                    failure = error
                finally:
                    self._changed.acquire()
                    self._is_syncing = False
                    self._changed.notify_all()
                if failure is not None:
                    self._failure = failure
                    continue
                self._durable = max(self._durable, min(written, self._records))
                for each in finished:
                    if each in self._finished:
                        os.close(each.descriptor)
                        self._finished.remove(each)
            self._require_sound()

    def _sync_regularly(self) -> None:
        while not self._closing.wait(_INTERVAL_SECONDS):
            try:
                self.flush()
            except NotDurableError:
                # Whoever writes next is told.
                continue


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where it is, and what it has."""

    path: Path
    offset: int
    value: Any


@dataclass(frozen=True, slots=True)
class Torn:
    """An unfinished frame at the end of the last file, and where it was saved."""

    path: Path
    offset: int
    size_bytes: int
    saved_as: Path


class Recovery:
    """Reads the records of all files from number `first` on, of which earlier ones have `records` in all.

    While `records` are iterated, `torn` and `count` tell what came of it, and `last_number` which number is taken.
    """

    def __init__(self, folder: Path, workspace: str, first: int, records: int) -> None:
        self._folder = folder
        self._workspace = workspace
        self._paths = [(number, path) for number, path in numbered(folder) if number >= first]
        self.last_number = self._paths[-1][0] if self._paths else first - 1
        self.count = records
        self.torn: Torn | None = None

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for _, path in self._paths)

    def records(self) -> Iterator[Record]:
        """Every record, oldest first; CorruptJournalError, UnsupportedFormatError, DataDirectoryError."""
        for place, (_, path) in enumerate(self._paths):
            try:
                yield from self._records_of(path, is_last=place == len(self._paths) - 1)
            except OSError as error:
                raise file_error("cannot read the journal", path, error) from error

    def _records_of(self, path: Path, *, is_last: bool) -> Iterator[Record]:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            offset = 0
            try:
                offset = self._check_opening(path, file, end)
                while offset < end:
                    payload = frames.read(file, offset, end)
                    self.count += 1
                    yield Record(path, offset, _value(path, offset, payload))
                    offset += frames.HEADER_BYTES + len(payload)
            except frames.DamagedFrameError as damage:
                if not (is_last and damage.is_torn):
                    raise corrupt(path, damage.offset, damage.reason) from None
        if offset < end:
            self._save_aside(path, offset, end)

    def _check_opening(self, path: Path, file: Any, end: int) -> int:
        start = file.read(frames.MAGIC_BYTES)
        whole = frames.magic(_KIND, _FORMAT)
        if len(start) < len(whole) and whole.startswith(start):
            raise frames.DamagedFrameError(0, "the file is cut short", is_torn=True)
        frames.check_magic(path, start, _KIND, _READABLE)
        payload = frames.read(file, frames.MAGIC_BYTES, end)
        opening = _value(path, frames.MAGIC_BYTES, payload)
        if not isinstance(opening, dict) or opening.keys() != {"workspace", "first_record"}:
            raise corrupt(path, frames.MAGIC_BYTES, "the opening is none")
        if opening["workspace"] != self._workspace:
            raise corrupt(path, frames.MAGIC_BYTES, "the file belongs to another workspace")
        if opening["first_record"] != self.count:
            raise corrupt(
                path, frames.MAGIC_BYTES, f"it goes on after {opening['first_record']} records, not {self.count}"
            )
        return frames.MAGIC_BYTES + frames.HEADER_BYTES + len(payload)

    def _save_aside(self, path: Path, offset: int, end: int) -> None:
        saved_as = path.with_name(f"{path.name}-{offset}{_TORN_SUFFIX}")
        self.torn = Torn(path, offset, end - offset, saved_as)
        with path.open("r+b") as file:
            file.seek(offset)
            with open(saved_as, "wb", opener=frames.private) as aside:
                aside.write(file.read())
                os.fsync(aside.fileno())
            if offset <= frames.MAGIC_BYTES:
                path.unlink()
            else:
                file.truncate(offset)
                os.fsync(file.fileno())
        frames.sync_directory(self._folder)


def remove_before(folder: Path, first: int) -> None:
    """Remove the files before a number."""
    for number, path in numbered(folder):
        if number < first:
            path.unlink(missing_ok=True)


def remove_torn(folder: Path) -> None:
    """Remove what was saved aside."""
    for path in folder.glob(f"{_PREFIX}*{_TORN_SUFFIX}"):
        path.unlink(missing_ok=True)


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """The files of a journal in a folder, by ascending number."""
    try:
        return frames.numbered(folder, _PREFIX)
    except OSError as error:
        raise file_error("cannot list the data directory", folder, error) from error


def corrupt(path: Path, offset: int, what: str) -> CorruptJournalError:
    """The error for damage at a byte of a journal."""
    return CorruptJournalError(
        f"{path} is damaged at byte {offset}: {what}",
        hint="what follows cannot be trusted; restore a backup with bitseg restore",
    )


def _value(path: Path, offset: int, payload: bytes) -> Any:
    try:
        return frames.unpack(payload)
    except ValueError as error:
        raise corrupt(path, offset, str(error)) from None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
