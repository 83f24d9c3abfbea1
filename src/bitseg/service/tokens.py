"""Bearer tokens: kept as hashes in a file, made and revoked by `bitseg token`, checked by the server.

The file is JSON, {"format": 1, "tokens": [{"id", "name", "role", "sha256", "created", "revoked"}, …]}, with instants in
ISO-8601 and `revoked` null for those that are valid. A token is `bitseg_ID_SECRET` with 256 random bits, so that a
plain hash of it tells nothing.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from bitseg.calendar import format_instant
from bitseg.clock import Clock, SystemClock
from bitseg.errors import (
    AlreadyExistsError,
    DataDirectoryError,
    InvalidArgumentError,
    NotFoundError,
    UnsupportedFormatError,
    file_error,
)
from bitseg.names import malformed_text
from bitseg.service.settings import Role
from bitseg.storage import frames

MAX_NAME_BYTES = 128
_FORMAT = 1
_PREFIX = "bitseg"
_NO_HASH = "-" * 64
# How soon a change of the file is heeded.
_LOOK_SECONDS = 0.5

_log = logging.getLogger("bitseg.service")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token: who has it, and the hash by which it is known."""

    id: str
    name: str
    role: Role
    sha256: str
    created: str
    revoked: str | None = None


class TokenFile:
    """The tokens in a file, which several processes may read and change."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()

    def tokens(self) -> list[Token]:
        """All tokens, also revoked ones; none where there is no file."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error("cannot read", self._path, error) from error
        try:
            found = orjson.loads(content)
            if found["format"] != _FORMAT:
                raise UnsupportedFormatError(f"{self._path} has format {found['format']}, this version reads {_FORMAT}")
            return [Token(**{**each, "role": Role.named(each["role"])}) for each in found["tokens"]]
        except (ValueError, KeyError, TypeError, AttributeError, InvalidArgumentError) as error:
            raise DataDirectoryError(f"{self._path} is no file of tokens: {error}") from error

    def create(self, name: str, role: Role) -> str:
        """Make a token and keep its hash; the token, which cannot be had again.

        AlreadyExistsError for a name in use.
        """
        reason = malformed_text(name, "name of the token", MAX_NAME_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
        with self._changing() as tokens:
            if any(each.name == name and each.revoked is None for each in tokens):
                hint = "revoke it first, or take another name"
                raise AlreadyExistsError(f'there is a token "{name}" already', hint=hint)
            token_id = secrets.token_hex(4)
            text = f"{_PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
            tokens.append(Token(token_id, name, role, _hash(text), format_instant(self._clock.now_ms())))
        return text

    def revoke(self, name: str) -> Token:
        """Make the token of a name, or of an id, invalid; NotFoundError if none that is valid has it."""
        with self._changing() as tokens:
            for place, each in enumerate(tokens):
                if name in (each.name, each.id) and each.revoked is None:
                    tokens[place] = replace(each, revoked=format_instant(self._clock.now_ms()))
                    return tokens[place]
            raise NotFoundError(f'there is no valid token "{name}"')

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The tokens, which are written back; one process at a time."""
        try:
            frames.make_directory(self._path.parent)
            descriptor = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                tokens = self.tokens()
                yield tokens
                self._write(tokens)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise file_error("cannot write", self._path, error) from error

    def _write(self, tokens: Sequence[Token]) -> None:
        plain = [{**asdict(each), "role": each.role.title} for each in tokens]
        content = orjson.dumps({"format": _FORMAT, "tokens": plain}, option=orjson.OPT_INDENT_2)
        frames.publish(self._path, lambda file: file.write(content))


class TokenChecker:
    """Knows valid tokens by their hashes, and follows the changes of the file while it is there.

    A file that cannot be read, or goes, leaves the tokens as they were.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = TokenFile(path)
        self._lock = threading.Lock()
        self._valid: dict[str, Token] = {}
        self._has_tokens = False
        self._stamp = self._stamp_of_file()
        self._looked_at = time.monotonic()
        self._take(self._file.tokens())

    @property
    def has_tokens(self) -> bool:
        """Whether there was ever a token, also if all are revoked."""
        self._look()
        return self._has_tokens

    def find(self, text: str) -> Token | None:
        """The token that a text is, if it is a valid one."""
        self._look()
        token = self._valid.get(text.split("_")[1] if text.startswith(f"{_PREFIX}_") else "")
        # Compared in any case, so that the time taken does not tell which ids there are.
        is_same = hmac.compare_digest(_hash(text), _NO_HASH if token is None else token.sha256)
        return token if is_same else None

    def is_valid(self, token: Token) -> bool:
        """Whether a token that was found still stands."""
        self._look()
        return self._valid.get(token.id) == token

    def _look(self) -> None:
        if time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        with self._lock:
            self._looked_at = time.monotonic()
            stamp = self._stamp_of_file()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            if stamp is None:
                _log.error("the file of tokens %s is gone; those it had stay valid", self._path)
                return
            try:
                self._take(self._file.tokens())
                _log.info("read %s again: %d valid tokens", self._path, len(self._valid))
            except DataDirectoryError as error:
                _log.error("the tokens stay as they were: %s", error)

    def _take(self, tokens: Sequence[Token]) -> None:
        self._valid = {each.id: each for each in tokens if each.revoked is None}
        self._has_tokens |= bool(tokens)

    def _stamp_of_file(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
