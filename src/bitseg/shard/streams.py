"""Streams of a segment's members: page by page, at one version, resumable with a token."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary, finalize

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from xxhash import xxh3_64_digest

from bitseg.errors import InvalidArgumentError, OverloadedError
from bitseg.index.bitmaps import size_bytes, to_array
from bitseg.results import Members, Pages
from bitseg.segment import format
from bitseg.segment.nodes import Condition
from bitseg.shard.resume_tokens import NO_CURSOR, ResumeToken
from bitseg.storage.cursors import CursorStore

DEFAULT_PAGE_SIZE = 10_000
MAX_PAGE_SIZE = 100_000
# The limit on the memory of all open streams.
MAX_OPEN_BYTES = 512 * 2**20
# How many dense ids are unpacked at a time: a multiple of a Roaring container's 65,536.
_STRETCH_IDS = 2**18

DenseIds = NDArray[np.uint32]
Ids = TypeVar("Ids")


class Page(NamedTuple, Generic[Ids]):
    """Some members, and the token to resume after them."""

    ids: Ids
    resume_token: str


@dataclass(frozen=True, slots=True)
class Membership:
    """All members of a segment as an immutable bitmap of dense ids.

    `record` is the number of the version's last journal record.
    """

    users: BitMap
    version: int
    record: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberQuery:
    """A parsed segment, and the function that evaluates it as of an instant (None is now)."""

    condition: Condition
    evaluate: Callable[[datetime | None], Membership]

    def digest(self, as_of: datetime | None) -> bytes:
        """An 8-byte digest that identifies the segment and the instant."""
        return xxh3_64_digest(repr((format(self.condition), as_of)).encode(errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class MemberStream:
    """The remaining pages of a stream. The dense ids of a page ascend, in an array of shape (n,).

    `total` counts all members, including those before the resume token. `resume_token` is the position before the first
    page; it is empty if the stream cannot be resumed from there.
    """

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: Iterator[Page[DenseIds]]
    resume_token: str

    def members(self, ids_of: Callable[[DenseIds], Ids]) -> Members[Ids]:
        """The stream with the ids that `ids_of` makes of every page's dense ids."""
        pages = ((ids_of(page.ids), page.resume_token) for page in self.pages)
        return Members(self.total, self.version, self.warnings, Pages(pages, self.resume_token))


class MemberStreams:
    """Begins and resumes streams of members, safe to use from many threads.

    An open stream has a bitmap and one unpacked stretch of it in memory. Streams of one cursor share the bitmap. The
    bitmaps of all open streams are bounded by `max_open_bytes`; streams of a single page are not counted.
    """

    def __init__(
        self, cursors: CursorStore, is_durable: Callable[[int], bool], max_open_bytes: int = MAX_OPEN_BYTES
    ) -> None:
        """`is_durable` waits until a journal record is durable; False if it may be lost."""
        self._cursors = cursors
        self._is_durable = is_durable
        self._open = _OpenMembers(max_open_bytes)

    @property
    def open_bytes(self) -> int:
        """The memory of the bitmaps of open streams."""
        return self._open.size_bytes

    def open(
        self, query: MemberQuery | None, as_of: datetime | None, page_size: int, resume_token: str, *, is_dense: bool
    ) -> MemberStream:
        """Begin a stream of at most `page_size` members per page (0 is the default), or resume a stream.

        Raises InvalidArgumentError for a token that is invalid or belongs to another stream, VersionGoneError if the
        members were evicted, OverloadedError if open streams take too much memory.
        """
        if not 0 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgumentError(
                f"a page size of {page_size} is out of range",
                hint=f"use 1 to {MAX_PAGE_SIZE:,}, or 0 for {DEFAULT_PAGE_SIZE:,}",
            )
        page_size = page_size or DEFAULT_PAGE_SIZE
        if resume_token:
            return self._resume(ResumeToken.parse(resume_token), query, as_of, page_size, is_dense)
        if query is None:
            raise InvalidArgumentError("there is neither a query nor a resume token")
        return self._begin(query, as_of, page_size, is_dense)

    def _begin(self, query: MemberQuery, as_of: datetime | None, page_size: int, is_dense: bool) -> MemberStream:
        membership = query.evaluate(as_of)
        total, version = len(membership.users), membership.version
        token = ResumeToken(NO_CURSOR, query.digest(as_of), version, 0, total, is_dense)
        if total <= page_size:
            return _stream(token, _Opened(membership.users), page_size, membership.warnings)
        opened = self._open.admit(membership.users)
        members, is_durable = membership.users.serialize(), self._is_durable(membership.record)
        token = replace(token, cursor_id=self._cursors.keep(version, members, is_durable=is_durable))
        self._open.share(token.cursor_id, opened)
        return _stream(token, opened, page_size, membership.warnings)

    def _resume(
        self, token: ResumeToken, query: MemberQuery | None, as_of: datetime | None, page_size: int, is_dense: bool
    ) -> MemberStream:
        is_same_query = as_of is None if query is None else token.query == query.digest(as_of)
        if not is_same_query or token.is_dense != is_dense:
            raise InvalidArgumentError(
                "the resume token belongs to another query or kind of ids",
                hint="omit the query, or send the query and as_of that the stream began with",
            )
        if token.position >= token.total:
            return _stream(token, _Opened(BitMap()), page_size)
        members = self._cursors.find(token.cursor_id, token.version)
        return _stream(token, self._open.shared(token.cursor_id, lambda: BitMap.deserialize(members)), page_size)


