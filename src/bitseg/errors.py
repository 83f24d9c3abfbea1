"""Every error that bitseg raises on purpose: what was wrong, where, and what to do."""

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
    """The base of every bitseg error. `hint`, where there is one, says what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SegmentError(BitsegError):
    """A segment definition that cannot be answered.

    `position` is known where a place in a text is at fault, and `text` where that text is at hand.
    """

    text: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, position: Position | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.position}: {text}" if self.position else text


class SegmentSyntaxError(SegmentError):
    """Text that is not in the segment language. `expected` lists what could have stood there."""

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
    """A well-formed definition that means nothing: a range turned round, a bucket out of range."""


class UnknownAttributeError(SegmentError):
    """A condition on an attribute that no user has ever had."""


class TypeMismatchError(SegmentError):
    """An operator or a value that does not fit the type of its attribute or property."""


class UnknownSegmentError(SegmentError):
    """A reference to a saved segment that does not exist."""


class UnknownListError(SegmentError):
    """A reference to a list that does not exist."""


class InvalidArgumentError(BitsegError):
    """An argument outside what the call takes."""


class NotFoundError(BitsegError):
    """Something asked for by name or id that does not exist."""


class AlreadyExistsError(BitsegError):
    """A name that is taken."""


class StaleEtagError(BitsegError):
    """An etag of something that has changed since."""


class InUseError(BitsegError):
    """Something that cannot go because others refer to it."""


class VersionGoneError(BitsegError):
    """A version whose answer was kept for a while, and is no longer."""


class NotReadyError(BitsegError):
    """A server that is opening its workspace, or stopping."""


class OverloadedError(BitsegError):
    """More, or more at the same time, than a server takes."""


class TimeLimitError(BitsegError):
    """An answer that took longer than a server lets it."""


class CancelledError(BitsegError):
    """A call that its caller has given up."""


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
    """A journal whose bytes are not what was written, other than at the end that a crash cut off."""


class DiskFullError(DataDirectoryError):
    """No room for what was to be written, of which nothing was kept."""


class NotDurableError(DataDirectoryError):
    """Writes that are refused, or may be lost, since the disk failed to make earlier ones durable."""


class UnsupportedFormatError(DataDirectoryError):
    """A file that is not bitseg's, or was written by a version this one does not know."""


class WorkspaceBrokenError(BitsegError):
    """A workspace in which a change failed half-way, and that has to be opened again from disk."""


class InternalError(BitsegError):
    """A fault of bitseg itself, which says nothing against the files or the request that it appeared with."""


class ImportFileError(BitsegError):
    """A file that cannot be imported at all: missing, unreadable, or without the columns named."""


class ServerUnavailableError(BitsegError):
    """No answer from a bitseg server at the address given."""


class RequestError(BitsegError):
    """A request that the server refused for a reason that no other error here stands for."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def file_error(what: str, path: Path, error: OSError) -> DataDirectoryError:
    """The error for what the file system refused."""
    if error.errno in _NO_ROOM:
        hint = "make room; writes succeed again once there is some"
        return DiskFullError(f"{what} {path}: {error.strerror}", hint=hint)
    return DataDirectoryError(f"{what} {path}: {error.strerror or error}")
