"""Members of segments at the version that a stream of them is of, kept so that the stream can go on where it broke.

Where a workspace has a directory, `members/VERSION-ID` has a single frame (see `frames`) with the dense ids as portable
Roaring bytes. Such files are not made durable: one that a power cut has torn is gone, and those of versions that were
lost with the journal's end are removed when the directory is opened. What was not asked for in a day goes, and the
oldest where all take too much.
"""

import base64
import logging
import secrets
import struct
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from bitseg.errors import InvalidArgumentError, UnsupportedFormatError, VersionGoneError, file_error
from bitseg.storage import frames

_log = logging.getLogger("bitseg.storage")

FOLDER = "members"
MAX_KEPT_BYTES = 256 * 2**20
MAX_KEPT = 10_000
MAX_KEPT_SECONDS = 24 * 3600
_KIND, _FORMAT = "R", 1

_TOKEN = struct.Struct("<16sQQIIB")
_CHECKSUM = struct.Struct("<I")
# Of the members of a stream with a single page, which are not kept.
NOT_KEPT = bytes(16)


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """Where a stream stands: `position` of `total` members were sent, of a version; `query` is a digest of 8 bytes."""

    kept_id: bytes
    query: bytes
    version: int
    position: int
    total: int
    is_dense: bool

    def text(self) -> str:
        """The form in which callers see it."""
        packed = _TOKEN.pack(
            self.kept_id, int.from_bytes(self.query), self.version, self.position, self.total, self.is_dense
        )
        return base64.urlsafe_b64encode(packed + _CHECKSUM.pack(google_crc32c.value(packed))).decode()

    @classmethod
    def parse(cls, text: str) -> "ResumeToken":
        """The token of a text; InvalidArgumentError for one that is none."""
        try:
            packed = base64.b64decode(text, altchars=b"-_", validate=True)
        except ValueError:
            packed = b""
        body, checksum = packed[: _TOKEN.size], packed[_TOKEN.size :]
        if len(packed) != _TOKEN.size + _CHECKSUM.size or _CHECKSUM.unpack(checksum) != (google_crc32c.value(body),):
            raise InvalidArgumentError("the resume token is none", hint="send that of a page, as it was")
        kept_id, query, version, position, total, is_dense = _TOKEN.unpack(body)
        return cls(kept_id, query.to_bytes(8), version, position, total, bool(is_dense))


class CursorStore:
    """Sets of members by id, in memory or in a directory, safe to use from many threads.

    `size_bytes` is what all of them take.
    """

    def __init__(self, directory: Path | None = None, version: int = 0, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._folder = None if directory is None else directory / FOLDER
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # By id, those first that were not asked for the longest: version, bytes, and when they were asked for.
        self._sizes: OrderedDict[bytes, tuple[int, int, float]] = OrderedDict()
        self._in_memory: dict[bytes, bytes] = {}
        self.size_bytes = 0
        if self._folder is not None:
            self._find(self._folder, version)

    def keep(self, version: int, members: bytes, *, is_durable: bool = True) -> bytes:
        """Keep the members of a version; the id by which they are found.

        They are in memory alone where the disk refuses, or the version may be lost.
        """
        kept_id = secrets.token_bytes(16)
        with self._lock:
            folder = self._folder if is_durable else None
            if folder is None or not self._is_written(self._path(folder, version, kept_id), members):
                self._in_memory[kept_id] = members
            self._add(kept_id, version, len(members), time.time())
            self._make_room()
        return kept_id

    def find(self, token: ResumeToken) -> bytes:
        """The members of a token; VersionGoneError where they are not kept any more."""
        gone = VersionGoneError(
            f"the members of version {token.version} are no longer kept",
            hint="begin a new stream; members are kept for a day after they were last asked for, if there is room",
        )
        with self._lock:
            self._make_room()
            found = self._sizes.get(token.kept_id)
            if found is None or found[0] != token.version:
                raise gone
            self._sizes[token.kept_id] = (*found[:2], time.time())
            self._sizes.move_to_end(token.kept_id)
            if self._folder is None or token.kept_id in self._in_memory:
                return self._in_memory[token.kept_id]
            path = self._path(self._folder, token.version, token.kept_id)
            try:
                with path.open("rb") as file:
                    frames.check_magic(path, file.read(frames.MAGIC_BYTES), _KIND, (_FORMAT,))
                    members = frames.unpack(frames.read(file, frames.MAGIC_BYTES, path.stat().st_size))
                path.touch()
            except (OSError, UnsupportedFormatError, frames.DamagedFrameError, ValueError):
                members = None
            if not isinstance(members, bytes):
                self._forget(token.kept_id)
                raise gone
            return members

    def _find(self, folder: Path, version: int) -> None:
        """Take over what the directory has of versions that are not lost."""
        found: list[tuple[float, bytes, int, int]] = []
        for path in folder.glob("*-*"):
            number, _, name = path.name.partition("-")
            with suppress(OSError, ValueError):
                if int(number) > version or len(name) != 2 * len(NOT_KEPT):
                    path.unlink()
                else:
                    status = path.stat()
                    found.append((status.st_mtime, bytes.fromhex(name), int(number), status.st_size))
        for used, kept_id, of_version, size in sorted(found):
            self._add(kept_id, of_version, size, used)
        self._make_room()

    def _is_written(self, path: Path, members: bytes) -> bool:
        payload = frames.pack(members)
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            with open(temporary, "wb", opener=frames.private) as file:
                file.write(frames.magic(_KIND, _FORMAT) + frames.header(payload) + payload)
            temporary.replace(path)
        except OSError as error:
            _log.warning("streams of members will not survive a restart: %s", file_error("cannot write", path, error))
            with suppress(OSError):
                temporary.unlink()
            return False
        return True

    def _add(self, kept_id: bytes, version: int, size: int, used: float) -> None:
        self._sizes[kept_id] = (version, size, used)
        self.size_bytes += size

    def _make_room(self) -> None:
        oldest = time.time() - MAX_KEPT_SECONDS
        while self._sizes:
            kept_id, (_, _, used) = next(iter(self._sizes.items()))
            is_full = self.size_bytes > self._max_bytes or len(self._sizes) > MAX_KEPT
            # The one that was asked for last is kept however large it is.
            if used >= oldest and (not is_full or len(self._sizes) == 1):
                return
            self._forget(kept_id)

    def _forget(self, kept_id: bytes) -> None:
        version, size, _ = self._sizes.pop(kept_id)
        self.size_bytes -= size
        if self._in_memory.pop(kept_id, None) is None and self._folder is not None:
            with suppress(OSError):
                self._path(self._folder, version, kept_id).unlink()

    @staticmethod
    def _path(folder: Path, version: int, kept_id: bytes) -> Path:
        return folder / f"{version}-{kept_id.hex()}"