class _Opened:
    """The members of open streams of one cursor; freed with the last of these streams."""

    __slots__ = ("__weakref__", "users")

    def __init__(self, users: BitMap) -> None:
        self.users = users


class _OpenMembers:
    """The members of open streams by cursor, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._by_cursor: WeakValueDictionary[bytes, _Opened] = WeakValueDictionary()
        # One entry per open bitmap; appending and removing are atomic, also in a finalizer.
        self._sizes: list[int] = []

    @property
    def size_bytes(self) -> int:
        return sum(self._sizes)

    def admit(self, users: BitMap) -> _Opened:
        """Count the members of another stream; OverloadedError if all open streams take too much memory."""
        with self._lock:
            return self._admitted(users)

    def share(self, cursor_id: bytes, opened: _Opened) -> None:
        """Share admitted members with streams that resume the cursor."""
        with self._lock:
            self._by_cursor[cursor_id] = opened

    def shared(self, cursor_id: bytes, load: Callable[[], BitMap]) -> _Opened:
        """The members of a cursor, loaded unless another stream shares them; OverloadedError as for `admit`."""
        with self._lock:
            opened = self._by_cursor.get(cursor_id)
            if opened is None:
                opened = self._by_cursor[cursor_id] = self._admitted(load())
            return opened

    def _admitted(self, users: BitMap) -> _Opened:
        size = size_bytes(users)
        # One stream may always be open, whatever its size.
        if self._sizes and self.size_bytes + size > self._max_bytes:
            raise OverloadedError(
                f"open streams of members take {self.size_bytes:,} bytes, the limit is {self._max_bytes:,}",
                hint="read open streams to their end, or retry later",
            )
        opened = _Opened(users)
        self._sizes.append(size)
        finalize(opened, self._sizes.remove, size).atexit = False
        return opened


def _stream(token: ResumeToken, opened: _Opened, page_size: int, warnings: tuple[str, ...] = ()) -> MemberStream:
    pages = _pages(token, opened, page_size)
    return MemberStream(token.total, token.version, warnings, pages, token.text() if token.can_resume else "")


def _pages(token: ResumeToken, opened: _Opened, page_size: int) -> Iterator[Page[DenseIds]]:
    position = token.position
    for ids in _in_pages(_stretches(opened.users, position), page_size):
        position += len(ids)
        yield Page(ids, token.at(position).text())


def _stretches(users: BitMap, position: int) -> Iterator[DenseIds]:
    """The members from a position on, ascending, in non-empty arrays of at most `_STRETCH_IDS` items."""
    if position >= len(users):
        return
    first, last = int(users[position]), int(users.max())
    while first <= last:
        end = (first // _STRETCH_IDS + 1) * _STRETCH_IDS
        stretch = BitMap()
        stretch.add_range(first, end)
        stretch &= users
        if stretch:
            yield to_array(stretch)
        first = end


def _in_pages(arrays: Iterator[DenseIds], page_size: int) -> Iterator[DenseIds]:
    """The same ids in arrays of `page_size` items; the last one may be shorter."""
    parts: list[DenseIds] = []
    missing = page_size
    for array in arrays:
        while len(array) >= missing:
            parts.append(array[:missing])
            array, missing = array[missing:], page_size
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts = []
        if len(array):
            parts.append(array)
            missing -= len(array)
    if parts:
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)
