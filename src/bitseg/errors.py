"""All errors that bitseg raises on purpose. They say what was wrong, where, and what to do."""

import errno
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an expression: `offset` counts characters from 0, `line` and `column` from 1."""

    offset: int
    line: int
    column: int

    @classmethod
    def at(cls, text: str, offset: int) -> "Position":
        """The position of character `offset` of `text`."""
        before = text[:offset]
        return cls(offset, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class BitsegError(Exception):
    """The base of all bitseg errors. `hint`, if it is not None, says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SegmentError(BitsegError):
    """A segment definition that cannot be answered.

    `position` is the place of the fault in the text of the definition, `text` that text; both may be None.
    """

    text: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, position: Position | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.position}: {text}" if self.position else text


class SegmentSyntaxError(SegmentError):
    """Text that is not in the segment language. `expected` lists what the parser would accept at the position."""

    def __init__(
        self,
        message: str,
        *,
        position: Position,
        expected: tuple[str, ...] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, position=position)
        self.expected = expected


class InvalidSegmentError(SegmentError):
    """A well-formed definition that makes no sense, such as a reversed range or a bucket out of range."""


class UnknownAttributeError(SegmentError):
    """A condition on an attribute that no user has ever had."""


class TypeMismatchError(SegmentError):
    """An operator or a value that does not fit the type of its attribute or property."""


class UnknownSegmentError(SegmentError):
    """A reference to a saved segment that does not exist."""


class UnknownListError(SegmentError):
    """A reference to a list that does not exist."""


class InvalidArgumentError(BitsegError):
    """An argument that the call does not accept."""


class NotFoundError(BitsegError):
    """A name or an id that does not exist."""


class AlreadyExistsError(BitsegError):
    """A name that already exists."""


class StaleEtagError(BitsegError):
    """A stale etag: the entry has changed since."""


class InUseError(BitsegError):
    """An entry that cannot be deleted because other entries refer to it."""


class VersionGoneError(BitsegError):
    """A version whose stored answer has been evicted."""


class NotReadyError(BitsegError):
    """A server that is still opening its workspace, or is stopping."""


class OverloadedError(BitsegError):
    """More data or more concurrent calls than a server accepts."""


class TimeLimitError(BitsegError):
    """An answer that took longer than the time limit of the server."""


class CancelledError(BitsegError):
    """A call that its caller has cancelled."""


class UnauthenticatedError(BitsegError):
    """A call without valid credentials."""


class PermissionDeniedError(BitsegError):
    """A call that the caller's role does not allow."""


class DataDirectoryError(BitsegError):
    """A data directory that cannot be used: its files, its owner, or the disk."""


class DirectoryLockedError(DataDirectoryError):
    """A data directory that another process has open."""


class CorruptSnapshotError(DataDirectoryError):
    """A snapshot whose bytes are not what was written."""


class CorruptJournalError(DataDirectoryError):
    """A journal that is damaged somewhere other than in an unfinished last write."""


class DiskFullError(DataDirectoryError):
    """No room on the disk for a write; nothing of it was stored."""


class NotDurableError(DataDirectoryError):
    """Writes that are refused or may be lost because the disk failed to make earlier writes durable."""


class UnsupportedFormatError(DataDirectoryError):
    """A file that is not a bitseg file, or has a format that this version does not know."""


class WorkspaceBrokenError(BitsegError):
    """A workspace in which a change failed half-way. It must be opened again from disk."""


class InternalError(BitsegError):
    """A bug of bitseg itself; the files and the request may be fine."""


class ImportFileError(BitsegError):
    """A file that cannot be imported at all: missing, unreadable, or without the columns named."""


class ServerUnavailableError(BitsegError):
    """No answer from a bitseg server at the address given."""


class RequestError(BitsegError):
    """A request that the server refused for any other reason."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def file_error(what: str, path: Path, error: OSError) -> DataDirectoryError:
    """The error for an OSError; `what` says what was tried, such as "cannot write"."""
    if error.errno in _NO_ROOM:
        hint = "make room; writes succeed again once there is some"
        return DiskFullError(f"{what} {path}: {error.strerror}", hint=hint)
    return DataDirectoryError(f"{what} {path}: {error.strerror or error}")
