"""The bytes of a journal: `journal` writes them, `recovery` reads them.

A file is `journal-NUMBER`, NUMBER with eight digits or more. It begins as every file does (see `frames`), with kind `J`
and format 3, then has an opening frame of {workspace, version, durable}, and then one frame per record:

| bytes | meaning                                                                        |
|-------|--------------------------------------------------------------------------------|
| 8     | marker: BLAKE2b of the workspace's id, 8 bytes long, personalised by `journal` |
| 4     | length of the payload                                                          |
| 4     | CRC-32C of the payload                                                         |
| 8     | number of the record                                                           |
| 8     | `durable`: the number of the last record known to be durable                   |
| 4     | CRC-32C of the 32 bytes before                                                 |
| …     | payload: msgpack of plain values and arrays                                    |

Numbers are unsigned and little-endian. Records are numbered without gaps, through all files; `version` is the number
of the last record of all earlier files. `durable` is what was known when the frame was written, so that a frame tells
which earlier records may have been acknowledged. The marker is searched for to locate frames after damaged bytes. The
workspace's id is random and no call returns it, so that nobody can send a payload that contains a valid frame.

Formats 1 and 2 have {workspace, first_record} at the start, where `first_record` counts the earlier records, and have
records in the short frames of `frames`.
"""

import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from bitseg.errors import CorruptJournalError, InvalidArgumentError, file_error
from bitseg.storage import frames

KIND, FORMAT = "J", 3
# Before 2, segments and lists had records of their own; before 3, records had no numbers.
READABLE = (1, 2, 3)
PREFIX = "journal-"
TORN_SUFFIX = ".torn"

_HEAD = struct.Struct("<8sIIQQ")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CHECK.size


class Header(NamedTuple):
    """The decoded header of a frame."""

    length: int
    checksum: int
    record: int
    durable: int


def marker(workspace: str) -> bytes:
    """The 8 bytes that begin every frame of a workspace's journal."""
    return hashlib.blake2b(workspace.encode(errors="surrogatepass"), digest_size=8, person=b"journal").digest()


def frame(frame_marker: bytes, payload: bytes, record: int, durable: int) -> bytes:
    """The frame of a record; InvalidArgumentError for a payload that is too long."""
    if len(payload) > frames.MAX_PAYLOAD_BYTES:
        raise InvalidArgumentError(f"{len(payload):,} bytes are too many for one record", hint="send smaller batches")
    head = _HEAD.pack(frame_marker, len(payload), google_crc32c.value(payload), record, durable)
    return head + _CHECK.pack(google_crc32c.value(head)) + payload


def header(frame_marker: bytes, data: bytes, place: int = 0) -> Header | None:
    """The header at an offset of `data`; None if it is incomplete or its checksum does not match."""
    if len(data) - place < HEADER_BYTES or not data.startswith(frame_marker, place):
        return None
    head = data[place : place + _HEAD.size]
    if _CHECK.unpack_from(data, place + _HEAD.size)[0] != google_crc32c.value(head):
        return None
    return Header(*_HEAD.unpack(head)[1:])


def opening(workspace: str, version: int, durable: int) -> bytes:
    """The first bytes of a file: its magic and the opening frame."""
    payload = frames.pack({"workspace": workspace, "version": version, "durable": durable})
    return frames.magic(KIND, FORMAT) + frames.header(payload) + payload


def path_of(folder: Path, number: int) -> Path:
    """The path of the journal file with a number."""
    return folder / f"{PREFIX}{number:08}"


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """The files of a journal in a folder, by ascending number."""
    try:
        return frames.numbered(folder, PREFIX)
    except OSError as error:
        raise file_error("cannot list the data directory", folder, error) from error


def torn_files(folder: Path) -> list[Path]:
    """The files in which recoveries saved torn bytes."""
    return sorted(folder.glob(f"{PREFIX}*{TORN_SUFFIX}"))


def corrupt(path: Path, offset: int, what: str) -> CorruptJournalError:
    """The error for damage at a byte of a journal."""
    return CorruptJournalError(
        f"{path} is damaged at byte {offset}: {what}",
        hint="later records cannot be trusted; restore a backup with bitseg restore",
    )
