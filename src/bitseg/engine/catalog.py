"""Looking up and changing what a workspace keeps by name: saved segments and static lists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TypeVar

from xxhash import xxh3_64_digest

from bitseg.catalog import DEFAULT_SEGMENTS, Catalog
from bitseg.entries import Details, SavedSegment, StaticList, renamed
from bitseg.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, StaleEtagError
from bitseg.index.index import Index
from bitseg.names import MAX_ID_BYTES, MAX_NAME_BYTES, malformed_text
from bitseg.results import NamedPage
from bitseg.runtime.opaque_tokens import make_token, read_token
from bitseg.segment import format, parse, validate
from bitseg.segment.nodes import Condition, InList, InSegment
from bitseg.storage.records import CatalogChanged

MAX_LISTS = 10_000
MAX_DESCRIPTION_BYTES = 4_096
MAX_LABELS = 64
MAX_LABEL_KEY_BYTES = 128
MAX_LABEL_VALUE_BYTES = 256
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
# Clients take messages of 4 MiB unless told otherwise.
_PAGE_CHARACTERS = 500_000
_PAGE_TOKEN = b"page"

Query = str | Condition
Labels = Mapping[str, str]


Saved = TypeVar("Saved", SavedSegment, StaticList)


class CatalogApi:
    """Saved segments and static lists of a workspace, safe to use from many threads.

    A call that changes something returns when the change is safe, with what is then there. Where it takes an `etag`, it
    is refused with StaleEtagError unless that is the one of what it changes; "" is for whatever is there.
    """

    def __init__(
        self,
        catalog: Catalog,
        index: Index,
        lock: AbstractContextManager[None],
        now_ms: Callable[[], int],
        change: Callable[[CatalogChanged], None],
        last_record: Callable[[], int],
        sync: Callable[[int], None],
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._lock = lock
        self._now_ms = now_ms
        self._change = change
        self._last_record = last_record
        self._sync = sync

    # Segments

    @property
    def segments(self) -> Mapping[str, SavedSegment]:
        """The saved segments by name."""
        with self._lock:
            return dict(self._catalog.saved)

    def get_segment(self, name: str) -> SavedSegment:
        """A saved segment; NotFoundError if there is none of the name."""
        with self._lock:
            return self._catalog.segment(name)

    def list_segments(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[SavedSegment]:
        """A page of the segments with a text in their names, whatever the case, and with all of some labels."""
        return _page(self.segments.values(), name_contains, labels or {}, page_size, page_token)

    def create_segment(
        self, name: str, query: Query, *, description: str = "", labels: Labels | None = None
    ) -> SavedSegment:
        """Save a segment under a name that none has, else AlreadyExistsError.

        Attributes and events need not have arrived yet. Raises SegmentSyntaxError and InvalidSegmentError for a
        definition that means nothing, that refers to what is not saved, or to itself, directly or through others.
        """
        condition = _condition(query)
        with self._editing():
            self._require_free_segment(name)
            return self._save_segment(name, condition, self._changed(Details(), description, labels))

    def save_segment(self, name: str, query: Query) -> SavedSegment:
        """Save a segment under a name, in place of the definition that it had."""
        condition = _condition(query)
        with self._editing():
            before = self._catalog.saved.get(name)
            return self._save_segment(name, condition, Details() if before is None else before.details)

    def update_segment(
        self,
        name: str,
        *,
        query: Query | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment:
        """Change what is given of a segment; NotFoundError if there is none of the name."""
        condition = None if query is None else _condition(query)
        with self._editing():
            before = self._catalog.segment(name)
            _require_current(before, etag)
            details = self._changed(before.details, description, labels)
            return self._save_segment(name, condition or before.definition, details)

    def rename_segment(self, name: str, new_name: str, *, etag: str = "") -> SavedSegment:
        """Give a segment a name that none has, also in the segments that refer to it."""
        with self._editing():
            segment = self._catalog.segment(name)
            _require_current(segment, etag)
            self._require_free_segment(new_name)
            changed, details = self._referring(InSegment, name, new_name)
            self._write_segments(
                {name: None, new_name: segment.definition, **changed}, {new_name: segment.details, **details}
            )
            return self._catalog.segment(new_name)

    def clone_segment(self, name: str, new_name: str) -> SavedSegment:
        """Save a copy of a segment, with its description and labels, under a name that none has."""
        with self._editing():
            segment = self._catalog.segment(name)
            self._require_free_segment(new_name)
            return self._save_segment(new_name, segment.definition, replace(segment.details, created_ms=0))

    def delete_segment(self, name: str, *, etag: str = "") -> None:
        """Forget a segment; NotFoundError if there is none, InUseError while others refer to it. Users stay."""
        with self._editing():
            _require_current(self._catalog.segment(name), etag)
            self._catalog.require_unused(InSegment(name))
            self._write_segments({name: None}, {})

    def add_default_segments(self) -> None:
        """Save the segments that a workspace starts with, apart from those whose names are taken."""
        with self._editing():
            missing = [each for each in DEFAULT_SEGMENTS if each[0] not in self._catalog.saved]
            if not missing:
                return
            self._write_segments(
                {name: parse(text) for name, _, text in missing},
                {name: Details(description) for name, description, _ in missing},
            )

    # Lists

    @property
    def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        with self._lock:
            return {name: self._list(name) for name in self._index.lists}

    def get_list(self, name: str) -> StaticList:
        """A list; NotFoundError if there is none of the name."""
        with self._lock:
            return self._list(name)

    def list_lists(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[StaticList]:
        """A page of the lists with a text in their names, whatever the case, and with all of some labels."""
        return _page(self.lists.values(), name_contains, labels or {}, page_size, page_token)

    def create_list(
        self, name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
    ) -> StaticList:
        """Save user ids under a name that no list has, else AlreadyExistsError.

        Ids of users who have not arrived yet count once they do. Raises InvalidArgumentError for a bad name or id.
        """
        distinct = _distinct(user_ids)
        with self._editing():
            self._require_free_list(name)
            return self._save_list(name, distinct, self._changed(Details(), description, labels))

    def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids under a name, in place of those that it had; description and labels stay unless given."""
        distinct = _distinct(user_ids)
        with self._editing():
            if etag:
                _require_current(self._list(name), etag)
            if name not in self._index.lists:
                self._require_free_list(name)
            before = self._catalog.list_details.get(name, Details())
            return self._save_list(name, distinct, self._changed(before, description, labels))

    def update_list(
        self,
        name: str,
        *,
        user_ids: Iterable[str] | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Change what is given of a list; NotFoundError if there is none of the name."""
        distinct = None if user_ids is None else _distinct(user_ids)
        with self._editing():
            before = self._list(name)
            _require_current(before, etag)
            details = self._changed(before.details, description, labels)
            return self._save_list(name, name if distinct is None else distinct, details)

    def rename_list(self, name: str, new_name: str, *, etag: str = "") -> StaticList:
        """Give a list a name that none has, also in the segments that refer to it."""
        _require_list_name(new_name)
        with self._editing():
            found = self._list(name)
            _require_current(found, etag)
            self._require_free_list(new_name)
            changed, details = self._referring(InList, name, new_name)
            segments = self._contents(changed, details)
            lists = {name: None, new_name: (name, self._touched(found.details))}
            self._change(CatalogChanged(self._index.version, segments, lists))
            return self._list(new_name)

    def delete_list(self, name: str, *, etag: str = "") -> None:
        """Forget a list; NotFoundError if there is none, InUseError while saved segments refer to it. Users stay."""
        with self._editing():
            _require_current(self._list(name), etag)
            self._catalog.require_unused(InList(name))
            self._change(CatalogChanged(self._index.version, lists={name: None}))

    # What both have in common

    def _list(self, name: str) -> StaticList:
        found = self._index.lists.get(name)
        if found is None:
            raise NotFoundError(f'there is no list "{name}"')
        details = self._catalog.list_details.get(name, Details())
        return StaticList.of(name, len(found.user_ids), details, found.revision)

    def _require_free_segment(self, name: str) -> None:
        if name in self._catalog.saved:
            raise AlreadyExistsError(f'there is a segment "{name}" already', hint="choose another name, or update it")

    def _require_free_list(self, name: str) -> None:
        if name in self._index.lists:
            raise AlreadyExistsError(f'there is a list "{name}" already', hint="choose another name, or update it")
        if len(self._index.lists) >= MAX_LISTS:
            raise InvalidArgumentError(f"there are {MAX_LISTS:,} lists already, the limit")

    def _changed(self, before: Details, description: str | None, labels: Labels | None) -> Details:
        """The details with what is given; InvalidArgumentError for what cannot be kept."""
        description = before.description if description is None else description
        labels = before.labels if labels is None else dict(labels)
        texts = [(description or "-", "description", MAX_DESCRIPTION_BYTES)]
        texts += [(key, "key of a label", MAX_LABEL_KEY_BYTES) for key in labels]
        texts += [(value or "-", "value of a label", MAX_LABEL_VALUE_BYTES) for value in labels.values()]
        reason = None
        if len(labels) > MAX_LABELS:
            reason = f"there are {len(labels):,} labels, the limit is {MAX_LABELS}"
        for text, what, max_bytes in texts:
            reason = reason or malformed_text(text, what, max_bytes)
        if reason is not None:
            raise InvalidArgumentError(reason)
        return replace(before, description=description, labels=labels)

    def _touched(self, details: Details) -> Details:
        """The details of what is changed at this instant."""
        # Never an instant twice, so that etags differ.
        now_ms = max(self._now_ms(), details.updated_ms + 1)
        return replace(details, created_ms=details.created_ms or now_ms, updated_ms=now_ms)

    def _referring(
        self, kind: type[InSegment] | type[InList], name: str, new_name: str
    ) -> tuple[dict[str, Condition], dict[str, Details]]:
        """The segments that refer to a name, by another one, and their details."""
        users = self._catalog.referrers(kind(name))
        return (
            {each.name: renamed(each.definition, (kind, name, new_name)) for each in users},
            {each.name: each.details for each in users},
        )

    def _save_segment(self, name: str, condition: Condition, details: Details) -> SavedSegment:
        self._write_segments({name: condition}, {name: details})
        return self._catalog.segment(name)

    def _write_segments(self, changed: Mapping[str, Condition | None], details: Mapping[str, Details]) -> None:
        self._catalog.check(changed, self._index.lists)
        self._change(CatalogChanged(self._index.version, self._contents(changed, details)))

    def _contents(
        self, changed: Mapping[str, Condition | None], details: Mapping[str, Details]
    ) -> dict[str, tuple[str, Details] | None]:
        """Segments that change at this instant, as a record has them."""
        return {
            name: None if condition is None else (format(condition), self._touched(details[name]))
            for name, condition in changed.items()
        }

    def _save_list(self, name: str, user_ids: Sequence[str] | str, details: Details) -> StaticList:
        _require_list_name(name)
        self._change(CatalogChanged(self._index.version, lists={name: (user_ids, self._touched(details))}))
        return self._list(name)

    @contextmanager
    def _editing(self) -> Iterator[None]:
        """Hold the lock; what was changed under it is safe at the end."""
        with self._lock:
            yield
            record = self._last_record()
        self._sync(record)


def _condition(query: Query) -> Condition:
    """The valid tree of a query; worked out before the lock is taken, for hostile texts take their time."""
    if isinstance(query, str):
        return parse(query)
    validate(query)
    return query


def _require_list_name(name: str) -> None:
    reason = malformed_text(name, "list name", MAX_NAME_BYTES)
    if reason is not None:
        raise InvalidArgumentError(reason)


def _distinct(user_ids: Iterable[str]) -> list[str]:
    """The ids, each once; InvalidArgumentError for one that is none."""
    distinct = list(dict.fromkeys(user_ids))
    for user_id in distinct:
        reason = malformed_text(user_id, "user id", MAX_ID_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
    return distinct


def _require_current(saved: SavedSegment | StaticList, etag: str) -> None:
    if etag and etag != saved.etag:
        kind = "segment" if isinstance(saved, SavedSegment) else "list"
        raise StaleEtagError(
            f'the {kind} "{saved.name}" has changed since it was read', hint="read it again, and change what is there"
        )


def _page(
    found: Iterable[Saved], name_contains: str, labels: Labels, page_size: int, page_token: str
) -> NamedPage[Saved]:
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgumentError(f"a page size of {page_size} is out of range", hint=f"use 1 to {MAX_PAGE_SIZE:,}")
    wanted = sorted(
        (
            each
            for each in found
            if name_contains.casefold() in each.name.casefold() and labels.items() <= each.details.labels.items()
        ),
        key=lambda each: each.name,
    )
    # A page begins after a name, so that none is left out or shown twice when others come or go.
    filters = xxh3_64_digest(repr((name_contains, sorted(labels.items()))).encode(errors="surrogatepass"))
    after = _name_of(page_token, filters)
    rest = [each for each in wanted if after is None or each.name > after]
    items: list[Saved] = []
    characters = 0
    for each in rest[: page_size or DEFAULT_PAGE_SIZE]:
        characters += each.characters
        if items and characters > _PAGE_CHARACTERS:
            break
        items.append(each)
    is_last = len(items) == len(rest)
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
