"""A workspace on disk: its lock, its snapshot, and the journal after it; and one that lives in memory alone."""

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

# Bytes read so far, and in all.
Progress = Callable[[int, int], None]
# Takes back a part of a snapshot: its key, its state, and its revision.
Restore = Callable[[Key, Any, int], None]
# Does again what a record says: its number, and the value of its payload.
Replay = Callable[[int, Any], None]

_log = logging.getLogger("bitseg.storage")


class Store:
    """Keeps a workspace in a directory that this process alone holds.

    A store is opened, then `recover` is called once, and then records are appended. Records are numbered without gaps;
    a snapshot has all up to its `version`. What a snapshot and the journal have in them is for the caller to know.
    """

    # Payloads are read again.
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
        """Make a workspace, with the records up to `version` in its parts, in a directory that has none.

        Where that is interrupted, an empty workspace can be made again; the directory of one with data is refused
        from then on. DataDirectoryError for a directory that has a workspace, or what is left of one.
        """
        if directory.has_workspace(path):
            raise DataDirectoryError(f"{path} holds a workspace already", hint="name a directory that is empty or new")
        held = DataDirectory(path)
        try:
            with directory.creating(path, is_empty=is_empty):
                settings = {**workspace, "id": secrets.token_hex(16)}
                manifest = snapshot.publish(path, Manifest(1, settings, 1, version, {}), parts)
            return cls(held, manifest, policy)
        except BaseException:
            held.close()
            raise

    @classmethod
    def open(cls, path: Path, policy: SyncPolicy) -> "Store | None":
        """The workspace in a directory; None where there is none.

        DataDirectoryError for what is left of a workspace, naming what is missing; nothing is written there.
        """
        if not directory.has_workspace(path):
            return None
        held = DataDirectory(path)
        try:
            manifest = snapshot.read_manifest(path)
            if manifest is None:
                raise snapshot.corrupt(path / snapshot.MANIFEST, 0, "it is gone")
            return cls(held, manifest, policy)
        except BaseException:
            held.close()
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
        """The number of the last record that the current snapshot has."""
        return self._manifest.version

    @property
    def needs_upgrade(self) -> bool:
        """Whether the snapshot or the journal is of an older format.

        Numbers of records then count them, whatever they say. A snapshot that is published with a version brings both
        up to date.
        """
        return self._has_old_journal or self._manifest.format < snapshot.FORMAT

    @property
    def is_legacy(self) -> bool:
        """Whether parts and records have contents of before format 5; known before `recover`."""
        return self._manifest.format in snapshot.LEGACY

    @property
    def snapshot_bytes(self) -> int:
        """What the current snapshot takes on disk."""
        return self._manifest.size_bytes

    @property
    def journal_bytes(self) -> int:
        """What the journal has grown by since the snapshot."""
        return self._journal.size_bytes

    @property
    def snapshot_ms(self) -> int:
        """When the current snapshot was published."""
        return int(snapshot.published_at(self.path) * 1000)

    @property
    def journal_ms(self) -> int:
        """When the oldest record that only the journal has was written, at the earliest; 0 where there is none."""
        return self._journal.oldest_ms

    @property
    def has_failed(self) -> bool:
        """Whether records are refused until a snapshot has succeeded."""
        return self._journal.has_failed

    def recover(
        self, restore: Restore, replay: Replay, progress: Progress, finish: Callable[[], None] = lambda: None
    ) -> Recovered:
        """Hand over the parts of the snapshot, and then the records of the journal after it.

        `finish` is called after the last part, before the first record. What a crash left of records that were not
        acknowledged is saved aside and cut. `restore`, `finish` and `replay` raise ValueError or a BitsegError for
        contents that make no sense. Raises CorruptSnapshotError and
        CorruptJournalError, naming file and byte, for those; InternalError for any other error of `restore` and
        `replay`, which is a fault of theirs. Nothing is cut or removed then.
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
        """Write a record, in order; its number, for `sync`. Raises as `Journal.append` does."""
        return self._journal.append(payload)

    def withdraw(self, payload: bytes) -> None:
        """Take back the last record, which had this payload and was not acknowledged; no further ones are taken."""
        self._journal.withdraw(payload)

    @property
    def last_record(self) -> int:
        """The number of the last record."""
        return self._journal.last_record

    def sync(self, record: int) -> None:
        """Wait until a record and all before it may be acknowledged; NotDurableError where they may be lost."""
        self._journal.sync(record)

    def flush(self) -> None:
        """Make all records durable, whatever the policy; NotDurableError where they may be lost."""
        self._journal.flush()

    def cut(self) -> Cut:
        """Cut the journal here, for a snapshot of what the records before have made."""
        return self._journal.cut()

    def publish(self, cut: Cut, parts: Iterable[Part], *, version: int | None = None, purge: bool) -> None:
        """Make the parts, which are of a cut, the current snapshot, and remove what it makes superfluous.

        `version` is the number of the last record that the parts have: that of the cut, other than for a store that
        needs an upgrade. Records are then numbered from it, and none must have come since the cut.

        Where it fails, the snapshot before stays, with the whole journal since. Raises DataDirectoryError or
        DiskFullError. What is superfluous and cannot be removed is told to the log, and tried again the next time.
        """
        version = cut.version if version is None else version
        if version != cut.version and (not self.needs_upgrade or self.last_record != cut.version):
            raise InternalError(f"a snapshot of version {version} is of record {cut.version}")
        self._generation += 1
        wanted = replace(self._manifest, generation=self._generation, journal=cut.journal, version=version)
        self._manifest = snapshot.publish(self.path, wanted, parts, purge=purge)
        self._has_old_journal = False
        self._journal.superseded(cut, version)
        self._remove_superfluous(also_torn=True)

    def copy_to(self, folder: Path) -> None:
        """Copy the current snapshot, without what came after it, into a folder that is empty or new.

        The copy is a workspace once all of it is there. DataDirectoryError for a folder that is not empty.
        """
        with directory.creating(folder, is_empty=False):
            snapshot.copy(self.path, self._manifest, folder)

    def close(self) -> None:
        """Make everything durable and let another process have the directory; NotDurableError."""
        try:
            self._journal.close()
        finally:
            self._directory.close()

    def abandon(self) -> None:
        """Let go of the directory after a failure."""
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
            _log.warning("cannot remove what a snapshot has replaced in %s: %s", self.path, error)


class NullStore:
    """The store of a workspace that lives in memory alone: it counts records and keeps nothing."""

    # Payloads need not be made.
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
        """What there is: nothing."""
        return Recovered(snapshot_bytes=0, records=0, torn_bytes=0, torn_saved_as=None, seconds=0)

    def append(self, payload: bytes) -> int:
        """Count a record; its number."""
        self._last += 1
        return self._last

    def withdraw(self, payload: bytes) -> None:
        """Take back the last record."""
        self._last -= 1

    def sync(self, record: int) -> None:
        """Return at once: nothing is ever durable, and nobody expects it."""

    def flush(self) -> None:
        """Return at once."""

    def cut(self) -> Cut:
        """The moment after the last record."""
        return Cut(1, self._last, False)

    def publish(self, cut: Cut, parts: Iterable[Part], *, version: int | None = None, purge: bool) -> None:
        """Raise InvalidArgumentError: there is no snapshot of a workspace that lives in memory."""
        raise _no_directory()

    def copy_to(self, folder: Path) -> None:
        """Raise InvalidArgumentError: there is no snapshot of a workspace that lives in memory."""
        raise _no_directory()

    def close(self) -> None:
        """Return at once."""

    def abandon(self) -> None:
        """Return at once."""


class ClosedStore(NullStore):
    """What a workspace writes to once it is closed: every record is refused."""

    def append(self, payload: bytes) -> int:
        """Raise InvalidArgumentError."""
        raise InvalidArgumentError("the workspace is closed, and takes no change", hint="open it again")


AnyStore = Store | NullStore


def _no_directory() -> InvalidArgumentError:
    return InvalidArgumentError("the workspace lives in memory alone", hint="open one in a directory")


_Corrupt = TypeVar("_Corrupt", bound=DataDirectoryError)


@contextmanager
def _reading(path: Path, offset: int, corrupt: Callable[[Path, int, str], _Corrupt]) -> Iterator[None]:
    """Tell contents that make no sense from faults of the code that reads them."""
    try:
        yield
    except (InternalError, MemoryError, OSError):
        raise
    except (ValueError, BitsegError) as error:
        raise corrupt(path, offset, f"its contents make no sense ({type(error).__name__}: {error})") from error
    except Exception as error:
        raise InternalError(
            f"bitseg could not read {path} at byte {offset}: {type(error).__name__}: {error}; "
            "this is a bug of bitseg, the files are unchanged",
            hint="report it; another version of bitseg may open the directory",
        ) from error
