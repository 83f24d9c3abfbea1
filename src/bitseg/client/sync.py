"""The synchronous client."""

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar

import grpc

from bitseg.calendar import Calendar
from bitseg.client import calls, convert
from bitseg.client.base import DEFAULT_RETRY_SECONDS, Calls
from bitseg.client.calls import CATALOG, INGEST, QUERY
from bitseg.client.catalog import RemoteCatalog, Upload
from bitseg.client.producer import Producer
from bitseg.client.retrying import passing_error, retried
from bitseg.client.unary import Call, Query
from bitseg.columns import Columns
from bitseg.entries import StaticList
from bitseg.pb import query_pb2
from bitseg.results import IngestResult, Members, Pages
from bitseg.wire.saved import from_user_list

Answer = TypeVar("Answer")


class Client(Calls):
    """Calls a bitseg server at HOST:PORT; safe to use from many threads.

    Queries are text or trees. Calls raise the same errors as the engine, ServerUnavailableError where no server
    answers, and RequestError for what else goes wrong. Calls that change nothing are made again a few times while no
    server answers, and streams of members go on where they broke for up to `retry_seconds`. `timeout_seconds` bounds
    each call, apart from streams and backups.
    """

    @cached_property
    def catalog(self) -> RemoteCatalog:
        """Saved segments and static lists."""
        return RemoteCatalog(self)

    @property
    def catalogue(self) -> RemoteCatalog:
        """`catalog` under its name of 0.1."""
        return self.catalog

    @property
    def calendar(self) -> Calendar:
        """Days in the workspace's time zone, which the server is asked for once."""
        # A cached property would hold a lock of all clients during the call.
        if self._calendar is None:
            self._calendar = Calendar(self.call(calls.timezone()))
        return self._calendar

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[list[str]]:
        """The external ids of all members, of one version, each once even if the connection breaks.

        `page_size` is at most 100,000; 0 means 10,000. With the `resume_token` of earlier members, those that follow
        it; the query and `as_of` are then absent or as they were. VersionGoneError where they are no longer kept.
        """
        request = convert.members_request(query, page_size, resume_token)
        self._set_as_of(request, as_of)
        with self._errors(query):
            first, responses = self._begun(request)
        pages = self._pages(request, chain([first], responses))
        return Members(first.total, first.version, tuple(first.warnings), Pages(pages, resume_token))

    def _pages(
        self, request: query_pb2.StreamMembersRequest, responses: Iterator[query_pb2.StreamMembersResponse]
    ) -> Iterator[tuple[list[str], str]]:
        resume_token = request.resume_token
        while True:
            try:
                response = next(responses, None)
            except grpc.RpcError as error:
                responses = self._resumed(convert.resumed(request, resume_token), error)
                continue
            if response is None:
                return
            resume_token = response.resume_token
            if response.user_ids:
                yield list(response.user_ids), resume_token

    def _resumed(
        self, request: query_pb2.StreamMembersRequest, error: grpc.RpcError
    ) -> Iterator[query_pb2.StreamMembersResponse]:
        """What follows a stream that ended with an error, once a server answers again."""
        passing_error(error, self._target)
        first, rest = retried(lambda: self._begun(request), self._target, self._retry_seconds)
        return chain([first], rest)

    def _begun(
        self, request: query_pb2.StreamMembersRequest
    ) -> tuple[query_pb2.StreamMembersResponse, Iterator[query_pb2.StreamMembersResponse]]:
        """The first page of a stream, and the others."""
        responses = self._begin_stream(QUERY, "StreamMembers", request)
        return next(responses), responses

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows given column by column, in batches that fit into messages; the answer adds them up."""
        return convert.combined([self.call(calls.ingest_batch(batch)) for batch in convert.batches(columns)])

    def producer(self, name: str, *, retry_seconds: float = DEFAULT_RETRY_SECONDS) -> Producer:
        """A producer of numbered batches, each applied exactly once, whose name no other uses at the same time."""
        return Producer(self._stubs[INGEST], self._metadata, self._target, name, retry_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, call: Call[Answer]) -> Answer:
        """The answer to a call."""
        self._set_as_of(call.request, call.as_of)
        with self._errors(call.query):
            return call.answer(self._begin(call))

    def upload(self, requests: Upload) -> StaticList:
        """Send a list in parts."""
        with self._errors():
            return from_user_list(self._begin_stream(CATALOG, "UploadList", requests).list)

    def _set_as_of(self, request: Any, as_of: datetime | None) -> None:
        if as_of is not None:
            convert.set_as_of(request, as_of, convert.UTC_CALENDAR if as_of.tzinfo else self.calendar)
