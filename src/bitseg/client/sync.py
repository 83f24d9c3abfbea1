"""The synchronous client."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc

from bitseg.client import calls, convert
from bitseg.client.calls import CATALOG, INGEST, QUERY, Call
from bitseg.client.catalog import RemoteCatalog, Upload
from bitseg.client.connection import Credentials, channel_options, stubs
from bitseg.client.convert import Query
from bitseg.client.producer import Producer
from bitseg.client.retrying import passing_error, retried
from bitseg.columns import Columns
from bitseg.entries import StaticList
from bitseg.errors import BitsegError
from bitseg.operations import Operation
from bitseg.pb import query_pb2
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    Members,
    Pages,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.wire.saved import from_user_list

DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_RETRY_SECONDS = 60.0

Answer = TypeVar("Answer")


class Client:
    """Calls a bitseg server at HOST:PORT; safe to use from many threads.

    Queries are text or trees. Calls raise the same errors as the engine, ServerUnavailableError where no server
    answers, and RequestError for what else goes wrong. Calls that change nothing are made again a few times while no
    server answers, and streams of members go on where they broke for up to `retry_seconds`. `timeout_seconds` bounds
    each call, apart from streams and backups.
    """

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
            grpc.secure_channel(target, credentials.channel_credentials(), options=options)
            if credentials.is_tls
            else grpc.insecure_channel(target, options=options)
        )
        self._stubs = stubs(self._channel)
        self.catalog = RemoteCatalog(self)

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment."""
        return self.call(calls.count(query, as_of))

    def count_all(
        self, queries: Sequence[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | BitsegError], int]:
        """How many users are in each of some segments, all of one version, and the version.

        A segment with a fault has its error in the place of its count.
        """
        return self.call(calls.count_all(queries, as_of))

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment, with a sample of its members and, if asked, all of them as a Roaring bitmap."""
        return self.call(calls.evaluate(query, as_of, sample_size, include_bitmap))

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[list[str]]:
        """The external ids of all members, page by page, all of one version, each once even if the connection breaks.

        With the `resume_token` of earlier members, those that follow it; the query and `as_of` are then absent or as
        they were. VersionGoneError where they are no longer kept.
        """
        request = convert.members_request(query, as_of, page_size, resume_token)
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
        responses = self._stubs[QUERY].StreamMembers(request, metadata=self._metadata)
        return next(responses), responses

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it."""
        return self.call(calls.explain(user_id, query, as_of))

    def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for who is not known."""
        return self.call(calls.user(user_id))

    def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for a user who is not known."""
        return self.call(calls.user_segments(user_id, as_of))

    def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch as a whole."""
        return self.call(calls.ingest(operations))

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Send a block of rows in batches that fit into messages; the answer adds them up."""
        return convert.combined(
            [self.call(calls.ingest_rows(*request)) for request in convert.columns_requests(columns)]
        )

    def producer(self, name: str, *, retry_seconds: float = DEFAULT_RETRY_SECONDS) -> Producer:
        """A producer of numbered batches, each applied exactly once, whose name no other uses at the same time."""
        return Producer(self._stubs[INGEST], self._metadata, self._target, name, retry_seconds)

    def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory and on disk."""
        return self.call(calls.statistics())

    def snapshot(self) -> SnapshotResult:
        """Have the server write what changed since its last snapshot."""
        return self.call(calls.snapshot())

    def backup(self, directory: str | Path) -> SnapshotResult:
        """Have the server copy its workspace into a directory of its machine that is empty or new."""
        return self.call(calls.backup(directory))

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
        method = getattr(self._stubs[call.service], call.method)
        timeout = self._timeout if call.is_short else None
        with self._errors(call.query):
            return call.answer(method(call.request, timeout=timeout, metadata=self._metadata))

    def upload(self, requests: Upload) -> StaticList:
        """Send a list in parts."""
        with self._errors():
            response = self._stubs[CATALOG].UploadList(requests, metadata=self._metadata)
        return from_user_list(response.list)

    @contextmanager
    def _errors(self, query: Query | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise convert.as_bitseg_error(error, self._target, query) from None
