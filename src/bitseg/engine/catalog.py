"""The catalog of a workspace: creates, reads, changes, renames and deletes saved segments and static lists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from xxhash import xxh3_64_digest

from bitseg.catalog import DEFAULT_SEGMENTS
from bitseg.entries import LISTS, SEGMENTS, Details, Entry, EntryKind, SavedSegment, StaticList, segment_of
from bitseg.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidSegmentError,
    SegmentSyntaxError,
    StaleEtagError,
)
from bitseg.names import MAX_ID_BYTES, malformed_text
from bitseg.records import EntriesChanged, EntryChange
from bitseg.results import NamedPage
from bitseg.runtime.opaque_tokens import make_token, read_token
from bitseg.segment import format, parse, validate
from bitseg.segment.nodes import Condition
from bitseg.segment.parse import MAX_CHARACTERS
from bitseg.shard.writer import Writer

MAX_DESCRIPTION_BYTES = 4_096
MAX_LABELS = 64
MAX_LABEL_KEY_BYTES = 128
MAX_LABEL_VALUE_BYTES = 256
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# By default, clients accept messages of at most 4 MiB.
_PAGE_CHARACTERS = 500_000
_PAGE_TOKEN = b"page"

Query = str | Condition
Labels = Mapping[str, str]

T = TypeVar("T", bound=Entry)


class CatalogApi:
    """Saved segments and static lists of a workspace, safe to use from many threads.

    A call that changes something returns the changed entry, once the change is durable. An `etag` must equal the
    entry's current one, else StaleEtagError; an empty one skips the check.
    """

    def __init__(self, writer: Writer, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._catalog = writer.state.catalog
        self._now_ms = now_ms

    # Segments

    @property
    def segments(self) -> Mapping[str, SavedSegment]:
        """The saved segments by name."""
        return self._entries(SEGMENTS)

    def get_segment(self, name: str) -> SavedSegment:
        """A saved segment; NotFoundError if no segment has the name."""
        return self._get(SEGMENTS, name)

    def list_segments(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[SavedSegment]:
        """A page of the segments whose names contain a text, ignoring case, and that have all the labels."""
        return _page(self.segments.values(), name_contains, labels or {}, page_size, page_token)

    def create_segment(
        self, name: str, query: Query, *, description: str = "", labels: Labels | None = None
    ) -> SavedSegment:
        """Save a segment under an unused name; AlreadyExistsError if a segment has it.

        Attributes and events need not exist yet. Raises SegmentSyntaxError, and InvalidSegmentError for a definition
        that is invalid, refers to an unknown segment or list, or refers to itself, directly or through others.
        """
        condition = _condition(query)
        with self._editing():
            self._require_free(SEGMENTS, name)
            return self._save_segment(name, condition, _edited(Details(), description, labels))

    def save_segment(
        self,
        name: str,
        query: Query,
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment:
        """Save a segment under a name, replacing its definition if the segment exists.

        Description and labels stay unless given. With an `etag`, NotFoundError if no segment has the name.
        """
        condition = _condition(query)
        with self._editing():
            details = _edited(self._details_before(SEGMENTS, name, etag), description, labels)
            return self._save_segment(name, condition, details)

    def update_segment(
        self,
        name: str,
        *,
        query: Query | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment:
        """Change the given fields of a segment; NotFoundError if no segment has the name."""
        condition = None if query is None else _condition(query)
        with self._editing():
            before = self._current(SEGMENTS, name, etag)
            details = _edited(before.details, description, labels)
            return self._save_segment(name, condition or before.definition, details)

    def rename_segment(self, name: str, new_name: str, *, etag: str = "") -> SavedSegment:
        """Rename a segment to an unused name, also in the segments that refer to it."""
        with self._editing():
            segment = self._current(SEGMENTS, name, etag)
            self._require_free(SEGMENTS, new_name)
            self._require_segment_name(new_name)
            self._catalog.check_segments({new_name: segment.definition}, self._catalog.lists)
            return self._rename(SEGMENTS, segment, new_name)

    def clone_segment(self, name: str, new_name: str) -> SavedSegment:
        """Save a copy of a segment, with its description and labels, under an unused name."""
        with self._editing():
            segment = self._catalog.segments.named(name)
            self._require_free(SEGMENTS, new_name)
            return self._save_segment(new_name, segment.definition, replace(segment.details, created_ms=0))

    def delete_segment(self, name: str, *, etag: str = "") -> None:
        """Delete a segment; NotFoundError if no segment has the name, InUseError if others refer to it. Users stay."""
        with self._editing():
            self._delete(SEGMENTS, self._current(SEGMENTS, name, etag))

    def add_default_segments(self) -> None:
        """Save the default segments, except those whose names are taken."""
        with self._editing():
            missing = [segment for segment in DEFAULT_SEGMENTS if segment[0] not in self._catalog.segments]
            if missing:
                changes = [
                    _change(SEGMENTS, segment_of(name, parse(text), self._touched(Details(description))))
                    for name, description, text in missing
                ]
                self._writer.write(EntriesChanged(changes))

    # Lists

    @property
    def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        return self._entries(LISTS)

    def get_list(self, name: str) -> StaticList:
        """A list; NotFoundError if no list has the name."""
        return self._get(LISTS, name)

    def list_lists(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[StaticList]:
        """A page of the lists whose names contain a text, ignoring case, and that have all the labels."""
        return _page(self.lists.values(), name_contains, labels or {}, page_size, page_token)

    def create_list(
        self, name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
    ) -> StaticList:
        """Save user ids under an unused name; AlreadyExistsError if a list has it.

        Ids of unknown users count once the users exist. Raises InvalidArgumentError for a bad name or id.
        """
        distinct = _distinct(user_ids)
        with self._editing():
            self._require_free(LISTS, name)
            return self._save_list(name, distinct, _edited(Details(), description, labels))

    def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids under a name, replacing those of an existing list; description and labels stay unless given.

        With an `etag`, NotFoundError if no list has the name.
        """
        distinct = _distinct(user_ids)
        with self._editing():
            details = _edited(self._details_before(LISTS, name, etag), description, labels)
            return self._save_list(name, distinct, details)

    def update_list(
        self,
        name: str,
        *,
        user_ids: Iterable[str] | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Change the given fields of a list; NotFoundError if no list has the name."""
        distinct = None if user_ids is None else _distinct(user_ids)
        with self._editing():
            before = self._current(LISTS, name, etag)
            details = _edited(before.details, description, labels)
            return self._save_list(name, name if distinct is None else distinct, details)

    def rename_list(self, name: str, new_name: str, *, etag: str = "") -> StaticList:
        """Rename a list to an unused name, also in the segments that refer to it."""
        with self._editing():
            user_list = self._current(LISTS, name, etag)
            self._require_free(LISTS, new_name)
            self._require_name(LISTS, new_name)
            return self._rename(LISTS, user_list, new_name)

    def delete_list(self, name: str, *, etag: str = "") -> None:
        """Delete a list; NotFoundError if no list has the name, InUseError if segments refer to it. Users stay."""
        with self._editing():
            self._delete(LISTS, self._current(LISTS, name, etag))

    # Entries of any kind

    def _entries(self, kind: EntryKind[T]) -> Mapping[str, T]:
        with self._writer.lock:
            return dict(self._catalog.collections[kind.name])

    def _get(self, kind: EntryKind[T], name: str) -> T:
        with self._writer.lock:
            entry: T = self._catalog.collections[kind.name].named(name)
            return entry

    def _current(self, kind: EntryKind[T], name: str, etag: str) -> T:
        """The entry with a name; StaleEtagError unless `etag` is empty or the entry's current one."""
        entry: T = self._catalog.collections[kind.name].named(name)
        if etag and etag != entry.etag:
            raise StaleEtagError(
                f'the {kind.name} "{name}" has changed since it was read',
                hint="read it again, and repeat the change",
            )
        return entry

    def _details_before(self, kind: EntryKind[Any], name: str, etag: str) -> Details:
        """The details of the entry with a name, empty without an entry; with an etag, errors as `_current`."""
        if not etag and (type(name) is not str or name not in self._catalog.collections[kind.name]):
            return Details()
        before: Details = self._current(kind, name, etag).details
        return before

    def _require_free(self, kind: EntryKind[Any], name: str) -> None:
        if type(name) is str and name in self._catalog.collections[kind.name]:
            raise AlreadyExistsError(
                f'there is a {kind.name} "{name}" already', hint="choose another name, or update it"
            )

    def _require_name(self, kind: EntryKind[Any], name: str) -> None:
        reason = self._catalog.check_name(kind, name)
        if reason is not None:
            raise InvalidArgumentError(reason)

    def _require_segment_name(self, name: str) -> None:
        reason = self._catalog.check_name(SEGMENTS, name)
        if reason is not None:
            raise InvalidSegmentError(reason)

    def _touched(self, details: Details) -> Details:
        """The details with this instant as the time of the last change."""
        # Always later than the last change, so that etags differ.
        now_ms = max(self._now_ms(), details.updated_ms + 1)
        return replace(details, created_ms=details.created_ms or now_ms, updated_ms=now_ms)

    def _save_segment(self, name: str, condition: Condition, details: Details) -> SavedSegment:
        self._require_segment_name(name)
        segment = segment_of(name, condition, self._touched(details))
        _require_short(segment)
        self._catalog.check_segments({name: condition}, self._catalog.lists)
        self._writer.write(EntriesChanged([_change(SEGMENTS, segment)]))
        return segment

    def _save_list(self, name: str, user_ids: Sequence[str] | str, details: Details) -> StaticList:
        self._require_name(LISTS, name)
        payload = [user_ids, *self._touched(details).plain()]
        self._writer.write(EntriesChanged([EntryChange(LISTS.name, name, payload)]))
        return self._get(LISTS, name)

    def _rename(self, kind: EntryKind[T], entry: T, new_name: str) -> T:
        """Rename an entry and all references to it in one record."""
        details = self._touched(entry.details)
        # The payload names the old list, from which the renamed one takes its ids.
        payload = kind.pack(kind.replaced(entry, entry.name, details))
        changes = [
            EntryChange(kind.name, entry.name, None),
            EntryChange(kind.name, new_name, payload, kind.replaced(entry, new_name, details)),
        ]
        for owner, referrer in self._catalog.referrers(kind, entry.name):
            if kind.reference is not None:
                referrer = owner.renamed(referrer, (kind.reference, entry.name, new_name))
            if isinstance(referrer, SavedSegment):
                _require_short(referrer)
            changes.append(_change(owner, owner.replaced(referrer, referrer.name, self._touched(referrer.details))))
        self._writer.write(EntriesChanged(changes))
        return self._get(kind, new_name)

    def _delete(self, kind: EntryKind[Any], entry: Entry) -> None:
        self._catalog.require_unused(kind, entry.name)
        self._writer.write(EntriesChanged([EntryChange(kind.name, entry.name, None)]))

    @contextmanager
    def _editing(self) -> Iterator[None]:
        """Hold the lock, then wait until the changes are durable."""
        with self._writer.editing():
            yield
            record = self._writer.store.last_record
        self._writer.sync(record)


def _change(kind: EntryKind[T], entry: T) -> EntryChange:
    return EntryChange(kind.name, entry.name, kind.pack(entry), entry)


def _edited(before: Details, description: str | None, labels: Labels | None) -> Details:
    """The details with the given fields replaced; InvalidArgumentError for invalid ones."""
    description = before.description if description is None else description
    if not isinstance(labels, Mapping | None):
        raise InvalidArgumentError(f"the labels are of type {type(labels).__name__}, not a mapping from keys to values")
    labels = before.labels if labels is None else dict(labels)
    reason = _unfit(description, "description", MAX_DESCRIPTION_BYTES)
    if len(labels) > MAX_LABELS:
        reason = reason or f"there are {len(labels):,} labels, the limit is {MAX_LABELS}"
    for key, value in labels.items():
        reason = reason or malformed_text(key, "key of a label", MAX_LABEL_KEY_BYTES)
        reason = reason or _unfit(value, "value of a label", MAX_LABEL_VALUE_BYTES)
    if reason is not None:
        raise InvalidArgumentError(reason)
    return replace(before, description=description, labels=labels)


def _unfit(text: object, what: str, max_bytes: int) -> str | None:
    """Why a text, which may be empty, is invalid; None if it is valid."""
    return None if type(text) is str and not text else malformed_text(text, what, max_bytes)


def _condition(query: Query) -> Condition:
    """The valid tree of a query. Call without the lock, because hostile texts take long to parse."""
    if isinstance(query, str):
        return parse(query)
    if not isinstance(query, Condition):
        kind = type(query).__name__
        raise InvalidArgumentError(f"a segment is given as text or as a tree, not as a value of type {kind}")
    validate(query)
    text = format(query)
    try:
        # The text is saved, so it must be readable: a tree may have unusual kinds of numbers and texts.
        return parse(text)
    except SegmentSyntaxError as error:
        raise InvalidSegmentError(f"the tree cannot be written as text: {error}") from error


def _require_short(segment: SavedSegment) -> None:
    """Raise InvalidSegmentError if the canonical text of a segment is too long to be parsed again."""
    if len(segment.text) > MAX_CHARACTERS:
        raise InvalidSegmentError(
            f'the segment "{segment.name}" has {len(segment.text):,} characters in its canonical form, the limit is '
            f"{MAX_CHARACTERS:,}",
            hint="put long lists of ids into a list and use in list",
        )


def _distinct(user_ids: Iterable[str]) -> list[str]:
    """The ids without duplicates; InvalidArgumentError for an invalid id."""
    try:
        distinct = list(dict.fromkeys(user_ids))
    except TypeError as error:
        raise InvalidArgumentError(f"a user id is not text: {error}") from None
    for user_id in distinct:
        reason = malformed_text(user_id, "user id", MAX_ID_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
    return distinct


def _page(entries: Iterable[T], name_contains: str, labels: Labels, page_size: int, page_token: str) -> NamedPage[T]:
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgumentError(f"a page size of {page_size} is out of range", hint=f"use 1 to {MAX_PAGE_SIZE:,}")
    wanted = sorted(
        (
            entry
            for entry in entries
            if name_contains.casefold() in entry.name.casefold() and labels.items() <= entry.details.labels.items()
        ),
        key=lambda entry: entry.name,
    )
    # A page begins after a name, so that no entry is skipped or repeated when others are added or deleted.
    filters = xxh3_64_digest(repr((name_contains, sorted(labels.items()))).encode(errors="surrogatepass"))
    after = _name_of(page_token, filters)
    following = [entry for entry in wanted if after is None or entry.name > after]
    items: list[T] = []
    characters = 0
    for entry in following[: page_size or DEFAULT_PAGE_SIZE]:
        characters += entry.characters
        if items and characters > _PAGE_CHARACTERS:
            break
        items.append(entry)
    is_last = len(items) == len(following)
    return NamedPage(tuple(items), "" if is_last else _token(items[-1].name, filters), len(wanted))


def _token(name: str, filters: bytes) -> str:
    return make_token(_PAGE_TOKEN, filters + name.encode())


def _name_of(page_token: str, filters: bytes) -> str | None:
    """The name after which a page begins; InvalidArgumentError for a token that is invalid or of another search."""
    if not page_token:
        return None
    try:
        payload = read_token(_PAGE_TOKEN, page_token)
        if payload.startswith(filters):
            return payload.removeprefix(filters).decode()
    except ValueError:
        raise InvalidArgumentError("invalid page token", hint="send the token of the page before unchanged") from None
    raise InvalidArgumentError(
        "this page token belongs to another search", hint="send the same search as for the page before"
    )
