"""Bearer tokens: stored as hashes in a file, made and revoked by `bitseg token`, checked by the server.

The file is JSON, {"format": 1, "tokens": [{"id", "name", "role", "sha256", "created", "revoked"}, …]}. Instants are in
ISO-8601; `revoked` is null for a valid token. A token is `bitseg_ID_SECRET`. Its secret has 256 random bits, so that
it cannot be guessed from its hash.
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
from bitseg.service.access import Role
from bitseg.storage import frames

MAX_NAME_BYTES = 128
_FORMAT = 1
_PREFIX = "bitseg"
_NO_HASH = "-" * 64
# How often the server checks whether the file has changed.
_CHECK_SECONDS = 0.5

_log = logging.getLogger("bitseg.service")


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret: its owner, and the hash of its text."""

    id: str
    name: str
    role: Role
    sha256: str
    created: str
    revoked: str | None = None


class TokenFile:
    """A file of tokens, which several processes may read and change."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()

    def tokens(self) -> list[Token]:
        """All tokens, revoked ones too; an empty list if there is no file."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error("cannot read", self._path, error) from error
        try:
            stored = orjson.loads(content)
            if stored["format"] != _FORMAT:
                raise UnsupportedFormatError(
                    f"{self._path} has format {stored['format']}, this version reads {_FORMAT}"
                )
            return [Token(**{**token, "role": Role.named(token["role"])}) for token in stored["tokens"]]
        except (ValueError, KeyError, TypeError, AttributeError, InvalidArgumentError) as error:
            raise DataDirectoryError(f"{self._path} is not a file of tokens: {error}") from error

    def create(self, name: str, role: Role) -> str:
        """Make a token, store its hash, and return its text, which is not stored.

        AlreadyExistsError if a valid token has the name.
        """
        reason = malformed_text(name, "name of the token", MAX_NAME_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
        with self._changing() as tokens:
            if any(token.name == name and token.revoked is None for token in tokens):
                hint = "revoke it first, or choose another name"
                raise AlreadyExistsError(f'there is a token "{name}" already', hint=hint)
            token_id = secrets.token_hex(4)
            text = f"{_PREFIX}_{token_id}_{secrets.token_urlsafe(32)}"
            tokens.append(Token(token_id, name, role, _hash(text), format_instant(self._clock.now_ms())))
        return text

    def revoke(self, name: str) -> Token:
        """Revoke the valid token with a name or an id; NotFoundError if no valid token has it."""
        with self._changing() as tokens:
            for index, token in enumerate(tokens):
                if name in (token.name, token.id) and token.revoked is None:
                    tokens[index] = replace(token, revoked=format_instant(self._clock.now_ms()))
                    return tokens[index]
            raise NotFoundError(f'there is no valid token "{name}"')

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """Lock the file, yield its tokens as a list to change, and write the list back."""
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
        plain = [{**asdict(token), "role": token.role.title} for token in tokens]
        content = orjson.dumps({"format": _FORMAT, "tokens": plain}, option=orjson.OPT_INDENT_2)
        frames.publish(self._path, lambda file: file.write(content))


class TokenChecker:
    """Recognises valid tokens by their hashes, and reads their file again when it changes.

    While the file is missing or cannot be read, the tokens are unchanged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = TokenFile(path)
        self._lock = threading.Lock()
        self._valid: dict[str, Token] = {}
        self._has_tokens = False
        self._stamp = self._stamp_of_file()
        self._checked_at = time.monotonic()
        self._set(self._file.tokens())

    @property
    def has_tokens(self) -> bool:
        """True if the file has tokens, even if all are revoked."""
        self._refresh()
        return self._has_tokens

    def find(self, text: str) -> Token | None:
        """The valid token with a text; None if the token is unknown or revoked."""
        self._refresh()
        token = self._valid.get(text.split("_")[1] if text.startswith(f"{_PREFIX}_") else "")
        # Hashed and compared even if no token has the id, so that the time does not reveal which ids exist.
        is_same = hmac.compare_digest(_hash(text), _NO_HASH if token is None else token.sha256)
        return token if is_same else None

    def is_valid(self, token: Token) -> bool:
        """True if a token has not been revoked since `find` returned it."""
        self._refresh()
        return self._valid.get(token.id) == token

    def _refresh(self) -> None:
        if time.monotonic() < self._checked_at + _CHECK_SECONDS:
            return
        with self._lock:
            self._checked_at = time.monotonic()
            stamp = self._stamp_of_file()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            if stamp is None:
                _log.error("the file of tokens %s is missing; its tokens stay valid", self._path)
                return
            try:
                self._set(self._file.tokens())
                _log.info("reloaded %s: %d valid tokens", self._path, len(self._valid))
            except DataDirectoryError as error:
                _log.error("the tokens could not be reloaded, and the old ones stay in use: %s", error)

    def _set(self, tokens: Sequence[Token]) -> None:
        self._valid = {token.id: token for token in tokens if token.revoked is None}
        self._has_tokens |= bool(tokens)

    def _stamp_of_file(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
