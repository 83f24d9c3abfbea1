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

    Queries are text or trees. Calls raise the same errors as the engine, ServerUnavailableError if no server
    answers, and RequestError for any other failure. Calls that change nothing are retried a few times if no server
    answers. Streams of members that break are resumed for up to `retry_seconds`. `timeout_seconds` bounds every call
    except streams and backups.
    """

    @cached_property
    def catalog(self) -> RemoteCatalog:
        """Saved segments and static lists."""
        return RemoteCatalog(self)

    @property
    def catalogue(self) -> RemoteCatalog:
        """`catalog` under its name in 0.1."""
        return self.catalog

    @property
    def calendar(self) -> Calendar:
        """Days in the workspace's time zone, which is requested from the server once."""
        # A cached property would hold a lock that all clients share during the call.
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
        """The external ids of all members at one version, without repeats even if the connection breaks.

        `page_size` is at most 100,000; 0 means 10,000. With `resume_token`, continues that stream at its version;
        `query` and `as_of` must then be omitted or unchanged. VersionGoneError if the version's members were evicted.
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
        """The pages after a broken stream, once a server answers again."""
        passing_error(error, self._target)
        first, following = retried(lambda: self._begun(request), self._target, self._retry_seconds)
        return chain([first], following)

    def _begun(
        self, request: query_pb2.StreamMembersRequest
    ) -> tuple[query_pb2.StreamMembersResponse, Iterator[query_pb2.StreamMembersResponse]]:
        """The first page of a stream, and an iterator of the other pages."""
        responses = self._begin_stream(QUERY, "StreamMembers", request)
        return next(responses), responses

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows, given as columns, in batches that fit into messages; the result is their sum."""
        return convert.combined([self.call(calls.ingest_batch(batch)) for batch in convert.batches(columns)])

    def producer(self, name: str, *, retry_seconds: float = DEFAULT_RETRY_SECONDS) -> Producer:
        """A producer of numbered batches that are applied exactly once. No other may use the name at the same time."""
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
        """Make a call and return its answer."""
        self._set_as_of(call.request, call.as_of)
        with self._errors(call.query):
            return call.answer(self._begin(call))

    def upload(self, requests: Upload) -> StaticList:
        """Upload a list in several messages."""
        with self._errors():
            return from_user_list(self._begin_stream(CATALOG, "UploadList", requests).list)

    def _set_as_of(self, request: Any, as_of: datetime | None) -> None:
        if as_of is not None:
            convert.set_as_of(request, as_of, convert.UTC_CALENDAR if as_of.tzinfo else self.calendar)
