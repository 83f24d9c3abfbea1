"""Snapshots: the state of a workspace as parts in files, and the manifest that says which parts are current.

`parts-NUMBER` holds parts, one a frame (see `frames`). `manifest` has a single frame of
{generation, workspace, journal, records, parts}: the settings of the workspace, the first file of the journal to
replay and how many records come before it, and for every part [key, revision, file, offset, length].

A snapshot writes a new file with the parts that changed, makes it durable, and then renames a new manifest into place,
so that there is always one whole snapshot. Files that no part of the manifest lies in are then removed; files of which
less than half is current have that half copied first.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bitseg.errors import CorruptSnapshotError, DataDirectoryError, UnsupportedFormatError, file_error
from bitseg.storage import frames

MANIFEST = "manifest"
# What versions before any release wrote.
_UNRELEASED = "snapshot.msgpack"
_PREFIX = "parts-"
_TEMPORARY = ".tmp"
_MANIFEST_KIND, _PARTS_KIND, _FORMAT = "M", "P", 4
# Before 4, segments and lists had no details.
_READABLE = (3, 4)
_COPY_BYTES = 2**24

Key = tuple[str | int | None, ...]


class Part(NamedTuple):
    """A part of the state of a workspace. Of equal key and revision, it has equal contents."""

    key: Key
    revision: int
    state: Callable[[], Any]


class Stored(NamedTuple):
    """Where a part lies: number of the file, place and length of the payload's frame."""

    revision: int
    file: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a data directory holds. `workspace` are plain values, its `id` among them."""

    generation: int
    workspace: Mapping[str, Any]
    journal: int
    records: int
    parts: Mapping[Key, Stored]

    @property
    def size_bytes(self) -> int:
        """What the parts take on disk."""
        return sum(part.length for part in self.parts.values())


def exists(folder: Path) -> bool:
    """Whether a folder holds a workspace."""
    return (folder / MANIFEST).exists() or (folder / _UNRELEASED).exists()


def read_manifest(folder: Path) -> Manifest | None:
    """What a folder holds; None for nothing.

    Raises CorruptSnapshotError, UnsupportedFormatError or DataDirectoryError.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            return _manifest(path, _only_frame(path, file))
    except FileNotFoundError:
        if (folder / _UNRELEASED).exists():
            raise UnsupportedFormatError(
                f"{folder / _UNRELEASED} was written before the first release",
                hint="import the data again into another directory",
            ) from None
        return None
    except OSError as error:
        raise file_error("cannot read", path, error) from error


def publish(folder: Path, manifest: Manifest, parts: Iterable[Part], *, purge: bool = False) -> Manifest:
    """Write the parts that changed since a manifest, and the manifest after it; that one.

    `manifest` is as it should become, apart from the parts, which are those before; its generation must not have been
    tried before. With `purge`, no file is kept that holds anything beside current parts. Raises DataDirectoryError or
    DiskFullError where the file system refuses; the snapshot before then stays.
    """
    number = manifest.generation
    path = parts_path(folder, number)
    try:
        with open(path, "wb", opener=frames.private) as file:
            file.write(frames.magic(_PARTS_KIND, _FORMAT))
            stored = _write_parts(file, number, manifest.parts, parts)
            stored = _compacted(folder, file, number, stored, purge=purge)
            file.flush()
            os.fsync(file.fileno())
        whole = replace(manifest, parts=stored)
        temporary = _write_manifest(folder, whole)
    except OSError as error:
        with suppress(OSError):
            (folder / (MANIFEST + _TEMPORARY)).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise file_error("cannot write a snapshot in", folder, error) from error
    try:
        frames.sync_directory(folder)
        temporary.rename(folder / MANIFEST)
        frames.sync_directory(folder)
    except OSError as error:
        # Which manifest is in place is not known, so the parts of both have to stay.
        raise file_error("cannot publish a snapshot in", folder, error) from error
    return whole


def published_at(folder: Path) -> float:
    """When the manifest of a folder was published, in seconds since the epoch."""
    try:
        return (folder / MANIFEST).stat().st_mtime
    except OSError as error:
        raise file_error("cannot look at", folder / MANIFEST, error) from error


def tidy(folder: Path, manifest: Manifest) -> None:
    """Remove files that the manifest has no part in."""
    current = {each.file for each in manifest.parts.values()}
    (folder / (MANIFEST + _TEMPORARY)).unlink(missing_ok=True)
    for number, path in frames.numbered(folder, _PREFIX):
        if number not in current:
            path.unlink(missing_ok=True)


def read_parts(folder: Path, manifest: Manifest) -> Iterator[tuple[Key, int, Any, int]]:
    """Key, revision, state and stored length of every part, in the order they were given in.

    Raises CorruptSnapshotError, naming file and byte, UnsupportedFormatError or DataDirectoryError.
    """
    files: dict[int, tuple[Path, BinaryIO, int]] = {}
    try:
        for key, stored in manifest.parts.items():
            if stored.file not in files:
                files[stored.file] = _opened(parts_path(folder, stored.file))
            path, file, end = files[stored.file]
            payload = _payload(path, file, stored, end)
            try:
                found_key, state = frames.unpack(payload)
                is_same = tuple(found_key) == key
            except (ValueError, TypeError) as error:
                raise corrupt(path, stored.offset, str(error)) from None
            if not is_same:
                raise corrupt(path, stored.offset, f"it holds {found_key}, not {list(key)}")
            yield key, stored.revision, state, stored.length
    finally:
        for _, file, _ in files.values():
            file.close()


