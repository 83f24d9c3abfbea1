"""A disk that records all operations, and builds the states that a power cut at any moment could leave.

After a power cut, a file has the contents of its last fsync, and any of the 512-byte sectors written later, as they
were at any time since. A directory has the names of its last fsync, and any of the later changes.
"""

import errno
import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECTOR = 512


@dataclass(frozen=True)
class Write:
    """The contents of a file after a change."""

    file: int
    contents: bytes


@dataclass(frozen=True)
class Enter:
    """A file or directory gets a name in a directory; `old` is its previous name."""

    folder: Path
    name: str
    entry: "int | Path"
    old: str | None = None


@dataclass(frozen=True)
class Leave:
    """A name is removed from a directory."""

    folder: Path
    name: str


@dataclass(frozen=True)
class Sync:
    """A file or a directory is fsynced."""

    entry: "int | Path"


@dataclass
class Disk:
    """Records operations below a folder while `recording`; the initial contents are durable.

    `note` records anything else between them. A write fails after `room` more bytes, if that is set; the next write is
    followed by Ctrl-C if `is_interrupted` is set.
    """

    folder: Path
    operations: list = field(default_factory=list)
    room: int | None = None
    is_interrupted: bool = False

    def __post_init__(self):
        self._numbers = itertools.count()
        self._files = {}  # number of the file by path
        self._contents = {}  # by number
        self._descriptors = {}  # path by descriptor
        self._base_names = {}
        self._base_contents = {}
        if self.folder.exists():
            self._base_names[self.folder] = {}
            for path in sorted(self.folder.rglob("*")):
                self._base_names.setdefault(path.parent, {})
                if path.is_dir():
                    self._base_names[path.parent][path.name] = path
                else:
                    number = self._number(path)
                    self._contents[number] = self._base_contents[number] = path.read_bytes()
                    self._base_names[path.parent][path.name] = number

    def note(self, what):
        """Record a note between the operations."""
        self._observe()
        self.operations.append(what)

    @contextmanager
    def recording(self):
        """Record the file operations of this thread."""
        real = {name: getattr(os, name) for name in _PATCHED}
        with pytest.MonkeyPatch.context() as patch:
            for name in _PATCHED:
                patch.setattr(os, name, getattr(self, f"_{name}")(real[name]))
            yield self

    def _number(self, path):
        if path not in self._files:
            self._files[path] = next(self._numbers)
        return self._files[path]

    def _is_ours(self, path):
        return Path(path).is_relative_to(self.folder.parent)

    def _observe(self):
        """Record the writes to open files."""
        for path in set(self._descriptors.values()):
            number = self._files.get(path)
            if number is not None and path.is_file():
                contents = path.read_bytes()
                if contents != self._contents[number]:
                    self._contents[number] = contents
                    self.operations.append(Write(number, contents))

    def _open(self, real):
        def open_(path, flags, mode=0o777, **more):
            path = Path(path)
            existed = path.exists()
            descriptor = real(path, flags, mode, **more)
            if self._is_ours(path):
                self._observe()
                if not existed:
                    self._files.pop(path, None)
                    number = self._number(path)
                    self._contents[number] = b""
                    self.operations.append(Enter(path.parent, path.name, number))
                self._descriptors[descriptor] = path
                self._observe()
            return descriptor

        return open_

    def _write(self, real):
        def write(descriptor, data):
            if self.room is not None and descriptor in self._descriptors:
                if self.room < len(data):
                    written = real(descriptor, data[: self.room]) if self.room else 0
                    self.room = 0
                    self._observe()
                    if written:
                        return written
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.room -= len(data)
            written = real(descriptor, data)
            self._observe()
            if self.is_interrupted:
                self.is_interrupted = False
                raise KeyboardInterrupt
            return written

        return write

    def _fsync(self, real):
        def fsync(descriptor):
            path = self._descriptors.get(descriptor)
            if path is not None:
                self._observe()
                self.operations.append(Sync(path if path.is_dir() else self._files[path]))

        return fsync

    def _truncating(self, real):
        def truncate(target, size):
            real(target, size)
            path = self._descriptors.get(target) if isinstance(target, int) else Path(target)
            number, contents = self._files[path], path.read_bytes()
            self._contents[number] = contents
            self.operations.append(Write(number, contents))

        return truncate

    _ftruncate = _truncate = _truncating

    def _close(self, real):
        def close(descriptor):
            self._observe()
            self._descriptors.pop(descriptor, None)
            real(descriptor)

        return close

    def _unlink(self, real):
        def unlink(path, **more):
            real(path, **more)
            self._observe()
            self._files.pop(Path(path), None)
            self.operations.append(Leave(Path(path).parent, Path(path).name))

        return unlink

    def _renaming(self, real):
        def rename(old, new, **more):
            old, new = Path(old), Path(new)
            self._observe()
            real(old, new, **more)
            self._files[new] = self._files.pop(old)
            self.operations.append(Enter(new.parent, new.name, self._files[new], old.name))

        return rename

    _rename = _replace = _renaming

    def _mkdir(self, real):
        def mkdir(path, mode=0o777, **more):
            real(path, mode, **more)
            self.operations.append(Enter(Path(path).parent, Path(path).name, Path(path)))

        return mkdir

    def power_cut(self, moment, target, random):
        """Build, as `target`, a state that a power cut before the operation `moment` could leave."""
        names = {folder: [dict(entries)] for folder, entries in self._base_names.items()}
        contents = {number: [data] for number, data in self._base_contents.items()}
        changes = {}
        for operation in self.operations[:moment]:
            match operation:
                case Write(file, data):
                    contents.setdefault(file, [b""]).append(data)
                case Enter() | Leave():
                    changes.setdefault(operation.folder, []).append(operation)
                    if isinstance(operation, Enter) and isinstance(operation.entry, Path):
                        names.setdefault(operation.entry, [{}])
                case Sync(Path() as folder):
                    now = _changed(names.get(folder, [{}])[-1], changes.pop(folder, []))
                    names[folder] = [now]
                case Sync(file):
                    contents[file] = contents.get(file, [b""])[-1:]
        way = random.choice(["all", "none", "some", "some", "some", "names", "contents"])
        _materialise(
            target,
            self.folder,
            {folder: _some(names.get(folder, [{}])[-1], changes.get(folder, []), way, random) for folder in names},
            {file: _torn(versions, way, random) for file, versions in contents.items()},
        )


