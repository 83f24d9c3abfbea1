"""The asyncio client."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import grpc
import grpc.aio

from bitseg.calendar import Calendar
from bitseg.client import calls, convert
from bitseg.client.base import DEFAULT_RETRY_SECONDS, Calls
from bitseg.client.calls import CATALOG, INGEST, QUERY
from bitseg.client.catalog import AsyncRemoteCatalog, Upload
from bitseg.client.paging import AsyncMembers, AsyncPages
from bitseg.client.producer import AsyncProducer
from bitseg.client.retrying import async_retried, passing_error
from bitseg.client.unary import Call, Query
from bitseg.columns import Columns
from bitseg.entries import StaticList
from bitseg.pb import query_pb2
from bitseg.results import IngestResult
from bitseg.wire.saved import from_user_list

Answer = TypeVar("Answer")


class AsyncClient(Calls):
    """Calls a bitseg server at HOST:PORT from one event loop.

    The methods are those of `Client` and return awaitables; `catalog` has awaitable methods and properties as well.
    """

    is_async: ClassVar[bool] = True

    @cached_property
    def catalog(self) -> AsyncRemoteCatalog:
        """Saved segments and static lists."""
        return AsyncRemoteCatalog(self)

    @property
    def catalogue(self) -> AsyncRemoteCatalog:
        """`catalog` under its name in 0.1."""
        return self.catalog

    @property
    async def calendar(self) -> Calendar:
        """Days in the workspace's time zone, which is requested from the server once."""
        if self._calendar is None:
            self._calendar = Calendar(await self.call(calls.timezone()))
        return self._calendar

    async def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> AsyncMembers[list[str]]:
        """The external ids of all members at one version, without repeats even if the connection breaks.

        `page_size` is at most 100,000; 0 means 10,000. With `resume_token`, continues that stream at its version;
        `query` and `as_of` must then be omitted or unchanged. VersionGoneError if the version's members were evicted.
        """
        request = convert.members_request(query, page_size, resume_token)
        await self._set_as_of(request, as_of)
        with self._errors(query):
            first, responses = await self._begun(request)
        pages = self._pages(request, first, responses)
        return AsyncMembers(first.total, first.version, tuple(first.warnings), AsyncPages(pages, resume_token))

    async def _pages(
        self, request: query_pb2.StreamMembersRequest, response: Any, responses: Any
    ) -> AsyncIterator[tuple[list[str], str]]:
        while response is not grpc.aio.EOF:
            resume_token = response.resume_token
            if response.user_ids:
                yield list(response.user_ids), resume_token
            try:
                response = await responses.read()
            except grpc.RpcError as error:
                passing_error(error, self._target)
                following = convert.resumed(request, resume_token)
                response, responses = await async_retried(
                    lambda following=following: self._begun(following),  # type: ignore[misc]
                    self._target,
                    self._retry_seconds,
                )

    async def _begun(self, request: query_pb2.StreamMembersRequest) -> tuple[Any, Any]:
        """The first page of a stream, and the call that yields the other pages."""
        responses = self._begin_stream(QUERY, "StreamMembers", request)
        return await responses.read(), responses

    async def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows, given as columns, in batches that fit into messages; the result is their sum."""
        return convert.combined([await self.call(calls.ingest_batch(batch)) for batch in convert.batches(columns)])

    async def producer(self, name: str, *, retry_seconds: float = DEFAULT_RETRY_SECONDS) -> AsyncProducer:
        """A producer of numbered batches that are applied exactly once. No other may use the name at the same time."""
        producer = AsyncProducer(self._stubs[INGEST], self._metadata, self._target, name, retry_seconds)
        await producer.connect()
        return producer

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, call: Call[Answer]) -> Answer:
        """Make a call and return its answer."""
        await self._set_as_of(call.request, call.as_of)
        with self._errors(call.query):
            return call.answer(await self._begin(call))

    async def upload(self, requests: Upload) -> StaticList:
        """Upload a list in several messages."""
        with self._errors():
            return from_user_list((await self._begin_stream(CATALOG, "UploadList", requests)).list)

    async def _set_as_of(self, request: Any, as_of: datetime | None) -> None:
        if as_of is not None:
            convert.set_as_of(request, as_of, convert.UTC_CALENDAR if as_of.tzinfo else await self.calendar)
