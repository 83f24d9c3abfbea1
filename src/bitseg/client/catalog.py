"""Saved segments and static lists of a server, for both clients: the same methods and errors as `Engine.catalog`."""

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
    """What makes calls and uploads."""

    def upload(self, requests: Upload, /) -> StaticList: ...


class AsyncConnection(AsyncCaller, Protocol):
    """What makes calls and uploads in an event loop."""

    async def upload(self, requests: Upload, /) -> StaticList: ...


class CatalogCalls(UnaryMethods):
    """The base of both catalogs: another call with a single answer is another line here."""

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
        return {each.name: each for each in entries}

    @property
    def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        entries = on_all_pages(lambda token: self.list_lists(page_size=_LARGEST_PAGE, page_token=token))
        return {each.name: each for each in entries}

    def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids under a name, in place of those that it had; description and labels stay unless given.

        The ids are sent in parts, however many. The list changes when all have arrived, or not at all.
        """
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return self._connection.upload(_upload_requests(head, user_ids))

    def call(self, call: Call[Answer]) -> Answer:
        """The answer to a call."""
        return self._connection.call(call)


class AsyncRemoteCatalog(CatalogCalls):
    """As `RemoteCatalog`, for an event loop: every method and property is to be awaited."""

    is_async: ClassVar[bool] = True

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @property
    async def segments(self) -> Mapping[str, SavedSegment]:
        """The saved segments by name."""
        entries = await async_on_all_pages(lambda token: self.list_segments(page_size=_LARGEST_PAGE, page_token=token))
        return {each.name: each for each in entries}

    @property
    async def lists(self) -> Mapping[str, StaticList]:
        """The static lists by name."""
        entries = await async_on_all_pages(lambda token: self.list_lists(page_size=_LARGEST_PAGE, page_token=token))
        return {each.name: each for each in entries}

    async def save_list(
        self,
        name: str,
        user_ids: Iterable[str],
        *,
        description: str | None = None,
        labels: Labels | None = None,
        etag: str = "",
    ) -> StaticList:
        """Save user ids under a name, in place of those that it had; description and labels stay unless given.

        The ids are sent in parts, however many. The list changes when all have arrived, or not at all.
        """
        head = catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag)
        return await self._connection.upload(_upload_requests(head, user_ids))

    async def call(self, call: Call[Answer]) -> Answer:
        """The answer to a call."""
        return await self._connection.call(call)


def _upload_requests(head: catalog_pb2.UserList, user_ids: Iterable[str]) -> Upload:
    """The messages of an upload, of which the last says that it is complete."""
    yield catalog_pb2.UploadListRequest(list=head, is_complete=False)
    rest = iter(user_ids)
    while part := list(islice(rest, _UPLOAD_USERS)):
        yield catalog_pb2.UploadListRequest(user_ids=catalog_pb2.UserIds(user_ids=part))
    yield catalog_pb2.UploadListRequest(is_complete=True)
