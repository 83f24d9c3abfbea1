"""The calls of queries, ingest and administration with a single answer, one function per call."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from bitseg.client import convert
from bitseg.client.unary import Call, Query
from bitseg.errors import BitsegError, InvalidArgumentError
from bitseg.operations import Operation
from bitseg.pb import admin_pb2, query_pb2
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
from bitseg.wire.statistics import from_statistics
from bitseg.wire.users import from_segments_response, from_user_response

QUERY, INGEST, CATALOG, ADMIN = "QueryService", "IngestService", "CatalogService", "AdminService"


def count(query: Query, as_of: datetime | None = None) -> Call[CountResult]:
    """How many users are in a segment, given as text or as a tree.

    `as_of` replaces the present and hides later events; without an offset it is local to the workspace's zone. Raises a
    subclass of SegmentError for an invalid definition.
    """
    request = query_pb2.CountRequest(**convert.query_fields(query))
    return Call(QUERY, "Count", request, convert.count_result, query, as_of)


def count_all(
    queries: Iterable[Query], as_of: datetime | None = None
) -> Call[tuple[list[CountResult | BitsegError], int]]:
    """How many users are in each of at most 1,000 segments, all at one version, and that version.

    An invalid segment has its error in place of its count. InvalidArgumentError for more segments.
    """
    request = query_pb2.BatchCountRequest(queries=[query_pb2.SegmentQuery(**convert.query_fields(q)) for q in queries])
    return Call(
        QUERY,
        "BatchCount",
        request,
        lambda response: (convert.batch_counts(response), response.version),
        as_of=as_of,
    )


def evaluate(
    query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
) -> Call[Evaluation]:
    """Count a segment, with an evenly spread sample of its members that is the same for the same version.

    `sample_size` is at most 1,000. `include_bitmap` adds a Roaring bitmap of the dense ids of all members.
    """
    request = query_pb2.EvaluateRequest(
        **convert.query_fields(query), sample_size=convert.size(sample_size), include_bitmap=include_bitmap
    )
    return Call(QUERY, "Evaluate", request, convert.evaluation, query, as_of)


def explain(user_id: str, query: Query, as_of: datetime | None = None) -> Call[UserExplanation]:
    """Whether each condition of a segment holds for one user, with the values and events behind it.

    Raises NotFoundError for an unknown user.
    """
    request = query_pb2.ExplainUserRequest(**convert.query_fields(query), user_id=user_id)
    return Call(QUERY, "ExplainUser", request, from_response, query, as_of)


def user(user_id: str) -> Call[UserRecord]:
    """A user's attributes, and how often and when each event occurred; NotFoundError for an unknown user."""
    return Call(QUERY, "GetUser", query_pb2.GetUserRequest(user_id=user_id), from_user_response)


def user_segments(user_id: str, as_of: datetime | None = None) -> Call[UserSegments]:
    """The saved segments that a user is in; NotFoundError for an unknown user."""
    request = query_pb2.ListUserSegmentsRequest(user_id=user_id)
    return Call(QUERY, "ListUserSegments", request, from_segments_response, as_of=as_of)


def ingest(operations: Iterable[Operation]) -> Call[IngestResult]:
    """Apply a batch of row operations atomically. Invalid rows and values are left out and reported."""
    return ingest_batch(convert.Batch.of(operations))


def ingest_batch(batch: convert.Batch) -> Call[IngestResult]:
    """Apply a batch."""
    return Call(INGEST, "IngestBatch", batch.request, batch.result)


def statistics() -> Call[Statistics]:
    """The counts of everything, and the bytes in memory and on disk."""
    request = admin_pb2.GetStatisticsRequest()
    return Call(ADMIN, "GetStatistics", request, lambda response: from_statistics(response.statistics))


def timezone() -> Call[str]:
    """The IANA time zone of the workspace; InvalidArgumentError for a server of 0.1, which does not send it."""

    def zone_name(response: admin_pb2.GetStatisticsResponse) -> str:
        if not response.timezone:
            raise InvalidArgumentError(
                "the server does not send the time zone of its workspace",
                hint="give times with an offset from UTC, or update the server",
            )
        return response.timezone

    return Call(ADMIN, "GetStatistics", admin_pb2.GetStatisticsRequest(), zone_name)


def snapshot() -> Call[SnapshotResult]:
    """Write what changed since the last snapshot, while queries and writes go on, and shorten the journal."""
    request = admin_pb2.CreateSnapshotRequest()
    return Call(
        ADMIN, "CreateSnapshot", request, lambda response: convert.snapshot_result(response.snapshot), is_short=False
    )


def backup(directory: str | Path) -> Call[SnapshotResult]:
    """Take a snapshot and copy it into an empty or new directory.

    With a client, the directory is an absolute path on the server's machine.
    """
    request = admin_pb2.CreateBackupRequest(directory=str(directory))
    return Call(
        ADMIN, "CreateBackup", request, lambda response: convert.snapshot_result(response.snapshot), is_short=False
    )
