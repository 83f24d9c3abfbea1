"""Recovery: reads a journal after its process has ended, cleanly or by a crash.

After a power cut, a file has everything that was fsynced, and some of the 512-byte sectors that were written later. The
other sectors are zeros, or beyond the end of the file. The newest file may be empty or missing. A bad frame in the
place of record n has therefore one of two causes:

* A later frame, in this file or another, says that record n was durable: acknowledged data is damaged. This raises
  CorruptJournalError with file and byte, and nothing is changed.
* No later frame says so: record n and all later ones were never acknowledged. The bytes from there on are saved beside
  the journal as `journal-NUMBER-BYTE.torn` and truncated; later files are renamed to such names as a whole.

The same holds for a file that begins with a later record than n. Frames of formats 1 and 2 do not say what was durable:
only the end of the last file is truncated then, and only if a frame is incomplete, zeros, or has an empty sector.

The records are fsynced before anything is written after them, because they may be in the page cache alone.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bitseg.errors import file_error
from bitseg.storage import frames, journal_format
from bitseg.storage.journal_format import corrupt

_READ_BYTES = 2**24
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Record:
    """A record: its file and offset, its number, and its unpacked payload."""

    path: Path
    offset: int
    number: int
    value: Any


class _BadFrameError(Exception):
    """There is no valid frame at the offset of the next record."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Recovery:
    """Reads the records of all files from number `first` on; earlier files end with record `version`.

    While `records` is iterated, `version` is the number of the last record. After it, `torn_bytes` were saved in
    `torn_files`, and `next_number` is the number for the next file. `has_old_format` says that some file has an
    earlier format.
    """

    def __init__(self, folder: Path, workspace: str, first: int, version: int) -> None:
        self._folder = folder
        self._workspace = workspace
        self._marker = journal_format.marker(workspace)
        numbered = [(number, path) for number, path in journal_format.numbered(folder) if number >= first]
        self._paths = [path for _, path in numbered]
        self.next_number = numbered[-1][0] + 1 if numbered else first
        self.version = version
        self.has_old_format = False
        self.torn_bytes = 0
        self.torn_files: list[Path] = []

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(path.stat().st_size for path in self._paths)

    def records(self) -> Iterator[Record]:
        """Every record, oldest first; CorruptJournalError, UnsupportedFormatError, DataDirectoryError.

        After the last one, torn bytes are cut and all records are durable.
        """
        for place, path in enumerate(self._paths):
            try:
                with path.open("rb") as file:
                    yield from self._records_of(place, path, file)
            except _BadFrameError as bad:
                self._require_unacknowledged(place, bad)
                try:
                    self._save_aside(place, bad.offset)
                except OSError as error:
                    raise file_error("cannot save the torn bytes of", path, error) from error
                break
            except OSError as error:
                raise file_error("cannot read the journal", path, error) from error
        self._make_durable()

    def _records_of(self, place: int, path: Path, file: BinaryIO) -> Iterator[Record]:
        end = os.fstat(file.fileno()).st_size
        if not end:
            # The file was created, but none of its bytes reached the disk.
            return
        file_format, offset = self._check_opening(path, file, end)
        while offset < end:
            if file_format == journal_format.FORMAT:
                payload, header_bytes = self._payload(path, file, offset, end), journal_format.HEADER_BYTES
            else:
                payload, header_bytes = self._old_payload(place, file, offset, end), frames.HEADER_BYTES
            self.version += 1
            yield Record(path, offset, self.version, _value(path, offset, payload))
            offset += header_bytes + len(payload)

    def _payload(self, path: Path, file: BinaryIO, offset: int, end: int) -> bytes:
        head = file.read(journal_format.HEADER_BYTES)
        header = journal_format.header(self._marker, head)
        if header is None:
            raise _BadFrameError(offset, "the header is incomplete or damaged")
        if header.record != self.version + 1:
            raise corrupt(path, offset, f"it has record {header.record}, not {self.version + 1}")
        try:
            return frames.read_payload(file, offset, offset + len(head), end, header.length, header.checksum)
        except frames.DamagedFrameError as damage:
            raise _BadFrameError(offset, damage.reason) from None

    def _old_payload(self, place: int, file: BinaryIO, offset: int, end: int) -> bytes:
        try:
            return frames.read(file, offset, end)
        except frames.DamagedFrameError as damage:
            if place == len(self._paths) - 1 and _is_torn(file, offset, end):
                raise _BadFrameError(offset, damage.reason) from None
            raise corrupt(self._paths[place], offset, damage.reason) from None

    def _check_opening(self, path: Path, file: BinaryIO, end: int) -> tuple[int, int]:
        """The format of a file, and the offset of its first record in bytes."""
        start = file.read(frames.MAGIC_BYTES)
        whole = frames.magic(journal_format.KIND, journal_format.FORMAT)
        if not any(start):
            raise _BadFrameError(0, "the file begins with zeros")
        if len(start) < len(whole) and whole.startswith(start):
            raise _BadFrameError(0, "the file is cut short")
        frames.check_magic(path, start, journal_format.KIND, journal_format.READABLE)
        file_format = start[-1]
        try:
            payload = frames.read(file, frames.MAGIC_BYTES, end)
        except frames.DamagedFrameError as damage:
            if file_format == journal_format.FORMAT or _is_torn(file, frames.MAGIC_BYTES, end):
                raise _BadFrameError(0, damage.reason) from None
            raise corrupt(path, damage.offset, damage.reason) from None
        version, _ = self._opening(path, file_format, payload)
        if version < self.version:
            raise corrupt(path, frames.MAGIC_BYTES, f"it continues after record {version}, not {self.version}")
        if version > self.version:
            raise _BadFrameError(0, f"it continues after record {version}, not {self.version}")
        self.has_old_format |= file_format != journal_format.FORMAT
        return file_format, frames.MAGIC_BYTES + frames.HEADER_BYTES + len(payload)

    def _opening(self, path: Path, file_format: int, payload: bytes) -> tuple[int, int]:
        """The numbers of the last record before a file, and of the last durable one when the file was created."""
        opening = _value(path, frames.MAGIC_BYTES, payload)
        match file_format, opening:
            case journal_format.FORMAT, {"workspace": workspace, "version": int(version), "durable": int(durable)}:
                pass
            case ((1 | 2), {"workspace": workspace, "first_record": int(version)}):
                durable = version
            case _:
                raise corrupt(path, frames.MAGIC_BYTES, "it does not say which records come before it")
        if workspace != self._workspace:
            raise corrupt(path, frames.MAGIC_BYTES, "the file belongs to another workspace")
        return version, durable

    def _require_unacknowledged(self, place: int, bad: _BadFrameError) -> None:
        """Raise CorruptJournalError if a later frame says that the unreadable record was durable."""
        path, expected = self._paths[place], self.version + 1
        for number in range(place, len(self._paths)):
            later = self._paths[number]
            try:
                for offset, durable in self._durable_in(later, bad.offset if number == place else 0):
                    if durable >= expected:
                        reason = f"{bad.reason}; {later.name} says at byte {offset} that record {expected} was durable"
                        raise corrupt(path, bad.offset, reason)
            except OSError as error:
                raise file_error("cannot read the journal", later, error) from error

    def _durable_in(self, path: Path, first: int) -> Iterator[tuple[int, int]]:
        """The offset and the `durable` number of every frame header in a file, from a byte on."""
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            start = file.read(frames.MAGIC_BYTES)
            if not first and start[:-1] == frames.magic(journal_format.KIND, 0)[:-1]:
                try:
                    payload = frames.read(file, frames.MAGIC_BYTES, end)
                except frames.DamagedFrameError:
                    # A damaged opening tells nothing, but the records after it may.
                    payload = b""
                if payload:
                    yield 0, self._opening(path, start[-1], payload)[1]
            place, data = first, b""
            file.seek(first)
            while more := file.read(_READ_BYTES):
                data += more
                offset = data.find(self._marker)
                while offset >= 0 and len(data) - offset >= journal_format.HEADER_BYTES:
                    header = journal_format.header(self._marker, data, offset)
                    if header is not None:
                        yield place + offset, header.durable
                    offset = data.find(self._marker, offset + 1)
                searched = len(data) - journal_format.HEADER_BYTES + 1
                place, data = place + max(searched, 0), data[max(searched, 0) :]

    def _save_aside(self, place: int, offset: int) -> None:
        """Save and cut all bytes from an offset on, in steps that a crash may interrupt."""
        path = self._paths[place]
        moved = self._paths[place + 1 :] if offset else self._paths[place:]
        del self._paths[place + 1 if offset else place :]
        if offset:
            aside = _aside(path, offset)
            self._note(aside, path.stat().st_size - offset)
            with path.open("rb") as file:
                file.seek(offset)
                frames.write_file(aside, lambda saved: _copy(file, saved))
        sizes = {later: later.stat().st_size for later in moved}
        # Newest file first, so that a crash leaves no gap.
        for later in reversed(moved):
            if sizes[later]:
                later.replace(_aside(later, 0))
            else:
                later.unlink()
            frames.sync_directory(self._folder)
        for later, size in sizes.items():
            if size:
                self._note(_aside(later, 0), size)
        frames.sync_directory(self._folder)
        if offset:
            os.truncate(path, offset)

    def _note(self, aside: Path, size: int) -> None:
        self.torn_bytes += size
        self.torn_files.append(aside)

    def _make_durable(self) -> None:
        try:
            for path in self._paths:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            frames.sync_directory(self._folder)
        except OSError as error:
            raise file_error("cannot fsync the journal in", self._folder, error) from error