_PATCHED = ("open", "write", "fsync", "ftruncate", "truncate", "close", "unlink", "rename", "replace", "mkdir")


def _changed(entries, changes):
    entries = dict(entries)
    for change in changes:
        match change:
            case Enter(_, name, entry, old):
                entries.pop(old, None)
                entries[name] = entry
            case Leave(_, name):
                entries.pop(name, None)
    return entries


def _some(entries, changes, way, random):
    if way in ("all", "names"):
        return _changed(entries, changes)
    if way == "none":
        return entries
    if random.random() < 0.5:
        return _changed(entries, changes[: random.randint(0, len(changes))])
    return _changed(entries, [change for change in changes if random.random() < 0.5])


def _torn(versions, way, random):
    """One possible state of a file: `versions` begin with the fsynced contents and end with the last written ones."""
    if way in ("all", "contents"):
        return versions[-1]
    if way == "none":
        return versions[0]
    size = len(random.choice(versions)) if random.random() < 0.7 else random.randint(*_sizes(versions))
    if random.random() < 0.3:
        # Written in order, up to some byte.
        return random.choice(versions)[:size]
    likely = random.choice([0.1, 0.5, 0.9])
    data = bytearray()
    for first in range(0, size, SECTOR):
        version = versions[-1] if random.random() < likely else random.choice(versions)
        data += version[first : first + SECTOR].ljust(SECTOR, b"\0")
    return bytes(data[:size])


def _sizes(versions):
    return min(map(len, versions)), max(map(len, versions))


def _materialise(target, folder, names, contents):
    target.mkdir()
    pending = [(target, folder)]
    while pending:
        made, original = pending.pop()
        for name, entry in names.get(original, {}).items():
            if isinstance(entry, Path):
                (made / name).mkdir()
                pending.append((made / name, entry))
            else:
                (made / name).write_bytes(contents.get(entry, b""))
