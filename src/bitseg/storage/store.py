"""The store of a workspace: on disk with a lock, a snapshot and a journal; or in memory, where nothing is stored."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bitseg.errors import BitsegError, DataDirectoryError, InternalError, InvalidArgumentError, NotDurableError
from bitseg.results import Recovered
from bitseg.storage import directory, journal_format, snapshot
from bitseg.storage.directory import DataDirectory
from bitseg.storage.journal import Cut, Journal, SyncPolicy
from bitseg.storage.recovery import Recovery
from bitseg.storage.snapshot import Key, Manifest, Part

# Called with the bytes read so far, and the total.
Progress = Callable[[int, int], None]
# Restores a part of a snapshot: its key, its state, and its revision.
Restore = Callable[[Key, Any, int], None]
# Replays a record: its number, and its unpacked payload.
Replay = Callable[[int, Any], None]

_log = logging.getLogger("bitseg.storage")


class Store:
    """Stores a workspace in a directory that this process has locked.

    A store is opened, then `recover` is called once, and then records are appended. Records are numbered without gaps;
    a snapshot has all records up to its `version`. The store does not interpret parts and payloads.
    """

    # Payloads are stored and read again.
    keeps_records = True

    def __init__(self, directory: DataDirectory, manifest: Manifest, policy: SyncPolicy) -> None:
        self._directory = directory
        self._manifest = manifest
        self._policy = policy
        self._generation = manifest.generation
        self._journal = Journal(directory.path, self._id, manifest.journal, manifest.version, policy)
        self._has_old_journal = False

    @classmethod
    def create(
        cls,
        path: Path,
        workspace: Mapping[str, Any],
        parts: Iterable[Part],
        policy: SyncPolicy,
        *,
        version: int = 0,
        is_empty: bool = False,
    ) -> "Store":
        """Make a workspace in a directory without one; its parts have the records up to `version`.

        After an interruption, an empty workspace can be made again; one with data needs another directory.
        DataDirectoryError for a directory with a workspace, complete or not.
        """
        if directory.has_workspace(path):
            raise DataDirectoryError(f"{path} has a workspace already", hint="use an empty or new directory")
        locked = DataDirectory(path)
        try:
            with directory.creating(path, is_empty=is_empty):
                settings = {**workspace, "id": secrets.token_hex(16)}
                manifest = snapshot.publish(path, Manifest(1, settings, 1, version, {}), parts)
            return cls(locked, manifest, policy)
        except BaseException:
            locked.close()
            raise

    @classmethod
    def open(cls, path: Path, policy: SyncPolicy) -> "Store | None":
        """The store of the workspace in a directory; None if there is no workspace.

        DataDirectoryError for an incomplete workspace, naming what is missing; nothing is written there.
        """
        if not directory.has_workspace(path):
            return None
        locked = DataDirectory(path)
        try:
            manifest = snapshot.read_manifest(path)
            if manifest is None:
                raise snapshot.corrupt(path / snapshot.MANIFEST, 0, "it was removed")
            return cls(locked, manifest, policy)
        except BaseException:
            locked.close()
            raise

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory.path

    @property
    def workspace(self) -> Mapping[str, Any]:
        """The settings of the workspace, as plain values."""
        return self._manifest.workspace

    @property
    def _id(self) -> str:
        return str(self._manifest.workspace["id"])

    @property
    def version(self) -> int:
        """The number of the last record in the current snapshot."""
        return self._manifest.version

    @property
    def needs_upgrade(self) -> bool:
        """Whether the snapshot or the journal has an older format.

        Records are then numbered by their position, not by the versions in them. Publishing a snapshot with a version
        upgrades both.
        """
        return self._has_old_journal or self._manifest.format < snapshot.FORMAT

    @property
    def is_legacy(self) -> bool:
        """Whether parts and records have contents of before format 5; known before `recover`."""
        return self._manifest.format in snapshot.LEGACY

    @property
    def snapshot_bytes(self) -> int:
        """The size of the current snapshot on disk."""
        return self._manifest.size_bytes

    @property
    def journal_bytes(self) -> int:
        """How many bytes the journal has grown by since the snapshot."""
        return self._journal.size_bytes

    @property
    def snapshot_ms(self) -> int:
        """When the current snapshot was published."""
        return int(snapshot.published_at(self.path) * 1000)

    @property
    def journal_ms(self) -> int:
        """The earliest time when the oldest record that is in no snapshot can have been written; 0 without one."""
        return self._journal.oldest_ms

    @property
    def has_failed(self) -> bool:
        """Whether records are refused until a snapshot succeeds."""
        return self._journal.has_failed

    def recover(
        self, restore: Restore, replay: Replay, progress: Progress, finish: Callable[[], None] = lambda: None
    ) -> Recovered:
        """Pass the parts of the snapshot to `restore`, call `finish`, and pass the records of the journal to `replay`.

        Torn bytes of unacknowledged records are saved in a file and cut. `restore`, `finish` and `replay` raise
        ValueError or a BitsegError for unexpected contents; these become CorruptSnapshotError and CorruptJournalError,
        naming file and byte. Any other error of theirs is a bug and becomes InternalError. Nothing is cut or removed
        then.
        """
        started = time.perf_counter()
        recovery = Recovery(self.path, self._id, self._manifest.journal, self._manifest.version)
        journal_bytes = recovery.size_bytes
        total, done = self.snapshot_bytes + journal_bytes, 0
        for key, revision, state, length in snapshot.read_parts(self.path, self._manifest):
            stored = self._manifest.parts[key]
            with _reading(snapshot.parts_path(self.path, stored.file), stored.offset, snapshot.corrupt):
                restore(key, state, revision)
            done += length
            progress(done, total)
        with _reading(self.path / snapshot.MANIFEST, 0, snapshot.corrupt):
            finish()
        for record in recovery.records():
            with _reading(record.path, record.offset, journal_format.corrupt):
                replay(record.number, record.value)
            progress(min(done + record.offset, total), total)
        self._has_old_journal = recovery.has_old_format
        self._journal = Journal(
            self.path,
            self._id,
            recovery.next_number,
            recovery.version,
            self._policy,
            journal_bytes,
            oldest_ms=self.snapshot_ms,
        )
        self._remove_superfluous()
        return Recovered(
            snapshot_bytes=self.snapshot_bytes,
            records=recovery.version - self._manifest.version,
            torn_bytes=recovery.torn_bytes,
            torn_saved_as=", ".join(map(str, recovery.torn_files)) or None,
            seconds=time.perf_counter() - started,
        )

    def append(self, payload: bytes) -> int:
        """Write a record and return its number, for `sync`. Raises as `Journal.append` does."""
        return self._journal.append(payload)

    def withdraw(self, payload: bytes) -> None:
        """Remove the last record, which has this payload and was not acknowledged; further ones are refused."""
        self._journal.withdraw(payload)

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._journal.last_record

    def sync(self, record: int) -> None:
        """Wait until a record and all before it may be acknowledged; NotDurableError if they may be lost."""
        self._journal.sync(record)

    def flush(self) -> None:
        """Make all records durable, whatever the policy; NotDurableError if they may be lost."""
        self._journal.flush()

    def cut(self) -> Cut:
        """Begin another journal file, for a snapshot that has all records before it."""
        return self._journal.cut()

    def publish(self, cut: Cut, parts: Iterable[Part], *, version: int | None = None, purge: bool) -> None:
        """Make the parts of the state at a cut the current snapshot, and delete obsolete files.

        `version` is the number of the last record in the parts: that of the cut, except for a store that needs an
        upgrade. Records are then numbered from it, and none must have been appended since the cut.

        On failure the current snapshot and the whole journal stay. Raises DataDirectoryError or DiskFullError. An
        obsolete file that cannot be deleted is logged and retried by the next snapshot.
        """
        version = cut.version if version is None else version
        if version != cut.version and (not self.needs_upgrade or self.last_record != cut.version):
            raise InternalError(f"a snapshot of version {version} was cut at record {cut.version}")
        self._generation += 1
        wanted = replace(self._manifest, generation=self._generation, journal=cut.journal, version=version)
        self._manifest = snapshot.publish(self.path, wanted, parts, purge=purge)
        self._has_old_journal = False
        self._journal.superseded(cut, version)
        self._remove_superfluous(also_torn=True)

    def copy_to(self, folder: Path) -> None:
        """Copy the current snapshot, without later records, into an empty or new folder.

        The folder has a workspace once the copy is complete. DataDirectoryError if it is not empty.
        """
        with directory.creating(folder, is_empty=False):
            snapshot.copy(self.path, self._manifest, folder)

    def close(self) -> None:
        """Make everything durable and unlock the directory; NotDurableError if records may be lost."""
        try:
            self._journal.close()
        finally:
            self._directory.close()

    def abandon(self) -> None:
        """Unlock the directory after a failure, without writing."""
        try:
            with suppress(NotDurableError):
                self._journal.close()
        finally:
            self._directory.close()

    def _remove_superfluous(self, *, also_torn: bool = False) -> None:
        try:
            snapshot.tidy(self.path, self._manifest)
            for number, path in journal_format.numbered(self.path):
                if number < self._manifest.journal:
                    path.unlink(missing_ok=True)
            for path in journal_format.torn_files(self.path) if also_torn else ():
                path.unlink(missing_ok=True)
            directory.remove_markers(self.path)
        except (OSError, DataDirectoryError) as error:
            _log.warning("cannot delete obsolete files in %s: %s", self.path, error)


class NullStore:
    """The store of a workspace in memory: it counts records and stores nothing."""

    # Payloads need not be packed.
    keeps_records = False
    path = None
    needs_upgrade = is_legacy = has_failed = False
    snapshot_bytes = journal_bytes = snapshot_ms = journal_ms = 0

    def __init__(self, version: int = 0) -> None:
        self.workspace: Mapping[str, Any] = {}
        self.version = self._last = version

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._last

    def recover(
        self, restore: Restore, replay: Replay, progress: Progress, finish: Callable[[], None] = lambda: None
    ) -> Recovered:
        """Restore nothing."""
        return Recovered(snapshot_bytes=0, records=0, torn_bytes=0, torn_saved_as=None, seconds=0)

    def append(self, payload: bytes) -> int:
        """Count a record and return its number."""
        self._last += 1
        return self._last

    def withdraw(self, payload: bytes) -> None:
        """Uncount the last record."""
        self._last -= 1

    def sync(self, record: int) -> None:
        """Return at once: a workspace in memory promises no durability."""

    def flush(self) -> None:
        """Return at once."""

    def cut(self) -> Cut:
        """The cut after the last record."""
        return Cut(1, self._last, False)

    def publish(self, cut: Cut, parts: Iterable[Part], *, version: int | None = None, purge: bool) -> None:
        """Raise InvalidArgumentError: a workspace in memory has no snapshots."""
        raise _no_directory()

    def copy_to(self, folder: Path) -> None:
        """Raise InvalidArgumentError: a workspace in memory has no snapshots."""
        raise _no_directory()

    def close(self) -> None:
        """Return at once."""

    def abandon(self) -> None:
        """Return at once."""


class ClosedStore(NullStore):
    """The store of a closed workspace: every record is refused."""

    def append(self, payload: bytes) -> int:
        """Raise InvalidArgumentError."""
        raise InvalidArgumentError("the workspace is closed and takes no changes", hint="open it again")


AnyStore = Store | NullStore


def _no_directory() -> InvalidArgumentError:
    return InvalidArgumentError("the workspace is only in memory", hint="open a workspace in a directory")


_Corrupt = TypeVar("_Corrupt", bound=DataDirectoryError)


@contextmanager
def _reading(path: Path, offset: int, corrupt: Callable[[Path, int, str], _Corrupt]) -> Iterator[None]:
    """Turn errors for unexpected contents into corruption errors, and all others into InternalError."""
    try:
        yield
    except (InternalError, MemoryError, OSError):
        raise
    except (ValueError, BitsegError) as error:
        raise corrupt(path, offset, f"unexpected contents ({type(error).__name__}: {error})") from error
    except Exception as error:
        raise InternalError(
            f"bitseg could not read {path} at byte {offset}: {type(error).__name__}: {error}; "
            "this is a bug of bitseg, and the files are unchanged",
            hint="report it; another version of bitseg may open the directory",
        ) from error
