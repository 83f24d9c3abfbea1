"""Recovery: what a journal has, after whatever ended the process that wrote it.

After a power cut, a file has what was fsynced, and any of the 512-byte sectors that were written since; others are
zeros, or beyond the end of the file. A file that was begun may be empty, or not be there at all. A bad frame where
record n should be is therefore one of two things:

* Some frame after it, in this file or a later one, says that record n was durable: what was acknowledged is damaged.
  That is a CorruptJournalError with file and byte, and nothing is changed.
* No frame does: record n, and all after it, were never acknowledged. The bytes from there on are saved beside the
  journal, as `journal-NUMBER-BYTE.torn`, and cut; later files are renamed to such names as a whole.

The same holds for a file that begins with a later record than n. Frames of formats 1 and 2 do not say what was durable;
there, only the end of the last file is cut, and only where it ends too early, in zeros, or has an empty sector.

What was read is made durable before anything is written after it: it may be in the memory of the system alone.
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
    """One record: where it is, its number, and what it has."""

    path: Path
    offset: int
    number: int
    value: Any


class _BadFrameError(Exception):
    """There is no whole frame at an offset, where the next record should be."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Recovery:
    """Reads the records of all files from number `first` on, of which earlier ones end with record `version`.

    While `records` are iterated, `version` is the number of the last. After it, `torn_bytes` were saved in
    `torn_files`, and `next_number` is that of a file that may be begun. `has_old_format` says that some file was
    written in a format before the current one.
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

        After the last, what is torn is cut and the rest is durable.
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
                    raise file_error("cannot save what a crash left of a write to", path, error) from error
                break
            except OSError as error:
                raise file_error("cannot read the journal", path, error) from error
        self._make_durable()

    def _records_of(self, place: int, path: Path, file: BinaryIO) -> Iterator[Record]:
        end = os.fstat(file.fileno()).st_size
        if not end:
            # It was begun; nothing that was written to it reached the disk.
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
            raise _BadFrameError(offset, "there is no whole header")
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
        """The format of a file, and where its first record is."""
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
            raise corrupt(path, frames.MAGIC_BYTES, f"it goes on after record {version}, not {self.version}")
        if version > self.version:
            raise _BadFrameError(0, f"it goes on after record {version}, not {self.version}")
        self.has_old_format |= file_format != journal_format.FORMAT
        return file_format, frames.MAGIC_BYTES + frames.HEADER_BYTES + len(payload)

    def _opening(self, path: Path, file_format: int, payload: bytes) -> tuple[int, int]:
        """The number of the last record before a file, and of the last that was durable when it was begun."""
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
        """Raise CorruptJournalError if some frame says that the record which cannot be read was durable."""
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
        """Where a file, from a byte on, says up to which record all was durable."""
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            start = file.read(frames.MAGIC_BYTES)
            if not first and start[:-1] == frames.magic(journal_format.KIND, 0)[:-1]:
                try:
                    payload = frames.read(file, frames.MAGIC_BYTES, end)
                except frames.DamagedFrameError:
                    # Which says nothing; its records may.
                    payload = b""
                if payload:
                    yield 0, self._opening(path, start[-1], payload)[1]
            place, data = first, b""
            file.seek(first)
            while more := file.read(_READ_BYTES):
                data += more
                found = data.find(self._marker)
                while found >= 0 and len(data) - found >= journal_format.HEADER_BYTES:
                    header = journal_format.header(self._marker, data, found)
                    if header is not None:
                        yield place + found, header.durable
                    found = data.find(self._marker, found + 1)
                kept = len(data) - journal_format.HEADER_BYTES + 1
                place, data = place + max(kept, 0), data[max(kept, 0) :]

    def _save_aside(self, place: int, offset: int) -> None:
        """Save and cut what no frame says was durable, so that a crash meanwhile changes nothing of that."""
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
        # The newest first, so that a crash leaves no gap.
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
            raise file_error("cannot make durable what was read in", self._folder, error) from error


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
    """Whether a bad frame of an old format is what a write that was cut off leaves: cut short, or empty sectors."""
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
    """Whether a whole sector of the file within the payload is empty."""
    first = -offset % _SECTOR
    whole = (len(payload) - first) // _SECTOR
    if whole <= 0:
        return False
    sectors = np.frombuffer(payload, np.uint8, whole * _SECTOR, first).reshape(whole, _SECTOR)
    return bool((~sectors.any(axis=1)).any())
