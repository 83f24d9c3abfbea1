"""Reads files that a caller names."""

from pathlib import Path

from bitseg.errors import BitsegError


def read_file(path: Path, error_class: type[BitsegError], what: str = "") -> bytes:
    """The content of a file; `error_class`, with the path and the reason, if it cannot be read.

    `what` names the purpose of the file in the error.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error_class, what, error.strerror or str(error)) from error


def read_text(path: Path, error_class: type[BitsegError], what: str = "") -> str:
    """The text of a file in UTF-8, with or without a byte order mark; errors as of `read_file`."""
    try:
        return read_file(path, error_class, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, error_class, what, f"it is not UTF-8 at byte {error.start}") from error


def _unreadable(path: Path, error_class: type[BitsegError], what: str, reason: str) -> BitsegError:
    return error_class(f"cannot read {what}{' in ' if what else ''}{path}: {reason}")