def _aside(path: Path, offset: int) -> Path:
    return path.with_name(f"{path.name}-{offset}{journal_format.TORN_SUFFIX}")


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while data := source.read(_READ_BYTES):
        target.write(data)


def _value(path: Path, offset: int, payload: bytes) -> Any:
    try:
        return frames.unpack(payload)
    except ValueError as error:
        raise corrupt(path, offset, str(error)) from None


def _is_torn(file: BinaryIO, offset: int, end: int) -> bool:
    """Whether a bad frame of an old format is an interrupted write: truncated, or with empty sectors."""
    file.seek(offset)
    head = file.read(frames.HEADER_BYTES)
    if len(head) < frames.HEADER_BYTES:
        return True
    length = frames.length(head)
    if length is None:
        data = head
        while not any(data):
            data = file.read(_READ_BYTES)
            if not data:
                return True
        return False
    start = offset + frames.HEADER_BYTES
    if start + length >= end:
        return start + length > end or _has_empty_sector(file.read(length), start)
    return False


def _has_empty_sector(payload: bytes, offset: int) -> bool:
    """Whether the payload covers a whole sector of the file that is all zeros."""
    first = -offset % _SECTOR
    whole = (len(payload) - first) // _SECTOR
    if whole <= 0:
        return False
    sectors = np.frombuffer(payload, np.uint8, whole * _SECTOR, first).reshape(whole, _SECTOR)
    return bool((~sectors.any(axis=1)).any())
