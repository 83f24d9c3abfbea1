"""Snapshots: the state of a workspace as parts in files, and the manifest that says which parts are current.

`parts-NUMBER` has parts, one per frame (see `frames`). `manifest` has a single frame of
{generation, workspace, journal, version, parts}: the settings of the workspace, the first file of the journal to
replay, the number of the last record in the snapshot, and for every part [key, revision, file, offset, length]. Both
have format 5. In earlier formats the manifest has `records` in place of `version`: the number of records before the
journal, which differs from the version of the workspace.

A snapshot writes the changed parts to a file of its own, makes it durable, and then replaces the manifest, so that
there is always one whole snapshot. Files without a current part are then deleted. If less than half of a file is
current, its current parts are copied to the file of the snapshot first.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bitseg.errors import CorruptSnapshotError, UnsupportedFormatError, file_error
from bitseg.storage import frames

MANIFEST = "manifest"
PREFIX = "parts-"
# The file of versions before the first release.
_UNRELEASED = "snapshot.msgpack"
_MANIFEST_KIND, _PARTS_KIND, FORMAT = "M", "P", 5
# Before 4, segments and lists had no details; before 5, the version of a workspace was not that of its records.
READABLE = (3, 4, 5)
# Of these, parts and the records after them have other contents, which `shard.legacy` reads.
LEGACY = (3, 4)
_COPY_BYTES = 2**24

Key = tuple[str | int | None, ...]


class Part(NamedTuple):
    """A part of the state of a workspace. Parts of equal key and revision have equal contents."""

    key: Key
    revision: int
    state: Callable[[], Any]


class Stored(NamedTuple):
    """Where a part is stored: the number of its file, and the offset and length of its frame in bytes."""

    revision: int
    file: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a manifest. `workspace` has plain values, the `id` among them.

    `version` is the number of the last record in the parts.
    """

    generation: int
    workspace: Mapping[str, Any]
    journal: int
    version: int
    parts: Mapping[Key, Stored]
    format: int = FORMAT

    @property
    def size_bytes(self) -> int:
        """The size of the parts on disk."""
        return sum(part.length for part in self.parts.values())


def exists(folder: Path) -> bool:
    """Whether a folder has a workspace."""
    return (folder / MANIFEST).exists() or (folder / _UNRELEASED).exists()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if the folder has none.

    Raises CorruptSnapshotError, UnsupportedFormatError or DataDirectoryError.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            return _read_manifest(path, file)
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
    """Write the changed parts and then the next manifest, which is returned.

    `manifest` is the next one, still with the parts of the current one; its generation must not have been used, not
    even by a failed attempt. With `purge`, every file with parts that are not current is rewritten. Raises
    DataDirectoryError or DiskFullError if the file system refuses; the current snapshot then stays.
    """
    number = manifest.generation
    path = parts_path(folder, number)
    stored: dict[Key, Stored] = {}

    def write(file: BinaryIO) -> None:
        file.write(frames.magic(_PARTS_KIND, FORMAT))
        written = _write_parts(file, number, manifest.parts, parts)
        stored.update(_compacted(folder, file, number, written, purge=purge))

    try:
        try:
            frames.write_file(path, write)
            whole = replace(manifest, parts=stored, format=FORMAT)
            temporary = frames.write_beside(folder / MANIFEST, lambda file: _write_manifest(file, whole))
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise file_error("cannot write a snapshot in", folder, error) from error
    try:
        frames.sync_directory(folder)
        frames.put_in_place(temporary, folder / MANIFEST)
    except OSError as error:
        # Either manifest may be in place, so the parts of both have to stay.
        raise file_error("cannot publish a snapshot in", folder, error) from error
    return whole


def published_at(folder: Path) -> float:
    """When the manifest of a folder was published, in seconds since the epoch."""
    try:
        return (folder / MANIFEST).stat().st_mtime
    except OSError as error:
        raise file_error("cannot read the time of", folder / MANIFEST, error) from error


def tidy(folder: Path, manifest: Manifest) -> None:
    """Delete files without a current part."""
    current = {stored.file for stored in manifest.parts.values()}
    frames.remove_temporary(folder / MANIFEST)
    for number, path in frames.numbered(folder, PREFIX):
        if number not in current:
            path.unlink(missing_ok=True)


def read_parts(folder: Path, manifest: Manifest) -> Iterator[tuple[Key, int, Any, int]]:
    """Key, revision, state and stored length in bytes of every part, in the order of `publish`.

    Raises CorruptSnapshotError, naming file and byte, UnsupportedFormatError or DataDirectoryError.
    """
    files: dict[int, tuple[Path, BinaryIO, int]] = {}
    try:
        for key, stored in manifest.parts.items():
            if stored.file not in files:
                files[stored.file] = _opened(parts_path(folder, stored.file))
            path, file, end = files[stored.file]
            payload = _payload(path, file, stored, end)
            yield key, stored.revision, _state(path, stored, key, payload), stored.length
    finally:
        for _, file, _ in files.values():
            file.close()


def copy(source: Path, manifest: Manifest, target: Path) -> None:
    """Copy a snapshot, without the journal, into an empty folder; the manifest comes last.

    Raises DataDirectoryError or DiskFullError if the file system refuses; the copied files are then removed.
    """
    written: list[Path] = []
    try:
        try:
            for number in sorted({stored.file for stored in manifest.parts.values()}):
                with parts_path(source, number).open("rb") as reading:
                    written.append(parts_path(target, number))
                    frames.write_file(written[-1], lambda file: shutil.copyfileobj(reading, file, _COPY_BYTES))
            temporary = frames.write_beside(target / MANIFEST, lambda file: _write_manifest(file, manifest))
        except BaseException:
            for path in written:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        frames.sync_directory(target)
        frames.put_in_place(temporary, target / MANIFEST)
    except OSError as error:
        raise file_error("cannot copy the snapshot to", target, error) from error


