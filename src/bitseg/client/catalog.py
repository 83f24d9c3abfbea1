"""Saved segments and static lists of a server, for both clients: the same methods and errors as `Engine.catalog`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol, TypeVar

from bitseg.client import calls
from bitseg.client.calls import Call, Labels
from bitseg.client.convert import Query
from bitseg.entries import SavedSegment, StaticList
from bitseg.errors import NotFoundError
from bitseg.pb import catalog_pb2
from bitseg.results import NamedPage, on_all_pages

_UPLOAD_USERS = 20_000
_ALL = 1_000

Answer = TypeVar("Answer")
Upload = Iterator[catalog_pb2.UploadListRequest]


class Connection(Protocol):
    """What makes calls."""

    def call(self, call: Call[Answer]) -> Answer: ...
    def upload(self, requests: Upload) -> StaticList: ...


class AsyncConnection(Protocol):
    """What makes calls in an event loop."""

    async def call(self, call: Call[Answer]) -> Answer: ...
    async def upload(self, requests: Upload) -> StaticList: ...


class RemoteCatalog:
    """Saved segments and static lists. An `etag` of "" is for whatever is there; another must be that of what is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def segments(self) -> Mapping[str, SavedSegment]:
        """All saved segments by name."""
        found = on_all_pages(lambda token: self.list_segments(page_size=_ALL, page_token=token))
        return {each.name: each for each in found}

    def get_segment(self, name: str) -> SavedSegment:
        """A saved segment; NotFoundError if there is none of the name."""
        return self._connection.call(calls.get_segment(name))

    def list_segments(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[SavedSegment]:
        """A page of the segments with a text in their names, whatever the case, and with all of some labels."""
        return self._connection.call(calls.list_segments(name_contains, labels, page_size, page_token))

    def create_segment(
        self, name: str, query: Query, *, description: str = "", labels: Labels | None = None
    ) -> SavedSegment:
        """Save a segment under a name that none has, else AlreadyExistsError."""
        return self._connection.call(calls.create_segment(name, query, description, labels))

    def save_segment(self, name: str, query: Query) -> SavedSegment:
        """Save a segment under a name, in place of the definition that it had."""
        try:
            return self.update_segment(name, query=query)
        except NotFoundError:
            return self.create_segment(name, query)

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
        return self._connection.call(calls.update_segment(name, query, description, labels, etag))

    def rename_segment(self, name: str, new_name: str, *, etag: str = "") -> SavedSegment:
        """Give a segment a name that none has, also in the segments that refer to it."""
        return self._connection.call(calls.rename_segment(name, new_name, etag))

    def clone_segment(self, name: str, new_name: str) -> SavedSegment:
        """Save a copy of a segment, with its description and labels, under a name that none has."""
        return self._connection.call(calls.clone_segment(name, new_name))

    def delete_segment(self, name: str, *, etag: str = "") -> None:
        """Forget a segment; NotFoundError if there is none, InUseError while others refer to it. Users stay."""
        return self._connection.call(calls.delete_segment(name, etag))

    @property
    def lists(self) -> Mapping[str, StaticList]:
        """All static lists by name."""
        found = on_all_pages(lambda token: self.list_lists(page_size=_ALL, page_token=token))
        return {each.name: each for each in found}

    def get_list(self, name: str) -> StaticList:
        """A list; NotFoundError if there is none of the name."""
        return self._connection.call(calls.get_list(name))

    def list_lists(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[StaticList]:
        """A page of the lists with a text in their names, whatever the case, and with all of some labels."""
        return self._connection.call(calls.list_lists(name_contains, labels, page_size, page_token))

    def create_list(
        self, name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
    ) -> StaticList:
        """Save user ids, as many as fit into a message, under a name that no list has, else AlreadyExistsError."""
        return self._connection.call(calls.create_list(name, list(user_ids), description, labels))

    def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids, however many, in place of the list that had the name."""
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return self._connection.upload(_upload_requests(head, user_ids))

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
        ids = None if user_ids is None else list(user_ids)
        return self._connection.call(calls.update_list(name, ids, description, labels, etag))

    def rename_list(self, name: str, new_name: str, *, etag: str = "") -> StaticList:
        """Give a list a name that none has, also in the segments that refer to it."""
        return self._connection.call(calls.rename_list(name, new_name, etag))

    def delete_list(self, name: str, *, etag: str = "") -> None:
        """Forget a list; NotFoundError if there is none, InUseError while saved segments refer to it. Users stay."""
        return self._connection.call(calls.delete_list(name, etag))


class AsyncRemoteCatalog:
    """The same for an event loop. An `etag` of "" is for whatever is there; another must be that of what is."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_segment(self, name: str) -> SavedSegment:
        """A saved segment; NotFoundError if there is none of the name."""
        return await self._connection.call(calls.get_segment(name))

    async def list_segments(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[SavedSegment]:
        """A page of the segments with a text in their names, whatever the case, and with all of some labels."""
        return await self._connection.call(calls.list_segments(name_contains, labels, page_size, page_token))

    async def create_segment(
        self, name: str, query: Query, *, description: str = "", labels: Labels | None = None
    ) -> SavedSegment:
        """Save a segment under a name that none has, else AlreadyExistsError."""
        return await self._connection.call(calls.create_segment(name, query, description, labels))

    async def update_segment(
        self,
        name: str,
        *,
        query: Query | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> SavedSegment:
        """Change what is given of a segment; NotFoundError if there is none of the name."""
        return await self._connection.call(calls.update_segment(name, query, description, labels, etag))

    async def rename_segment(self, name: str, new_name: str, *, etag: str = "") -> SavedSegment:
        """Give a segment a name that none has, also in the segments that refer to it."""
        return await self._connection.call(calls.rename_segment(name, new_name, etag))

    async def clone_segment(self, name: str, new_name: str) -> SavedSegment:
        """Save a copy of a segment, with its description and labels, under a name that none has."""
        return await self._connection.call(calls.clone_segment(name, new_name))

    async def delete_segment(self, name: str, *, etag: str = "") -> None:
        """Forget a segment; NotFoundError if there is none, InUseError while others refer to it. Users stay."""
        return await self._connection.call(calls.delete_segment(name, etag))

    async def get_list(self, name: str) -> StaticList:
        """A list; NotFoundError if there is none of the name."""
        return await self._connection.call(calls.get_list(name))

    async def list_lists(
        self, *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
    ) -> NamedPage[StaticList]:
        """A page of the lists with a text in their names, whatever the case, and with all of some labels."""
        return await self._connection.call(calls.list_lists(name_contains, labels, page_size, page_token))

    async def create_list(
        self, name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
    ) -> StaticList:
        """Save user ids, as many as fit into a message, under a name that no list has, else AlreadyExistsError."""
        return await self._connection.call(calls.create_list(name, list(user_ids), description, labels))

    async def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids, however many, in place of the list that had the name."""
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return await self._connection.upload(_upload_requests(head, user_ids))

    async def update_list(
        self,
        name: str,
        *,
        user_ids: Iterable[str] | None = None,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Change what is given of a list; NotFoundError if there is none of the name."""
        ids = None if user_ids is None else list(user_ids)
        return await self._connection.call(calls.update_list(name, ids, description, labels, etag))

    async def rename_list(self, name: str, new_name: str, *, etag: str = "") -> StaticList:
        """Give a list a name that none has, also in the segments that refer to it."""
        return await self._connection.call(calls.rename_list(name, new_name, etag))

    async def delete_list(self, name: str, *, etag: str = "") -> None:
        """Forget a list; NotFoundError if there is none, InUseError while saved segments refer to it. Users stay."""
        return await self._connection.call(calls.delete_list(name, etag))


def _upload_requests(head: catalog_pb2.UserList, user_ids: Iterable[str]) -> Upload:
    yield catalog_pb2.UploadListRequest(list=head)
    rest = iter(user_ids)
    while part := list(islice(rest, _UPLOAD_USERS)):
        yield catalog_pb2.UploadListRequest(user_ids=catalog_pb2.UserIds(user_ids=part))
