"""Results of member streams, kept so that an interrupted stream can resume at the same version.

In a workspace with a directory, the file `members/VERSION-ID` has a single frame (see `frames`): the dense ids of one
result as portable Roaring bytes. The files are not synced: a torn one counts as missing. Opening the
directory removes the files of versions that the journal has lost. A result is evicted a day after its last use. When
all results exceed the limit in bytes, the least recently used ones are evicted.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bitseg.errors import UnsupportedFormatError, VersionGoneError, file_error
from bitseg.runtime.bounded_cache import BoundedCache
from bitseg.storage import frames

_log = logging.getLogger("bitseg.storage")

FOLDER = "members"
MAX_KEPT_BYTES = 256 * 2**20
MAX_KEPT = 10_000
MAX_KEPT_SECONDS = 24 * 3600
CURSOR_ID_BYTES = 16
_KIND, _FORMAT = "R", 1


@dataclass(frozen=True, slots=True)
class _Result:
    """A stored result. `members` are its Roaring bytes; None if they are in a file."""

    version: int
    used: float
    size_bytes: int
    members: bytes | None


class CursorStore:
    """Results by cursor id, in memory or in a directory, safe to use from many threads.

    No file is read, written or removed with the lock held, so that a slow disk delays only the stream that needs it.
    """

    def __init__(self, directory: Path | None = None, version: int = 0, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Results in memory, or in a directory whose workspace is at `version`."""
        self._folder = None if directory is None else directory / FOLDER
        self._lock = threading.Lock()
        # The newest result stays, even above the limit: its stream has just begun.
        self._results: BoundedCache[bytes, _Result] = BoundedCache(max_bytes, MAX_KEPT, keeps_last=True)
        if self._folder is not None:
            self._take_over(self._folder, version)

    @property
    def size_bytes(self) -> int:
        """The size of all results, in memory and on disk."""
        return self._results.size_bytes

    def keep(self, version: int, members: bytes, *, is_durable: bool = True) -> bytes:
        """Store the members of a version, as Roaring bytes. Returns the cursor id that `find` takes.

        The members stay in memory if the disk refuses them, or if the version may be lost (`is_durable` is False).
        """
        cursor_id = secrets.token_bytes(CURSOR_ID_BYTES)
        is_in_file = is_durable and self._folder is not None
        if is_in_file:
            is_in_file = self._is_written(self._path(version, cursor_id), members)
        self._put(cursor_id, _Result(version, time.time(), len(members), None if is_in_file else members))
        return cursor_id

    def find(self, cursor_id: bytes, version: int) -> bytes:
        """The Roaring bytes of the members at a version; VersionGoneError if they were evicted."""
        result = self._used(cursor_id, version)
        if result is not None and result.members is None:
            members = self._read(self._path(version, cursor_id))
            if members is None:
                with self._lock:
                    self._results.pop(cursor_id)
                self._remove([(cursor_id, result)])
        else:
            members = None if result is None else result.members
        if members is None:
            raise VersionGoneError(
                f"the members of version {version} are no longer kept",
                hint="begin a new stream; members are kept for a day after their last use, if there is room",
            )
        return members

    def _used(self, cursor_id: bytes, version: int) -> _Result | None:
        """The result of a cursor; this counts as a use of it. None if that version has no cursor."""
        now = time.time()
        with self._lock:
            expired = self._expired(now)
            result = self._results.get(cursor_id)
            if result is not None and result.version == version:
                result = _Result(version, now, result.size_bytes, result.members)
                # The size stays, so that nothing is evicted.
                self._results.put(cursor_id, result, result.size_bytes)
            else:
                result = None
        self._remove(expired)
        return result

    def _put(self, cursor_id: bytes, result: _Result) -> None:
        with self._lock:
            evicted = self._expired(time.time()) + self._results.put(cursor_id, result, result.size_bytes)
        self._remove(evicted)

    def _expired(self, now: float) -> list[tuple[bytes, _Result]]:
        """Evict and return the results that were not used for a day. Called with the lock held."""
        expired: list[tuple[bytes, _Result]] = []
        for cursor_id, result in self._results.items():
            # The results are in order of use: all later ones were used more recently.
            if result.used >= now - MAX_KEPT_SECONDS:
                break
            expired.append((cursor_id, result))
        for cursor_id, _ in expired:
            self._results.pop(cursor_id)
        return expired

    def _remove(self, results: Iterable[tuple[bytes, _Result]]) -> None:
        """Delete the files of evicted results."""
        for cursor_id, result in results:
            if result.members is None:
                with suppress(OSError):
                    self._path(result.version, cursor_id).unlink()

    def _take_over(self, folder: Path, version: int) -> None:
        """Take over the files of versions that the journal still has, and delete all others."""
        results: list[tuple[bytes, _Result]] = []
        for path in folder.glob("*-*"):
            number, _, name = path.name.partition("-")
            with suppress(OSError, ValueError):
                if int(number) > version or len(name) != 2 * CURSOR_ID_BYTES:
                    path.unlink()
                else:
                    status = path.stat()
                    results.append((bytes.fromhex(name), _Result(int(number), status.st_mtime, status.st_size, None)))
        for cursor_id, result in sorted(results, key=lambda item: item[1].used):
            self._put(cursor_id, result)

    def _read(self, path: Path) -> bytes | None:
        """The members in a file; None where it is missing, unreadable or damaged."""
        try:
            with path.open("rb") as file:
                frames.check_magic(path, file.read(frames.MAGIC_BYTES), _KIND, (_FORMAT,))
                members = frames.unpack(frames.read(file, frames.MAGIC_BYTES, path.stat().st_size))
            # The file's time is its last use, also for the next process that opens the directory.
            path.touch()
        except (OSError, UnsupportedFormatError, frames.DamagedFrameError, ValueError):
            return None
        return members if isinstance(members, bytes) else None

    def _is_written(self, path: Path, members: bytes) -> bool:
        payload = frames.pack(members)
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            with open(temporary, "wb", opener=frames.private) as file:
                file.write(frames.magic(_KIND, _FORMAT) + frames.header(payload) + payload)
            temporary.replace(path)
        except OSError as error:
            _log.warning(
                "streams of members cannot be resumed after a restart: %s", file_error("cannot write", path, error)
            )
            with suppress(OSError):
                temporary.unlink()
            return False
        return True

    def _path(self, version: int, cursor_id: bytes) -> Path:
        assert self._folder is not None
        return self._folder / f"{version}-{cursor_id.hex()}"