def parts_path(folder: Path, number: int) -> Path:
    """The path of the file of parts with a number."""
    return folder / f"{PREFIX}{number:08}"


def corrupt(path: Path, offset: int, what: str) -> CorruptSnapshotError:
    """The error for damage at a byte of a snapshot."""
    return CorruptSnapshotError(
        f"{path} is damaged at byte {offset}: {what}", hint="restore a backup with bitseg restore"
    )


def _write_parts(file: BinaryIO, number: int, before: Mapping[Key, Stored], parts: Iterable[Part]) -> dict[Key, Stored]:
    stored: dict[Key, Stored] = {}
    for part in parts:
        current = before.get(part.key)
        if current is not None and current.revision == part.revision:
            stored[part.key] = current
        else:
            offset, length = file.tell(), _write_frame(file, [part.key, part.state()])
            stored[part.key] = Stored(part.revision, number, offset, length)
    return stored


def _compacted(
    folder: Path, file: BinaryIO, number: int, stored: dict[Key, Stored], *, purge: bool
) -> dict[Key, Stored]:
    """Where the parts are after those in mostly obsolete files were copied to the file being written."""
    live: dict[int, int] = {}
    for place in stored.values():
        live[place.file] = live.get(place.file, 0) + place.length
    leaving: dict[int, tuple[Path, BinaryIO, int]] = {}
    try:
        for old in live.keys() - {number}:
            path = parts_path(folder, old)
            size = path.stat().st_size - frames.MAGIC_BYTES
            if live[old] < size if purge else live[old] * 2 < size:
                leaving[old] = _opened(path)
        moved: dict[Key, Stored] = {}
        for key, place in stored.items():
            if place.file in leaving:
                path, source, end = leaving[place.file]
                payload = _payload(path, source, place, end)
                offset = file.tell()
                file.write(frames.header(payload))
                file.write(payload)
                place = Stored(place.revision, number, offset, place.length)
            moved[key] = place
        return moved
    finally:
        for _, source, _ in leaving.values():
            source.close()


def _write_manifest(file: BinaryIO, manifest: Manifest) -> None:
    file.write(frames.magic(_MANIFEST_KIND, manifest.format))
    _write_frame(file, _plain(manifest))


def _write_frame(file: BinaryIO, value: Any) -> int:
    payload = frames.pack(value)
    file.write(frames.header(payload))
    file.write(payload)
    return frames.HEADER_BYTES + len(payload)


def _state(path: Path, stored: Stored, key: Key, payload: bytes) -> Any:
    try:
        contents = frames.unpack(payload)
    except ValueError as error:
        raise corrupt(path, stored.offset, str(error)) from None
    match contents:
        case [list(stored_key), state] if tuple(stored_key) == key:
            return state
    raise corrupt(path, stored.offset, f"it does not have the part {list(key)}")


def _opened(path: Path) -> tuple[Path, BinaryIO, int]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise corrupt(path, 0, "the file is missing") from None
    except OSError as error:
        raise file_error("cannot read", path, error) from error
    try:
        frames.check_magic(path, file.read(frames.MAGIC_BYTES), _PARTS_KIND, READABLE)
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
        raise corrupt(path, stored.offset, "the length of the part differs from the manifest")
    return payload


def _read_manifest(path: Path, file: BinaryIO) -> Manifest:
    start = file.read(frames.MAGIC_BYTES)
    frames.check_magic(path, start, _MANIFEST_KIND, READABLE)
    end = os.fstat(file.fileno()).st_size
    try:
        payload = frames.read(file, frames.MAGIC_BYTES, end)
        if frames.MAGIC_BYTES + frames.HEADER_BYTES + len(payload) != end:
            raise corrupt(path, end, "unexpected bytes follow the manifest")
        return _manifest(start[-1], frames.unpack(payload))
    except frames.DamagedFrameError as damage:
        raise corrupt(path, damage.offset, damage.reason) from None
    except ValueError as error:
        raise corrupt(path, frames.MAGIC_BYTES, str(error)) from None


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "workspace": dict(manifest.workspace),
        "journal": manifest.journal,
        _version_name(manifest.format): manifest.version,
        "parts": [[key, *stored] for key, stored in manifest.parts.items()],
    }


def _manifest(manifest_format: int, contents: Any) -> Manifest:
    name = _version_name(manifest_format)
    match contents:
        case {"generation": generation, "workspace": dict(workspace), "journal": journal, "parts": list(parts)}:
            numbers = (_natural(number) for number in (generation, journal, contents.get(name)))
            generation, journal, version = numbers
            if not isinstance(workspace.get("id"), str):
                raise ValueError("the workspace has no id")
            stored = dict(map(_stored, parts))
            return Manifest(generation, workspace, journal, version, stored, manifest_format)
    raise ValueError("not a bitseg manifest")


def _version_name(manifest_format: int) -> str:
    return "version" if manifest_format >= 5 else "records"


def _stored(entry: Any) -> tuple[Key, Stored]:
    match entry:
        case [list(key), revision, file, offset, length]:
            if all(item is None or isinstance(item, str | int) for item in key):
                return tuple(key), Stored(*map(_natural, (revision, file, offset, length)))
    raise ValueError(f"{entry!r:.200} is not the place of a part")


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.50} is not a natural number")
    return value
