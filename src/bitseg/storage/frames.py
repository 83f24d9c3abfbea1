"""Frames: how every file of a data directory is written.

A file is 8 bytes, `BITSEG`, a letter for the kind of file and the version of its format, and then frames:

| bytes | meaning                                               |
|-------|-------------------------------------------------------|
| 4     | length of the payload, unsigned, little-endian        |
| 4     | CRC-32C of the payload, unsigned, little-endian       |
| 4     | CRC-32C of the 8 bytes before, unsigned, little-endian|
| …     | payload: msgpack of plain values and arrays           |

The length has a checksum of its own, so that damage to it is not taken for a file that was cut short. Records of the
journal have longer headers (see `journal_format`). Numpy arrays are msgpack extension type 1: the length of the type's
name (1 byte), the number of dimensions (1 byte), each dimension (8 bytes), the name as numpy's `str`, and the items in
C order.

A file that replaces another is written beside it as `NAME.tmp`, made durable, renamed, and the directory is made
durable (`publish`), so that a crash leaves the one or the other.
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
    """Bytes at an offset of a file that are not a whole frame, and what is wrong with them."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def pack(value: Any) -> bytes:
    """The payload of plain values and arrays; TypeError for what is neither."""
    packed: bytes = msgpack.packb(value, default=_pack_array, unicode_errors="surrogatepass")
    return packed


def unpack(payload: bytes | memoryview) -> Any:
    """The value of a payload; ValueError for one that has none."""
    try:
        return msgpack.unpackb(payload, ext_hook=_unpack_array, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, OverflowError, struct.error, msgpack.UnpackException) as error:
        raise ValueError(f"the payload cannot be unpacked: {error}") from None


def header(payload: bytes) -> bytes:
    """What goes before a payload; InvalidArgumentError for one that is too long."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidArgumentError(f"{len(payload):,} bytes are too many for one record", hint="send them in parts")
    head = _HEAD.pack(len(payload), google_crc32c.value(payload))
    return head + _CHECK.pack(google_crc32c.value(head))


def read(file: BinaryIO, offset: int, end: int) -> bytes:
    """The payload of the frame at an offset of a file that ends at `end`; DamagedFrameError."""
    file.seek(offset)
    head = file.read(min(HEADER_BYTES, end - offset))
    if len(head) < HEADER_BYTES:
        raise DamagedFrameError(offset, "the file is cut short")
    size = length(head)
    if size is None:
        raise DamagedFrameError(offset, "the checksum of the length does not match")
    return read_payload(file, offset, offset + HEADER_BYTES, end, size, _HEAD.unpack_from(head)[1])


def length(head: bytes) -> int | None:
    """The length of the payload that a header tells; None where its checksum does not match."""
    is_whole = _CHECK.unpack_from(head, _HEAD.size)[0] == google_crc32c.value(head[: _HEAD.size])
    return int(_HEAD.unpack_from(head)[0]) if is_whole else None


def read_payload(file: BinaryIO, offset: int, start: int, end: int, length: int, checksum: int) -> bytes:
    """The payload, which starts at `start`, of the frame at `offset`; DamagedFrameError.

    A length beyond the end of the file takes no memory.
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
    """The first bytes of a file."""
    return _MAGIC + kind.encode() + bytes([version])


def check_magic(path: Path, found: bytes, kind: str, versions: Sequence[int]) -> None:
    """Raise UnsupportedFormatError for a file that does not begin as one of a kind and of some versions does."""
    if found[:-1] != _MAGIC + kind.encode():
        raise UnsupportedFormatError(f"{path} is not a bitseg file of its name")
    if found[-1] not in versions:
        raise UnsupportedFormatError(
            f"{path} has format {found[-1]}, this version reads {', '.join(map(str, versions))}",
            hint="open it with the version of bitseg that wrote it",
        )


def private(path: str, flags: int) -> int:
    """An opener of files for their owner alone: they hold what is known about people."""
    return os.open(path, flags, 0o600)


def numbered(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """The files in a folder that a prefix and a number name, by ascending number."""
    found = ((path.name.removeprefix(prefix), path) for path in folder.glob(f"{prefix}*"))
    return sorted((int(digits), path) for digits, path in found if digits.isascii() and digits.isdigit())


def sync_directory(folder: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(folder: Path) -> None:
    """Make a directory and those above it that are missing, and make their names durable."""
    missing = [folder]
    while not missing[-1].exists():
        missing.append(missing[-1].parent)
    existing = missing.pop()
    # Raises FileExistsError where something else has the name.
    existing.mkdir(exist_ok=True)
    for directory in reversed(missing):
        # Another process may have made it meanwhile.
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file for its owner alone and make its contents durable, but not its name."""
    with open(path, "wb", opener=private) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_beside(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write what `put_in_place` makes the contents of a file; where it is. Nothing is left where that fails."""
    temporary = path.with_name(path.name + _TEMPORARY)
    try:
        write_file(temporary, write)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a file that is durable, and make its name so; after an OSError, either file may be in place."""
    temporary.rename(path)
    sync_directory(path.parent)


def publish(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file at once, durably: after a crash, the one before or the whole next one is there."""
    put_in_place(write_beside(path, write), path)


def remove_temporary(path: Path) -> None:
    """Remove what a crash left of a `publish`."""
    path.with_name(path.name + _TEMPORARY).unlink(missing_ok=True)


def _pack_array(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        name = value.dtype.str.encode()
        head = struct.pack(f"<BB{value.ndim}Q", len(name), value.ndim, *value.shape) + name
        return msgpack.ExtType(_ARRAY, head + value.tobytes())
    raise TypeError(f"a frame cannot hold a {type(value).__name__}")


def _unpack_array(code: int, data: bytes) -> Any:
    if code != _ARRAY:
        raise ValueError(f"extension type {code} is not known")
    name_length, dimensions = struct.unpack_from("<BB", data)
    shape = struct.unpack_from(f"<{dimensions}Q", data, 2)
    start = 2 + 8 * dimensions
    name = data[start : start + name_length].decode("ascii")
    if name not in _DTYPES:
        raise ValueError(f"arrays of type {name!r} are not known")
    return np.frombuffer(data, name, offset=start + name_length).reshape(shape)
