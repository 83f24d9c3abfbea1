"""The synchronous client."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType

import grpc

from bitseg.client import convert
from bitseg.client.convert import Query
from bitseg.client.producer import Producer
from bitseg.errors import BitsegError
from bitseg.ops import Columns, Operation
from bitseg.pb import admin_pb2, admin_pb2_grpc, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    Members,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.wire.explanations import from_response
from bitseg.wire.users import from_segments_response, from_user_response


class Client:
    """Calls a bitseg server at HOST:PORT; safe to use from many threads.

    Queries are text or trees. Calls raise the same errors as the engine, ServerUnavailableError where no server
    answers, and RequestError for what else goes wrong. `timeout_seconds` bounds each call.
    """

    def __init__(self, target: str, *, timeout_seconds: float | None = None) -> None:
        self._target = target
        self._timeout = timeout_seconds
        self._channel = grpc.insecure_channel(target, options=convert.CHANNEL_OPTIONS)
        self._query = query_pb2_grpc.QueryServiceStub(self._channel)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment."""
        request = query_pb2.CountRequest(**convert.query_fields(query, as_of))
        with self._errors(query):
            return convert.count_result(self._query.Count(request, timeout=self._timeout))

    def count_all(
        self, queries: Sequence[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | BitsegError], int]:
        """How many users are in each of some segments, all of one version, and the version.

        A segment with a fault has its error in the place of its count.
        """
        request = convert.batch_count_request(queries, as_of)
        with self._errors():
            response = self._query.BatchCount(request, timeout=self._timeout)
        return convert.batch_counts(response), response.version

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment, with a sample of its members and, if asked, all of them as a Roaring bitmap."""
        request = query_pb2.EvaluateRequest(
            **convert.query_fields(query, as_of), sample_size=sample_size, include_bitmap=include_bitmap
        )
        with self._errors(query):
            return convert.evaluation(self._query.Evaluate(request, timeout=self._timeout))

    def members(self, query: Query, as_of: datetime | None = None, *, page_size: int = 0) -> Members[list[str]]:
        """The external ids of all members, page by page, all of one version."""
        request = query_pb2.StreamMembersRequest(**convert.query_fields(query, as_of), page_size=page_size)
        with self._errors(query):
            responses = self._query.StreamMembers(request, timeout=self._timeout)
            first = next(responses)
        pages = self._pages(chain([first], responses))
        return Members(first.total, first.version, tuple(first.warnings), pages)

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it."""
        request = query_pb2.ExplainUserRequest(**convert.query_fields(query, as_of), user_id=user_id)
        with self._errors(query):
            return from_response(self._query.ExplainUser(request, timeout=self._timeout))

    def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for who is not known."""
        with self._errors():
            response = self._query.GetUser(query_pb2.GetUserRequest(user_id=user_id), timeout=self._timeout)
        return from_user_response(response)

    def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for a user who is not known."""
        request = query_pb2.ListUserSegmentsRequest(user_id=user_id, as_of=convert.as_of_timestamp(as_of))
        with self._errors():
            return from_segments_response(self._query.ListUserSegments(request, timeout=self._timeout))

    def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch as a whole."""
        request = convert.ingest_request(operations)
        with self._errors():
            return convert.ingest_result(self._ingest.IngestBatch(request, timeout=self._timeout))

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Send a block of rows in batches that fit into messages; the answer adds them up."""
        results: list[IngestResult] = []
        for request, rows in convert.columns_requests(columns):
            with self._errors():
                response = self._ingest.IngestBatch(request, timeout=self._timeout)
            results.append(convert.columns_result(response, rows))
        return convert.combined(results)

    def producer(self, name: str, *, retry_seconds: float = 60.0) -> Producer:
        """A producer of numbered batches, each applied exactly once, whose name no other uses at the same time."""
        return Producer(self._ingest, self._target, name, retry_seconds)

    def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory and on disk."""
        with self._errors():
            response = self._admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=self._timeout)
        return convert.statistics(response.statistics)

    def snapshot(self) -> SnapshotResult:
        """Have the server write what changed since its last snapshot."""
        with self._errors():
            response = self._admin.CreateSnapshot(admin_pb2.CreateSnapshotRequest(), timeout=self._timeout)
        return convert.snapshot_result(response.snapshot)

    def backup(self, directory: str | Path) -> SnapshotResult:
        """Have the server copy its workspace into a directory of its machine that is empty or new."""
        request = admin_pb2.CreateBackupRequest(directory=str(directory))
        with self._errors():
            response = self._admin.CreateBackup(request, timeout=self._timeout)
        return convert.snapshot_result(response.snapshot)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pages(self, responses: Iterator[query_pb2.StreamMembersResponse]) -> Iterator[list[str]]:
        with self._errors():
            for response in responses:
                if response.user_ids:
                    yield list(response.user_ids)

    @contextmanager
    def _errors(self, query: Query | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise convert.as_bitseg_error(error, self._target, query) from None
