"""A data directory, the lock that gives it one owner, and how one comes to be.

A workspace is there once the manifest is. Until then, a file without contents says what is being made: `creating` for
an empty workspace, which can be made again after a crash, and `copying` for one with data, as a backup, of which half
is worth nothing. Parts or a journal without a manifest and without `creating` are what is left of a workspace that lost
its manifest, or of half a copy: an error, and nothing is written there.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from bitseg.errors import DataDirectoryError, DirectoryLockedError, file_error
from bitseg.storage import frames, journal_format, snapshot

LOCK_FILE = "lock"
_CREATING, _COPYING = "creating", "copying"
# Left by a process that found no workspace, and by file systems.
_MEANINGLESS = frozenset({LOCK_FILE, "lost+found"})


class DataDirectory:
    """A directory held by this process until closed; it is made, durably, if it is missing.

    Raises DirectoryLockedError while another process holds it and DataDirectoryError where the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            frames.make_directory(path)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise file_error("cannot use the data directory", path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DirectoryLockedError(
                f"the data directory {path} is open in another process",
                hint="stop it, or ask it with --server HOST:PORT if it is a bitseg server",
            ) from error

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def __enter__(self) -> "DataDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def has_workspace(folder: Path) -> bool:
    """Whether a folder holds a workspace; DataDirectoryError for what is left of one, naming what is missing."""
    try:
        if snapshot.exists(folder):
            return True
        if (folder / _COPYING).exists():
            raise DataDirectoryError(
                f"{folder / snapshot.MANIFEST} is missing: a backup or restore into {folder} did not end",
                hint="remove the directory and copy again",
            )
        names = sorted(path.name for pattern in _PATTERNS for path in folder.glob(pattern))
        if (folder / _CREATING).exists():
            # The parts of an empty workspace come before its manifest.
            names = [name for name in names if name != snapshot.parts_path(folder, 1).name]
    except OSError as error:
        raise file_error("cannot use the data directory", folder, error) from error
    if names:
        raise DataDirectoryError(
            f"{folder / snapshot.MANIFEST} is missing beside {len(names):,} files of a workspace, as {names[0]}",
            hint="put the manifest back, or restore a backup into another directory",
        )
    return False


_PATTERNS = (f"{snapshot.PREFIX}*", f"{journal_format.PREFIX}*")


@contextmanager
def creating(folder: Path, *, is_empty: bool) -> Iterator[None]:
    """While a workspace without any data, or with some, is written into a folder, which is made if it is missing.

    Raises DataDirectoryError for a folder that holds a workspace, or what is left of one.
    """
    marker = folder / (_CREATING if is_empty else _COPYING)
    if has_workspace(folder):
        raise DataDirectoryError(f"{folder} holds a workspace already", hint="name a directory that is empty or new")
    try:
        frames.make_directory(folder)
        if not is_empty:
            _require_empty(folder)
        frames.write_file(marker, lambda file: None)
        frames.sync_directory(folder)
    except OSError as error:
        raise file_error("cannot make a workspace in", folder, error) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if not any(path for pattern in _PATTERNS for path in folder.glob(pattern)):
                marker.unlink()
        raise
    remove_markers(folder)


def remove_markers(folder: Path) -> None:
    """Remove what says that a workspace is being made, once there is one."""
    for name in (_CREATING, _COPYING):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _require_empty(folder: Path) -> None:
    names = sorted({path.name for path in folder.iterdir()} - _MEANINGLESS)
    if names:
        raise DataDirectoryError(f"{folder} is not empty, it has {names[0]}", hint="name one that is empty or new")
