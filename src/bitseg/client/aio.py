"""The asyncio client."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from bitseg.client import calls, convert
from bitseg.client.calls import CATALOG, QUERY, Call
from bitseg.client.catalog import AsyncRemoteCatalog, Upload
from bitseg.client.connection import Credentials, channel_options, stubs
from bitseg.client.convert import Query
from bitseg.client.retrying import Retrying, passing_error
from bitseg.client.sync import DEFAULT_RETRY_SECONDS, DEFAULT_TIMEOUT_SECONDS
from bitseg.columns import Columns
from bitseg.entries import StaticList
from bitseg.errors import BitsegError
from bitseg.operations import Operation
from bitseg.pb import query_pb2
from bitseg.results import (
    AsyncMembers,
    AsyncPages,
    CountResult,
    Evaluation,
    IngestResult,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.wire.saved import from_user_list

Answer = TypeVar("Answer")


class AsyncClient:
    """Calls a bitseg server at HOST:PORT from one event loop. Producers are of `Client` alone; else as that one."""

    def __init__(
        self,
        target: str,
        *,
        credentials: Credentials | None = None,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        credentials = credentials or Credentials()
        self._target = target
        self._timeout = timeout_seconds
        self._retry_seconds = retry_seconds
        self._metadata = credentials.metadata()
        options = channel_options()
        self._channel = (
            grpc.aio.secure_channel(target, credentials.channel_credentials(), options=options)
            if credentials.is_tls
            else grpc.aio.insecure_channel(target, options=options)
        )
        self._stubs = stubs(self._channel)
        self.catalog = AsyncRemoteCatalog(self)

    async def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment."""
        return await self.call(calls.count(query, as_of))

    async def count_all(
        self, queries: Sequence[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | BitsegError], int]:
        """How many users are in each of some segments, all of one version, and the version.

        A segment with a fault has its error in the place of its count.
        """
        return await self.call(calls.count_all(queries, as_of))

    async def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment, with a sample of its members and, if asked, all of them as a Roaring bitmap."""
        return await self.call(calls.evaluate(query, as_of, sample_size, include_bitmap))

    async def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> AsyncMembers[list[str]]:
        """The external ids of all members, page by page, all of one version, each once even if the connection breaks.

        With the `resume_token` of earlier members, those that follow it; the query and `as_of` are then absent or as
        they were. VersionGoneError where they are no longer kept.
        """
        request = convert.members_request(query, as_of, page_size, resume_token)
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
                response, responses = await self._resumed(convert.resumed(request, resume_token), error)

    async def _begun(self, request: query_pb2.StreamMembersRequest) -> tuple[Any, Any]:
        """The first page of a stream, and the call for the others."""
        responses = self._stubs[QUERY].StreamMembers(request, metadata=self._metadata)
        return await responses.read(), responses

    async def _resumed(self, request: query_pb2.StreamMembersRequest, error: grpc.RpcError) -> tuple[Any, Any]:
        """The same of a stream that ended with an error, once a server answers again."""
        retrying = Retrying(self._retry_seconds)
        while True:
            await asyncio.sleep(retrying.next_wait(passing_error(error, self._target)))
            try:
                return await self._begun(request)
            except grpc.RpcError as again:
                error = again

    async def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it."""
        return await self.call(calls.explain(user_id, query, as_of))

    async def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for who is not known."""
        return await self.call(calls.user(user_id))

    async def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for a user who is not known."""
        return await self.call(calls.user_segments(user_id, as_of))

    async def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch as a whole."""
        return await self.call(calls.ingest(operations))

    async def ingest_columns(self, columns: Columns) -> IngestResult:
        """Send a block of rows in batches that fit into messages; the answer adds them up."""
        return convert.combined(
            [await self.call(calls.ingest_rows(*request)) for request in convert.columns_requests(columns)]
        )

    async def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory and on disk."""
        return await self.call(calls.statistics())

    async def snapshot(self) -> SnapshotResult:
        """Have the server write what changed since its last snapshot."""
        return await self.call(calls.snapshot())

    async def backup(self, directory: str | Path) -> SnapshotResult:
        """Have the server copy its workspace into a directory of its machine that is empty or new."""
        return await self.call(calls.backup(directory))

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
        """The answer to a call."""
        method = getattr(self._stubs[call.service], call.method)
        timeout = self._timeout if call.is_short else None
        with self._errors(call.query):
            return call.answer(await method(call.request, timeout=timeout, metadata=self._metadata))

    async def upload(self, requests: Upload) -> StaticList:
        """Send a list in parts."""
        with self._errors():
            response = await self._stubs[CATALOG].UploadList(requests, metadata=self._metadata)
        return from_user_list(response.list)

    @contextmanager
    def _errors(self, query: Query | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise convert.as_bitseg_error(error, self._target, query) from None
