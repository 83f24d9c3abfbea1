"""Requests and answers to and from protobuf, shared by both clients."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from bitseg.calendar import to_ms
from bitseg.columns import Columns, Rejection, rows_of
from bitseg.errors import BitsegError, InvalidArgumentError, RequestError, SegmentError, ServerUnavailableError
from bitseg.operations import Operation
from bitseg.pb import admin_pb2, ingest_pb2, query_pb2
from bitseg.results import CountResult, Evaluation, IngestResult, SnapshotResult
from bitseg.segment.nodes import Condition
from bitseg.wire.columns import can_send, to_messages
from bitseg.wire.errors import from_status
from bitseg.wire.operations import to_operation
from bitseg.wire.segments import to_message
from bitseg.wire.timestamps import from_duration, to_timestamp

Query = str | Condition

# Small enough for the server's limit on messages with properties of ordinary size.
BATCH_OPERATIONS = 5_000


def query_fields(query: Query, as_of: datetime | None) -> dict[str, Any]:
    """The fields that all requests about a segment share."""
    moment = as_of_timestamp(as_of)
    if isinstance(query, str):
        return {"expression": query, "as_of": moment}
    return {"definition": to_message(query), "as_of": moment}


def members_request(
    query: Query | None, as_of: datetime | None, page_size: int, resume_token: str
) -> query_pb2.StreamMembersRequest:
    if query is None and not resume_token:
        raise InvalidArgumentError("there is neither a query nor a resume token")
    asked = {} if query is None else query_fields(query, as_of)
    return query_pb2.StreamMembersRequest(**asked, page_size=page_size, resume_token=resume_token)


def resumed(request: query_pb2.StreamMembersRequest, resume_token: str) -> query_pb2.StreamMembersRequest:
    """The request that goes on after the page of a token; the same one where none was received."""
    again = query_pb2.StreamMembersRequest()
    again.CopyFrom(request)
    again.resume_token = resume_token
    return again


def as_of_timestamp(as_of: datetime | None) -> Timestamp | None:
    """The instant that stands for now; InvalidArgumentError for one without an offset."""
    if as_of is not None and as_of.tzinfo is None:
        raise InvalidArgumentError(
            f"as_of {as_of} does not say its offset from UTC", hint="give a datetime with a time zone"
        )
    return None if as_of is None else to_timestamp(to_ms(as_of))


def ingest_request(operations: Sequence[Operation]) -> ingest_pb2.IngestBatchRequest:
    return ingest_pb2.IngestBatchRequest(operations=map(to_operation, operations))


def columns_requests(columns: Columns) -> Iterator[tuple[ingest_pb2.IngestBatchRequest, Sequence[int]]]:
    """Requests that together send a block, each with the numbers of its rows; as operations where columns cannot."""
    if can_send(columns):
        for message, rows in to_messages(columns):
            yield ingest_pb2.IngestBatchRequest(columns=[message]), rows.tolist()
        return
    operations, numbers = rows_of(columns), columns.rows.tolist()
    for start in range(0, len(operations), BATCH_OPERATIONS):
        end = start + BATCH_OPERATIONS
        yield ingest_request(operations[start:end]), numbers[start:end]


def columns_result(response: ingest_pb2.IngestBatchResponse, rows: Sequence[int]) -> IngestResult:
    """The result of one such request, with rejections by the rows' own numbers."""
    result = ingest_result(response)
    of_columns = [Rejection(each.row, each.reason, each.name or None) for each in response.column_rejections]
    rejections = tuple(Rejection(rows[each.row], each.reason, each.name) for each in (*result.rejections, *of_columns))
    return replace(result, rejections=rejections)


def batch_count_request(queries: Sequence[Query], as_of: datetime | None) -> query_pb2.BatchCountRequest:
    return query_pb2.BatchCountRequest(queries=map(_segment_query, queries), as_of=as_of_timestamp(as_of))


def _segment_query(query: Query) -> query_pb2.SegmentQuery:
    if isinstance(query, str):
        return query_pb2.SegmentQuery(expression=query)
    return query_pb2.SegmentQuery(definition=to_message(query))


def batch_counts(response: query_pb2.BatchCountResponse) -> list[CountResult | BitsegError]:
    elapsed = from_duration(response.elapsed)
    found: list[CountResult | BitsegError] = []
    for each in response.results:
        if each.WhichOneof("outcome") == "error":
            error = each.error
            found.append(from_status(Status(code=error.code, message=error.message, details=error.details)))
        else:
            found.append(CountResult(each.count, response.version, elapsed, tuple(each.warnings)))
    return found


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


def ingest_result(response: ingest_pb2.IngestBatchResponse) -> IngestResult:
    rejections = tuple(Rejection(each.operation, each.reason, each.name or None) for each in response.rejections)
    return IngestResult(response.accepted, response.duplicates, rejections, response.version)


def combined(results: Sequence[IngestResult]) -> IngestResult:
    """The results of consecutive batches as one."""
    return IngestResult(
        sum(result.accepted for result in results),
        sum(result.duplicates for result in results),
        tuple(rejection for result in results for rejection in result.rejections),
        results[-1].version if results else 0,
    )


def as_bitseg_error(error: grpc.RpcError, target: str, query: Query | None) -> BitsegError:
    """The error of bitseg that a failed call, with a query or without, stands for."""
    status = rpc_status.from_call(error)
    if status is not None:
        found = from_status(status)
        if isinstance(found, SegmentError) and isinstance(query, str):
            found.text = query
        return found
    code, details = error.code(), error.details()
    if code is grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailableError(
            f"no bitseg server answers at {target}",
            hint="start one with bitseg serve, or check the address, and whether it asks for TLS",
        )
    return RequestError(f"{code.name}: {details}")


def snapshot_result(snapshot: admin_pb2.Snapshot) -> SnapshotResult:
    return SnapshotResult(snapshot.version, snapshot.size_bytes, from_duration(snapshot.elapsed))
