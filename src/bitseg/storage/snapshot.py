"""Snapshots: the whole state of a workspace in one file.

A snapshot is the 8 bytes `BITSEG` NUL 0x02 (the last is the format version) and then frames:

| bytes | meaning                                             |
|-------|-----------------------------------------------------|
| 8     | length of the payload, unsigned, little-endian      |
| 4     | CRC-32C of the payload, unsigned, little-endian     |
| …     | payload: msgpack of the array [kind, state]         |

The last frame has the kind `end` and as its state the number of frames before it. Numpy arrays are msgpack extension
type 1: msgpack of [dtype as numpy's `str`, shape, bytes in C order]. A file is written beside its place, synced,
renamed into it, and the directory synced, so that there is always one whole snapshot.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import msgpack
import numpy as np

from bitseg.errors import CorruptSnapshotError, DataDirectoryError, UnsupportedFormatError

FILE_NAME = "snapshot.msgpack"
_MAGIC = b"BITSEG\x00"
_FORMAT = 2
_FRAME = struct.Struct("<QI")
_ARRAY = 1
_END = "end"


def write(folder: Path, parts: Iterable[tuple[str, Any]]) -> None:
    """Publish a snapshot of the parts, each a kind and a state of plain values and numpy arrays.

    Raises DataDirectoryError where the file system refuses; the snapshot before it then stays in place.
    """
    temporary = folder / (FILE_NAME + ".tmp")
    try:
        # For the owner alone: it holds what is known about people.
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(_MAGIC + bytes([_FORMAT]))
            count = 0
            for kind, state in parts:
                _write_frame(file, kind, state)
                count += 1
            _write_frame(file, _END, count)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / FILE_NAME)
        _sync_directory(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataDirectoryError(f"cannot write a snapshot in {folder}: {error.strerror}") from error


def read(folder: Path) -> Iterator[tuple[str, Any]]:
    """The parts of the snapshot in a folder, in the order written; nothing where there is none.

    Raises UnsupportedFormatError for a file that is not a snapshot of this version and CorruptSnapshotError, naming
    file and offset, for one that is not whole.
    """
    path = folder / FILE_NAME
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataDirectoryError(f"cannot read {path}: {error.strerror}") from error
    with file:
        _check_header(path, file.read(len(_MAGIC) + 1))
        count = 0
        while True:
            kind, state = _read_frame(path, file)
            if kind == _END:
                if state != count or file.read(1):
                    raise _corrupt(path, file.tell(), "the end does not match what comes before it")
                return
            yield kind, state
            count += 1


def _write_frame(file: BinaryIO, kind: str, state: Any) -> None:
    payload = msgpack.packb([kind, state], default=_pack_array)
    file.write(_FRAME.pack(len(payload), google_crc32c.value(payload)))
    file.write(payload)


def _read_frame(path: Path, file: BinaryIO) -> tuple[str, Any]:
    offset = file.tell()
    header = file.read(_FRAME.size)
    if len(header) < _FRAME.size:
        raise _corrupt(path, offset, "the file is cut short")
    length, checksum = _FRAME.unpack(header)
    if length > os.fstat(file.fileno()).st_size - file.tell():
        raise _corrupt(path, offset, "the file is cut short")
    payload = file.read(length)
    if google_crc32c.value(payload) != checksum:
        raise _corrupt(path, offset, "the checksum does not match")
    kind, state = msgpack.unpackb(payload, ext_hook=_unpack_array, strict_map_key=False)
    return kind, state


def _check_header(path: Path, header: bytes) -> None:
    if header[:-1] != _MAGIC:
        raise UnsupportedFormatError(f"{path} is not a bitseg snapshot")
    if header[-1] != _FORMAT:
        raise UnsupportedFormatError(
            f"{path} has snapshot format {header[-1]}, this version reads {_FORMAT}",
            hint="open it with the version of bitseg that wrote it",
        )


def _corrupt(path: Path, offset: int, what: str) -> CorruptSnapshotError:
    return CorruptSnapshotError(f"{path} is damaged at byte {offset}: {what}", hint="restore it from a backup")


def _pack_array(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, msgpack.packb([value.dtype.str, value.shape, value.tobytes()]))
    raise TypeError(f"a snapshot cannot hold a {type(value).__name__}")


def _unpack_array(code: int, data: bytes) -> Any:
    if code != _ARRAY:
        return msgpack.ExtType(code, data)
    dtype, shape, buffer = msgpack.unpackb(data)
    return np.frombuffer(buffer, dtype).reshape(shape)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
