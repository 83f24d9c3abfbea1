"""A data directory: the lock that gives it one owner, and how a workspace is created in it.

A directory has a workspace once it has a manifest. Until then an empty marker file says what is being made: `creating`
an empty workspace, which can simply be made again after a crash, or `copying` one with data, such as a backup, which
is useless unless complete. Parts or a journal without a manifest and without `creating` belong to a damaged workspace
or to an incomplete copy. They are an error, and nothing is written there.
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
# Files that may lie in an empty directory: left by a process that opened it, or by the file system.
_IGNORED = frozenset({LOCK_FILE, "lost+found"})


class DataDirectory:
    """A directory that this process has locked until `close`; it is made, durably, if it is missing.

    Raises DirectoryLockedError while another process has locked it and DataDirectoryError if the file system refuses.
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
                hint="stop that process, or if it is a bitseg server, use --server HOST:PORT",
            ) from error

    def close(self) -> None:
        """Unlock the directory."""
        os.close(self._lock)

    def __enter__(self) -> "DataDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def has_workspace(folder: Path) -> bool:
    """Whether a folder has a workspace; DataDirectoryError, naming what is missing, for an incomplete one."""
    try:
        if snapshot.exists(folder):
            return True
        if (folder / _COPYING).exists():
            raise DataDirectoryError(
                f"{folder / snapshot.MANIFEST} is missing: a backup or restore into {folder} was interrupted",
                hint="remove the directory and copy again",
            )
        names = sorted(path.name for pattern in _PATTERNS for path in folder.glob(pattern))
        if (folder / _CREATING).exists():
            # The parts of an empty workspace are written before its manifest.
            names = [name for name in names if name != snapshot.parts_path(folder, 1).name]
    except OSError as error:
        raise file_error("cannot use the data directory", folder, error) from error
    if names:
        raise DataDirectoryError(
            f"{folder / snapshot.MANIFEST} is missing beside {len(names):,} files of a workspace, such as {names[0]}",
            hint="put the manifest back, or restore a backup into another directory",
        )
    return False


_PATTERNS = (f"{snapshot.PREFIX}*", f"{journal_format.PREFIX}*")


@contextmanager
def creating(folder: Path, *, is_empty: bool) -> Iterator[None]:
    """Mark a folder while a workspace is written into it, empty or with data; the folder is made if it is missing.

    Raises DataDirectoryError for a folder with a workspace, complete or not.
    """
    marker = folder / (_CREATING if is_empty else _COPYING)
    if has_workspace(folder):
        raise DataDirectoryError(f"{folder} has a workspace already", hint="use an empty or new directory")
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
    """Remove the marker files of a workspace that is complete."""
    for name in (_CREATING, _COPYING):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _require_empty(folder: Path) -> None:
    names = sorted({path.name for path in folder.iterdir()} - _IGNORED)
    if names:
        raise DataDirectoryError(f"{folder} is not empty: it has {names[0]}", hint="use an empty or new directory")
