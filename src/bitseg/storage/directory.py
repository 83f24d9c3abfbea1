"""A data directory and the lock that gives it one owner."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from bitseg.errors import DirectoryLockedError, file_error

LOCK_FILE = "lock"


class DataDirectory:
    """A directory held by this process until closed; it is made if it is missing.

    Raises DirectoryLockedError while another process holds it and DataDirectoryError where the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
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
