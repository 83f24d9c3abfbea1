"""Saved segments and static lists of a server, for both clients, with the methods and errors of `Engine.catalog`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import ClassVar, Protocol, TypeVar

from bitseg.client import catalog_calls
from bitseg.client.catalog_calls import Labels
from bitseg.client.paging import async_on_all_pages, on_all_pages
from bitseg.client.unary import AsyncCaller, Call, Caller, UnaryMethods, unary
from bitseg.entries import SavedSegment, StaticList
from bitseg.pb import catalog_pb2

_UPLOAD_USERS = 20_000
_LARGEST_PAGE = 1_000

Answer = TypeVar("Answer")
Upload = Iterator[catalog_pb2.UploadListRequest]


class Connection(Caller, Protocol):
    """Makes calls and uploads."""

    def upload(self, requests: Upload, /) -> StaticList: ...


class AsyncConnection(AsyncCaller, Protocol):
    """Makes calls and uploads in an event loop."""

    async def upload(self, requests: Upload, /) -> StaticList: ...


class CatalogCalls(UnaryMethods):
    """The base of both catalogs: a call with a single answer is one line here."""

    get_segment = unary(catalog_calls.get_segment)
    list_segments = unary(catalog_calls.list_segments)
    create_segment = unary(catalog_calls.create_segment)
    save_segment = unary(catalog_calls.save_segment)
    update_segment = unary(catalog_calls.update_segment)
    rename_segment = unary(catalog_calls.rename_segment)
    clone_segment = unary(catalog_calls.clone_segment)
    delete_segment = unary(catalog_calls.delete_segment)
    get_list = unary(catalog_calls.get_list)
    list_lists = unary(catalog_calls.list_lists)
    create_list = unary(catalog_calls.create_list)
    update_list = unary(catalog_calls.update_list)
    rename_list = unary(catalog_calls.rename_list)
    delete_list = unary(catalog_calls.delete_list)


class RemoteCatalog(CatalogCalls):
    """Saved segments and static lists. An `etag` must equal the current one; an empty one skips the check."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def segments(self) -> Mapping[str, SavedSegment]:
        """The saved segments by name."""
        entries = on_all_pages(lambda token: self.list_segments(page_size=_LARGEST_PAGE, page_token=token))
        return {entry.name: entry for entry in entries}

    @property
    def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        entries = on_all_pages(lambda token: self.list_lists(page_size=_LARGEST_PAGE, page_token=token))
        return {entry.name: entry for entry in entries}

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

        Any number of ids is sent, in several messages. The list changes when all have arrived, or not at all.
        """
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return self._connection.upload(_upload_requests(head, user_ids))

    def call(self, call: Call[Answer]) -> Answer:
        """Make a call and return its answer."""
        return self._connection.call(call)


class AsyncRemoteCatalog(CatalogCalls):
    """`RemoteCatalog` for an event loop: methods and properties return awaitables."""

    is_async: ClassVar[bool] = True

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @property
    async def segments(self) -> Mapping[str, SavedSegment]:
        """The saved segments by name."""
        entries = await async_on_all_pages(lambda token: self.list_segments(page_size=_LARGEST_PAGE, page_token=token))
        return {entry.name: entry for entry in entries}

    @property
    async def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        entries = await async_on_all_pages(lambda token: self.list_lists(page_size=_LARGEST_PAGE, page_token=token))
        return {entry.name: entry for entry in entries}

    async def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids under a name, replacing those of an existing list; description and labels stay unless given.

        Any number of ids is sent, in several messages. The list changes when all have arrived, or not at all.
        """
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return await self._connection.upload(_upload_requests(head, user_ids))

    async def call(self, call: Call[Answer]) -> Answer:
        """Make a call and return its answer."""
        return await self._connection.call(call)


def _upload_requests(head: catalog_pb2.UserList, user_ids: Iterable[str]) -> Upload:
    """The messages of an upload; the last one completes it."""
    yield catalog_pb2.UploadListRequest(list=head, is_complete=False)
    remaining_ids = iter(user_ids)
    while part := list(islice(remaining_ids, _UPLOAD_USERS)):
        yield catalog_pb2.UploadListRequest(user_ids=catalog_pb2.UserIds(user_ids=part))
    yield catalog_pb2.UploadListRequest(is_complete=True)
