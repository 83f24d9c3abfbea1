"""A workspace on disk: its lock, its snapshot, and the journal after it."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitseg.errors import BitsegError, DataDirectoryError, NotDurableError, file_error
from bitseg.results import Recovered
from bitseg.storage import journal, snapshot
from bitseg.storage.directory import DataDirectory
from bitseg.storage.journal import Cut, Journal, SyncPolicy
from bitseg.storage.snapshot import Key, Manifest, Part

# Bytes read so far, and in all.
Progress = Callable[[int, int], None]

# What restoring says of contents that make no sense.
_SENSELESS = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    AssertionError,
    BitsegError,
)


class Store:
    """Keeps a workspace in a directory that this process alone holds.

    A store is opened, then `recover` is called once, and then records are appended. What a snapshot and the journal
    have in them is for the caller to know.
    """

    def __init__(self, directory: DataDirectory, manifest: Manifest, policy: SyncPolicy) -> None:
        self._directory = directory
        self._manifest = manifest
        self._policy = policy
        self._generation = manifest.generation
        self._journal = Journal(directory.path, self._id, manifest.journal, manifest.records, policy)

    @classmethod
    def create(
        cls, path: Path, workspace: Mapping[str, Any], parts: Iterable[Part], policy: SyncPolicy, *, version: int = 0
    ) -> "Store":
        """Make a workspace in a directory that has none; DataDirectoryError if it has one."""
        directory = DataDirectory(path)
        try:
            if snapshot.exists(path):
                raise DataDirectoryError(f"{path} holds a workspace already")
            settings = {**workspace, "id": secrets.token_hex(16)}
            return cls(directory, snapshot.publish(path, Manifest(1, settings, 1, version, {}), parts), policy)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def open(cls, path: Path, policy: SyncPolicy) -> "Store | None":
        """The workspace in a directory; None where there is none."""
        if not snapshot.exists(path):
            return None
        directory = DataDirectory(path)
        try:
            manifest = snapshot.read_manifest(path)
            if manifest is None or not isinstance(manifest.workspace.get("id"), str):
                raise snapshot.corrupt(path / snapshot.MANIFEST, 0, "it does not name its workspace")
            return cls(directory, manifest, policy)
        except BaseException:
            directory.close()
            raise

    @property
    def is_durable(self) -> bool:
        """Whether records are written at all."""
        return True

    @property
    def needs_upgrade(self) -> bool:
        """Whether an earlier version of bitseg wrote the directory."""
        return False

    @property
    def version(self) -> int:
        """The number of the last record that the snapshot has."""
        return self._manifest.records

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
        self, restore: Callable[[Key, Any, int], None], replay: Callable[[Any], None], progress: Progress
    ) -> Recovered:
        """Hand over the parts of the snapshot, and then the records of the journal after it.

        The end of a write that was cut off is saved aside and cut. Raises CorruptSnapshotError and CorruptJournalError,
        naming file and byte, also for contents of which `restore` or `replay` make nothing.
        """
        started = time.perf_counter()
        found = journal.Recovery(self.path, self._id, self._manifest.journal, self._manifest.records)
        journal_bytes = found.size_bytes
        total, done = self.snapshot_bytes + journal_bytes, 0
        for key, revision, state, length in snapshot.read_parts(self.path, self._manifest):
            try:
                restore(key, state, revision)
            except _SENSELESS as error:
                held = self._manifest.parts[key]
                raise snapshot.corrupt(snapshot.parts_path(self.path, held.file), held.offset, _why(error)) from error
            done += length
            progress(done, total)
        for record in found.records():
            try:
                replay(record.value)
            except _SENSELESS as error:
                raise journal.corrupt(record.path, record.offset, _why(error)) from error
            progress(min(done + record.offset, total), total)
        self._journal = Journal(
            self.path,
            self._id,
            found.last_number + 1,
            found.count,
            self._policy,
            journal_bytes,
            oldest_ms=self.snapshot_ms,
        )
        self._remove_superfluous()
        torn = found.torn
        return Recovered(
            snapshot_bytes=self.snapshot_bytes,
            records=found.count - self._manifest.records,
            torn_bytes=torn.size_bytes if torn else 0,
            torn_saved_as=str(torn.saved_as) if torn else None,
            seconds=time.perf_counter() - started,
        )

    def append(self, payload: bytes) -> int:
        """Write a record, in order; its number, for `sync`. Raises as `Journal.append` does."""
        return self._journal.append(payload)

    def withdraw(self, payload: bytes) -> None:
        """Take back the last record, which had this payload and was not acknowledged."""
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

    def publish(self, cut: Cut, parts: Iterable[Part], *, version: int, purge: bool) -> None:
        """Make the parts, which are of a cut, the current snapshot, and remove what it makes superfluous.

        Where it fails, the snapshot before stays, with the whole journal since. Raises DataDirectoryError or
        DiskFullError.
        """
        self._generation += 1
        wanted = replace(self._manifest, generation=self._generation, journal=cut.journal, records=version)
        self._manifest = snapshot.publish(self.path, wanted, parts, purge=purge)
        if cut.has_failed:
            self._journal.begin_anew()
        self._remove_superfluous(also_torn=True)

    def copy_to(self, folder: Path) -> None:
        """Copy the current snapshot, without what came after it, into a folder that is empty or new."""
        snapshot.copy(self.path, self._manifest, folder)

    def close(self) -> None:
        """Make everything durable and let another process have the directory; NotDurableError."""
        try:
            self._journal.close()
        finally:
            self._directory.close()

    def abandon(self) -> None:
        """Let go of the directory after a failure, without any more writing."""
        with suppress(NotDurableError):
            self._journal.close()
        self._directory.close()

    def _remove_superfluous(self, *, also_torn: bool = False) -> None:
        try:
            snapshot.tidy(self.path, self._manifest)
            journal.remove_before(self.path, self._manifest.journal)
            if also_torn:
                journal.remove_torn(self.path)
        except OSError as error:
            raise file_error("cannot remove what a snapshot has replaced in", self.path, error) from error


def _why(error: Exception) -> str:
    return f"its contents make no sense ({type(error).__name__}: {error})"


class NullStore:
    """Keeps nothing: a workspace that lives in memory alone. It counts records."""

    is_durable = False
    has_failed = False
    snapshot_bytes = journal_bytes = snapshot_ms = journal_ms = 0

    def __init__(self) -> None:
        self.last_record = 0

    def append(self, payload: bytes) -> int:
        """Count a record."""
        self.last_record += 1
        return self.last_record

    def withdraw(self, payload: bytes) -> None:
        """Take back the last record."""
        self.last_record -= 1

    def sync(self, record: int) -> None:
        """Nothing is to be waited for."""

    def flush(self) -> None:
        """Nothing is to be written."""

    def close(self) -> None:
        """Nothing is to be let go of."""

    def abandon(self) -> None:
        """Nothing is to be let go of."""


AnyStore = Store | NullStore
