"""Requests and answers to protobuf and back, for both clients."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from bitseg.calendar import Calendar
from bitseg.client.unary import Query
from bitseg.columns import Columns, Rejection, by_row, rows_of
from bitseg.errors import BitsegError, InvalidArgumentError, RequestError, SegmentError, ServerUnavailableError
from bitseg.operations import Operation
from bitseg.pb import admin_pb2, ingest_pb2, query_pb2
from bitseg.results import CountResult, Evaluation, IngestResult, SnapshotResult
from bitseg.wire.columns import can_send, to_messages
from bitseg.wire.errors import from_status
from bitseg.wire.operations import to_operations
from bitseg.wire.segments import to_message
from bitseg.wire.timestamps import from_duration, to_timestamp

UTC_CALENDAR = Calendar("UTC")

# Within the server's limit for a message, with properties of ordinary size.
BATCH_OPERATIONS = 5_000


def query_fields(query: Query) -> dict[str, Any]:
    """The field of a request that has the segment."""
    return {"expression": query} if isinstance(query, str) else {"definition": to_message(query)}


def size(value: int) -> int:
    """A size for a 32-bit field; a size that does not fit becomes one that the server refuses."""
    return min(max(value, -1), 2**31 - 1)


def set_as_of(request: Any, as_of: datetime, calendar: Calendar) -> None:
    """Set the instant that replaces the present; without an offset it is local to the calendar's zone.

    Raises InvalidArgumentError outside the supported years.
    """
    if not 2 <= as_of.year <= 9998:
        raise InvalidArgumentError(f"as-of {as_of} is outside the years that can be answered")
    request.as_of.CopyFrom(to_timestamp(calendar.local_ms(as_of)))


def members_request(query: Query | None, page_size: int, resume_token: str) -> query_pb2.StreamMembersRequest:
    """The request for the members of a segment, or for the members after a resume token."""
    if query is None and not resume_token:
        raise InvalidArgumentError("there is neither a query nor a resume token")
    fields = {} if query is None else query_fields(query)
    return query_pb2.StreamMembersRequest(**fields, page_size=size(page_size), resume_token=resume_token)


def resumed(request: query_pb2.StreamMembersRequest, resume_token: str) -> query_pb2.StreamMembersRequest:
    """The request for the pages after a token; the same request if the token is empty."""
    again = query_pb2.StreamMembersRequest()
    again.CopyFrom(request)
    again.resume_token = resume_token
    return again


@dataclass(frozen=True, slots=True)
class Batch:
    """A request that sends rows, and the conversion of its answer.

    `refused` has the rejections of rows and values that a message cannot represent. `rows` has the caller's numbers of
    the rows in a block; None if the numbers are the same.
    """

    request: ingest_pb2.IngestBatchRequest
    refused: Sequence[Rejection] = ()
    rows: Sequence[int] | None = None

    @classmethod
    def of(cls, operations: Iterable[Operation], rows: Sequence[int] | None = None) -> "Batch":
        """The batch of row operations."""
        messages, refused = to_operations(operations)
        return cls(ingest_pb2.IngestBatchRequest(operations=messages), refused, rows)

    def result(self, response: ingest_pb2.IngestBatchResponse) -> IngestResult:
        """The result of the batch, with rejections in the order of rows."""
        left_out = {rejection.row for rejection in self.refused if rejection.name is None}
        rejections = [
            Rejection(rejection.operation, rejection.reason, rejection.name or None)
            for rejection in response.rejections
            if rejection.operation not in left_out
        ]
        rejections += [
            Rejection(rejection.row, rejection.reason, rejection.name or None)
            for rejection in response.column_rejections
        ]
        whole_rows = {rejection.row for rejection in rejections if rejection.name is None}
        rejections = by_row(rejections + [rejection for rejection in self.refused if rejection.row not in whole_rows])
        if self.rows is not None:
            rejections = [
                Rejection(self.rows[rejection.row], rejection.reason, rejection.name) for rejection in rejections
            ]
        return IngestResult(response.accepted, response.duplicates, tuple(rejections), response.version)


def batches(columns: Columns) -> Iterator[Batch]:
    """The batches that send a block; they have row operations if the protocol cannot represent its columns."""
    if can_send(columns):
        for message, rows in to_messages(columns):
            yield Batch(ingest_pb2.IngestBatchRequest(columns=[message]), rows=rows.tolist())
        return
    operations, numbers = rows_of(columns), columns.rows.tolist()
    for start in range(0, len(operations), BATCH_OPERATIONS):
        end = start + BATCH_OPERATIONS
        yield Batch.of(operations[start:end], numbers[start:end])


def batch_counts(response: query_pb2.BatchCountResponse) -> list[CountResult | BitsegError]:
    elapsed = from_duration(response.elapsed)
    counts: list[CountResult | BitsegError] = []
    for result in response.results:
        if result.WhichOneof("outcome") == "error":
            error = result.error
            counts.append(from_status(Status(code=error.code, message=error.message, details=error.details)))
        else:
            counts.append(CountResult(result.count, response.version, elapsed, tuple(result.warnings)))
    return counts


def count_result(response: query_pb2.CountResponse) -> CountResult:
    return CountResult(response.count, response.version, from_duration(response.elapsed), tuple(response.warnings))


def evaluation(response: query_pb2.EvaluateResponse) -> Evaluation:
    return Evaluation(
        response.count,
        response.version,
        from_duration(response.elapsed),
        tuple(response.warnings),
        tuple(response.sample_user_ids),
        response.bitmap or None,
    )


def combined(results: Sequence[IngestResult]) -> IngestResult:
    """The sum of the results of consecutive batches."""
    return IngestResult(
        sum(result.accepted for result in results),
        sum(result.duplicates for result in results),
        tuple(rejection for result in results for rejection in result.rejections),
        results[-1].version if results else 0,
    )


def as_bitseg_error(error: grpc.RpcError, target: str, query: Query | None) -> BitsegError:
    """The error of bitseg for a failed call; `query` is the text that a syntax error points into."""
    status = rpc_status.from_call(error)
    if status is not None:
        bitseg_error = from_status(status)
        if isinstance(bitseg_error, SegmentError) and isinstance(query, str):
            bitseg_error.text = query
        return bitseg_error
    code, details = error.code(), error.details()
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailableError(
            f"no bitseg server answers at {target}",
            hint="start one with bitseg serve, or check the address and whether the server needs TLS",
        )
    return RequestError(f"{code.name}: {details}")


def snapshot_result(snapshot: admin_pb2.Snapshot) -> SnapshotResult:
    return SnapshotResult(snapshot.version, snapshot.size_bytes, from_duration(snapshot.elapsed))
