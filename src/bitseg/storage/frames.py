"""Frames: how every file of a data directory is written.

A file begins with 8 bytes: `BITSEG`, a letter for the kind of file, and the version of its format. Frames follow:

| bytes | meaning                                               |
|-------|-------------------------------------------------------|
| 4     | length of the payload, unsigned, little-endian        |
| 4     | CRC-32C of the payload, unsigned, little-endian       |
| 4     | CRC-32C of the 8 bytes before, unsigned, little-endian|
| …     | payload: msgpack of plain values and arrays           |

The length has a checksum of its own, so that a damaged length is not mistaken for a truncated file. Records of the
journal have longer headers (see `journal_format`). Numpy arrays are msgpack extension type 1: the length of the type's
name (1 byte), the number of dimensions (1 byte), each dimension (8 bytes), the name as numpy's `str`, and the items in
C order.

A file that replaces another is written beside it as `NAME.tmp`, made durable, renamed, and the directory is made
durable (`publish`), so that after a crash either the old or the new file is there, whole.
"""

import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import msgpack
import numpy as np

from bitseg.errors import InvalidArgumentError, UnsupportedFormatError

MAGIC_BYTES = 8
_MAGIC = b"BITSEG"
_HEAD = struct.Struct("<II")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CHECK.size
MAX_PAYLOAD_BYTES = 2**32 - 1
_TEMPORARY = ".tmp"

_ARRAY = 1
_DTYPES = frozenset({"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f8"})


class DamagedFrameError(Exception):
    """There is no valid frame at an offset of a file; `reason` says what is wrong."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def pack(value: Any) -> bytes:
    """The payload of plain values and arrays; TypeError for any other value."""
    packed: bytes = msgpack.packb(value, default=_pack_array, unicode_errors="surrogatepass")
    return packed


def unpack(payload: bytes | memoryview) -> Any:
    """The value of a payload; ValueError if it cannot be decoded."""
    try:
        return msgpack.unpackb(payload, ext_hook=_unpack_array, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, OverflowError, struct.error, msgpack.UnpackException) as error:
        raise ValueError(f"the payload cannot be decoded: {str(error) or type(error).__name__}") from None


def header(payload: bytes) -> bytes:
    """The header of a payload; InvalidArgumentError for a payload that is too long."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidArgumentError(f"{len(payload):,} bytes are too many for one record", hint="send smaller batches")
    head = _HEAD.pack(len(payload), google_crc32c.value(payload))
    return head + _CHECK.pack(google_crc32c.value(head))


def read(file: BinaryIO, offset: int, end: int) -> bytes:
    """The payload of the frame at an offset of a file that ends at `end`; DamagedFrameError if it is not whole."""
    file.seek(offset)
    head = file.read(min(HEADER_BYTES, end - offset))
    if len(head) < HEADER_BYTES:
        raise DamagedFrameError(offset, "the file is cut short")
    size = length(head)
    if size is None:
        raise DamagedFrameError(offset, "the checksum of the length does not match")
    return read_payload(file, offset, offset + HEADER_BYTES, end, size, _HEAD.unpack_from(head)[1])


def length(head: bytes) -> int | None:
    """The payload's length in bytes according to its header; None if the header's checksum does not match."""
    is_whole = _CHECK.unpack_from(head, _HEAD.size)[0] == google_crc32c.value(head[: _HEAD.size])
    return int(_HEAD.unpack_from(head)[0]) if is_whole else None


def read_payload(file: BinaryIO, offset: int, start: int, end: int, length: int, checksum: int) -> bytes:
    """The payload from `start` on of the frame at `offset`; DamagedFrameError if it is not whole.

    A length beyond the end of the file is refused before any memory is allocated.
    """
    if length > end - start:
        raise DamagedFrameError(offset, "the file is cut short")
    payload = file.read(length)
    if len(payload) < length:
        raise DamagedFrameError(offset, "the file is cut short")
    if google_crc32c.value(payload) != checksum:
        raise DamagedFrameError(offset, "the checksum does not match")
    return payload


def magic(kind: str, version: int) -> bytes:
    """The first 8 bytes of a file."""
    return _MAGIC + kind.encode() + bytes([version])


def check_magic(path: Path, magic_bytes: bytes, kind: str, versions: Sequence[int]) -> None:
    """Raise UnsupportedFormatError if a file begins with other magic bytes than its kind and versions allow."""
    if magic_bytes[:-1] != _MAGIC + kind.encode():
        raise UnsupportedFormatError(f"{path} is not the bitseg file that its name says")
    if magic_bytes[-1] not in versions:
        raise UnsupportedFormatError(
            f"{path} has format {magic_bytes[-1]}, this version reads {', '.join(map(str, versions))}",
            hint="open it with the version of bitseg that wrote it",
        )


def private(path: str, flags: int) -> int:
    """Opens files with access for their owner alone, because they have personal data."""
    return os.open(path, flags, 0o600)


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """The files named by a prefix and a number, with the number, in ascending order."""
    by_digits = ((path.name.removeprefix(prefix), path) for path in folder.glob(f"{prefix}*"))
    return sorted((int(digits), path) for digits, path in by_digits if digits.isascii() and digits.isdigit())


def sync_directory(folder: Path) -> None:
    """Make the names of a directory's files durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(folder: Path) -> None:
    """Make a directory and its missing parents, and make their names durable."""
    missing = [folder]
    while not missing[-1].exists():
        missing.append(missing[-1].parent)
    existing = missing.pop()
    # Raises FileExistsError if a file has the name.
    existing.mkdir(exist_ok=True)
    for directory in reversed(missing):
        # Another process may make it at the same time.
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file for its owner alone and make its contents durable, but not its name."""
    with open(path, "wb", opener=private) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_beside(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write a durable temporary file for `put_in_place` and return its path; on failure it is removed."""
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        write_file(temporary, write)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a durable temporary file, and make its name durable. After an OSError, either file may be in place."""
    temporary.rename(path)
    sync_directory(path.parent)


def publish(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file atomically and durably: after a crash, the old or the new file is there, whole."""
    put_in_place(write_beside(path, write), path)


def remove_temporary(path: Path) -> None:
    """Remove the temporary file that an interrupted `publish` leaves."""
    path.with_name(path.name + _TEMPORARY).unlink(missing_ok=True)


def _pack_array(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        name = value.dtype.str.encode()
        head = struct.pack(f"<BB{value.ndim}Q", len(name), value.ndim, *value.shape) + name
        return msgpack.ExtType(_ARRAY, head + value.tobytes())
    raise TypeError(f"a frame cannot contain a {type(value).__name__}")


def _unpack_array(code: int, data: bytes) -> Any:
    if code != _ARRAY:
        raise ValueError(f"unknown extension type {code}")
    name_length, dimensions = struct.unpack_from("<BB", data)
    shape = struct.unpack_from(f"<{dimensions}Q", data, 2)
    start = 2 + 8 * dimensions
    name = data[start : start + name_length].decode("ascii")
    if name not in _DTYPES:
        raise ValueError(f"unknown array type {name!r}")
    return np.frombuffer(data, name, offset=start + name_length).reshape(shape)
