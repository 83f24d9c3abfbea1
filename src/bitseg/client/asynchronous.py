"""The asyncio client."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType

import grpc
import grpc.aio

from bitseg.client import convert
from bitseg.client.convert import Query
from bitseg.errors import BitsegError
from bitseg.ops import Columns, Operation
from bitseg.pb import admin_pb2, admin_pb2_grpc, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.wire.explanations import from_response
from bitseg.wire.users import from_segments_response, from_user_response


class AsyncClient:
    """Calls a bitseg server at HOST:PORT from one event loop. Producers are of `Client` alone.

    Queries are text or trees. Calls raise the same errors as the engine, ServerUnavailableError where no server
    answers, and RequestError for what else goes wrong. `timeout_seconds` bounds each call.
    """

    def __init__(self, target: str, *, timeout_seconds: float | None = None) -> None:
        self._target = target
        self._timeout = timeout_seconds
        self._channel = grpc.aio.insecure_channel(target, options=convert.CHANNEL_OPTIONS)
        self._query = query_pb2_grpc.QueryServiceStub(self._channel)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(self._channel)

    async def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment."""
        request = query_pb2.CountRequest(**convert.query_fields(query, as_of))
        with self._errors(query):
            return convert.count_result(await self._query.Count(request, timeout=self._timeout))

    async def count_all(
        self, queries: Sequence[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | BitsegError], int]:
        """How many users are in each of some segments, all of one version, and the version.

        A segment with a fault has its error in the place of its count.
        """
        request = convert.batch_count_request(queries, as_of)
        with self._errors():
            response = await self._query.BatchCount(request, timeout=self._timeout)
        return convert.batch_counts(response), response.version

    async def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment, with a sample of its members and, if asked, all of them as a Roaring bitmap."""
        request = query_pb2.EvaluateRequest(
            **convert.query_fields(query, as_of), sample_size=sample_size, include_bitmap=include_bitmap
        )
        with self._errors(query):
            return convert.evaluation(await self._query.Evaluate(request, timeout=self._timeout))

    async def members(
        self, query: Query, as_of: datetime | None = None, *, page_size: int = 0
    ) -> AsyncIterator[list[str]]:
        """The external ids of all members, page by page, all of one version."""
        request = query_pb2.StreamMembersRequest(**convert.query_fields(query, as_of), page_size=page_size)
        with self._errors(query):
            async for response in self._query.StreamMembers(request, timeout=self._timeout):
                if response.user_ids:
                    yield list(response.user_ids)

    async def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it."""
        request = query_pb2.ExplainUserRequest(**convert.query_fields(query, as_of), user_id=user_id)
        with self._errors(query):
            return from_response(await self._query.ExplainUser(request, timeout=self._timeout))

    async def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for who is not known."""
        with self._errors():
            response = await self._query.GetUser(query_pb2.GetUserRequest(user_id=user_id), timeout=self._timeout)
        return from_user_response(response)

    async def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for a user who is not known."""
        request = query_pb2.ListUserSegmentsRequest(user_id=user_id, as_of=convert.as_of_timestamp(as_of))
        with self._errors():
            return from_segments_response(await self._query.ListUserSegments(request, timeout=self._timeout))

    async def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch as a whole."""
        request = convert.ingest_request(operations)
        with self._errors():
            return convert.ingest_result(await self._ingest.IngestBatch(request, timeout=self._timeout))

    async def ingest_columns(self, columns: Columns) -> IngestResult:
        """Send a block of rows in batches that fit into messages; the answer adds them up."""
        results: list[IngestResult] = []
        for request, rows in convert.columns_requests(columns):
            with self._errors():
                response = await self._ingest.IngestBatch(request, timeout=self._timeout)
            results.append(convert.columns_result(response, rows))
        return convert.combined(results)

    async def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory and on disk."""
        with self._errors():
            response = await self._admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=self._timeout)
        return convert.statistics(response.statistics)

    async def snapshot(self) -> SnapshotResult:
        """Have the server write what changed since its last snapshot."""
        with self._errors():
            response = await self._admin.CreateSnapshot(admin_pb2.CreateSnapshotRequest(), timeout=self._timeout)
        return convert.snapshot_result(response.snapshot)

    async def backup(self, directory: str | Path) -> SnapshotResult:
        """Have the server copy its workspace into a directory of its machine that is empty or new."""
        request = admin_pb2.CreateBackupRequest(directory=str(directory))
        with self._errors():
            response = await self._admin.CreateBackup(request, timeout=self._timeout)
        return convert.snapshot_result(response.snapshot)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @contextmanager
    def _errors(self, query: Query | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise convert.as_bitseg_error(error, self._target, query) from None