def copy(source: Path, manifest: Manifest, target: Path) -> None:
    """Copy a snapshot into a folder that holds none, without the journal after it.

    Raises CorruptSnapshotError where a file is not whole, else DataDirectoryError.
    """
    if exists(target):
        raise DataDirectoryError(f"{target} holds a workspace already", hint="name a directory that is empty or new")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for number in sorted({each.file for each in manifest.parts.values()}):
            copied = parts_path(target, number)
            with parts_path(source, number).open("rb") as reading, open(copied, "wb", opener=frames.private) as writing:
                shutil.copyfileobj(reading, writing, _COPY_BYTES)
                writing.flush()
                os.fsync(writing.fileno())
        temporary = _write_manifest(target, manifest)
        frames.sync_directory(target)
        temporary.rename(target / MANIFEST)
        frames.sync_directory(target)
    except OSError as error:
        raise file_error("cannot copy the snapshot to", target, error) from error


def parts_path(folder: Path, number: int) -> Path:
    """The file of parts that has a number."""
    return folder / f"{_PREFIX}{number:08}"


def corrupt(path: Path, offset: int, what: str) -> CorruptSnapshotError:
    """The error for damage at a byte of a snapshot."""
    return CorruptSnapshotError(
        f"{path} is damaged at byte {offset}: {what}", hint="restore a backup with bitseg restore"
    )


def _write_parts(file: BinaryIO, number: int, before: Mapping[Key, Stored], parts: Iterable[Part]) -> dict[Key, Stored]:
    stored: dict[Key, Stored] = {}
    for part in parts:
        held = before.get(part.key)
        if held is not None and held.revision == part.revision:
            stored[part.key] = held
        else:
            offset, length = file.tell(), _write_frame(file, [part.key, part.state()])
            stored[part.key] = Stored(part.revision, number, offset, length)
    return stored


def _compacted(
    folder: Path, file: BinaryIO, number: int, stored: dict[Key, Stored], *, purge: bool
) -> dict[Key, Stored]:
    """The same parts, those in files that are not worth keeping copied to the one that is written."""
    live: dict[int, int] = {}
    for each in stored.values():
        live[each.file] = live.get(each.file, 0) + each.length
    leaving: dict[int, tuple[Path, BinaryIO, int]] = {}
    try:
        for old in live.keys() - {number}:
            path = parts_path(folder, old)
            size = path.stat().st_size - frames.MAGIC_BYTES
            if live[old] < size if purge else live[old] * 2 < size:
                leaving[old] = _opened(path)
        moved: dict[Key, Stored] = {}
        for key, each in stored.items():
            if each.file in leaving:
                path, source, end = leaving[each.file]
                payload = _payload(path, source, each, end)
                offset = file.tell()
                file.write(frames.header(payload))
                file.write(payload)
                each = Stored(each.revision, number, offset, each.length)
            moved[key] = each
        return moved
    finally:
        for _, source, _ in leaving.values():
            source.close()


def _write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write a manifest beside its place; where."""
    temporary = folder / (MANIFEST + _TEMPORARY)
    with open(temporary, "wb", opener=frames.private) as file:
        file.write(frames.magic(_MANIFEST_KIND, _FORMAT))
        _write_frame(file, _plain(manifest))
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _write_frame(file: BinaryIO, value: Any) -> int:
    payload = frames.pack(value)
    file.write(frames.header(payload))
    file.write(payload)
    return frames.HEADER_BYTES + len(payload)


def _opened(path: Path) -> tuple[Path, BinaryIO, int]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise corrupt(path, 0, "the file is missing") from None
    except OSError as error:
        raise file_error("cannot read", path, error) from error
    try:
        frames.check_magic(path, file.read(frames.MAGIC_BYTES), _PARTS_KIND, _READABLE)
    except BaseException:
        file.close()
        raise
    return path, file, os.fstat(file.fileno()).st_size


def _payload(path: Path, file: BinaryIO, stored: Stored, end: int) -> bytes:
    if not frames.MAGIC_BYTES <= stored.offset < end:
        raise corrupt(path, end, "the file is cut short")
    try:
        payload = frames.read(file, stored.offset, end)
    except frames.DamagedFrameError as damage:
        raise corrupt(path, damage.offset, damage.reason) from None
    except OSError as error:
        raise file_error("cannot read", path, error) from error
    if frames.HEADER_BYTES + len(payload) != stored.length:
        raise corrupt(path, stored.offset, "the part has another length than the manifest says")
    return payload


def _only_frame(path: Path, file: BinaryIO) -> Any:
    frames.check_magic(path, file.read(frames.MAGIC_BYTES), _MANIFEST_KIND, _READABLE)
    end = os.fstat(file.fileno()).st_size
    try:
        payload = frames.read(file, frames.MAGIC_BYTES, end)
        if frames.MAGIC_BYTES + frames.HEADER_BYTES + len(payload) != end:
            raise corrupt(path, end, "there is more than should be")
        return frames.unpack(payload)
    except frames.DamagedFrameError as damage:
        raise corrupt(path, damage.offset, damage.reason) from None
    except ValueError as error:
        raise corrupt(path, frames.MAGIC_BYTES, str(error)) from None


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "workspace": dict(manifest.workspace),
        "journal": manifest.journal,
        "records": manifest.records,
        "parts": [[key, *stored] for key, stored in manifest.parts.items()],
    }


def _manifest(path: Path, found: Any) -> Manifest:
    try:
        parts = {tuple(key): Stored(*map(_natural, stored)) for key, *stored in found["parts"]}
        workspace = dict(found["workspace"])
        numbers = (_natural(found[name]) for name in ("generation", "journal", "records"))
        generation, journal, records = numbers
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt(path, frames.MAGIC_BYTES, f"this is no manifest: {error}") from None
    return Manifest(generation, workspace, journal, records, parts)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no natural number")
    return value
