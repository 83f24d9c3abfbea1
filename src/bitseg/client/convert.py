"""Requests and answers to and from protobuf, shared by both clients."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import grpc
from grpc_status import rpc_status

from bitseg.calendar import to_ms
from bitseg.errors import BitsegError, InvalidArgumentError, RequestError, SegmentError, ServerUnavailableError
from bitseg.ops import Operation, Rejection
from bitseg.pb import ingest_pb2, query_pb2
from bitseg.results import CountResult, Evaluation, IngestResult
from bitseg.segment.nodes import Condition
from bitseg.wire.errors import from_status
from bitseg.wire.operations import to_operation
from bitseg.wire.segments import to_message
from bitseg.wire.timestamps import to_timestamp

Query = str | Condition

# Small enough for the server's limit on messages with properties of ordinary size.
BATCH_OPERATIONS = 5_000

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


def query_fields(query: Query, as_of: datetime | None) -> dict[str, Any]:
    """The fields that all requests of QueryService share."""
    if as_of is not None and as_of.tzinfo is None:
        raise InvalidArgumentError(
            f"as_of {as_of} does not say its offset from UTC", hint="give a datetime with a time zone"
        )
    as_of_timestamp = None if as_of is None else to_timestamp(to_ms(as_of))
    if isinstance(query, str):
        return {"expression": query, "as_of": as_of_timestamp}
    return {"definition": to_message(query), "as_of": as_of_timestamp}


def ingest_request(operations: Sequence[Operation]) -> ingest_pb2.IngestBatchRequest:
    return ingest_pb2.IngestBatchRequest(operations=map(to_operation, operations))


def count_result(response: query_pb2.CountResponse) -> CountResult:
    return CountResult(response.count, response.version, _seconds(response.elapsed), tuple(response.warnings))


def evaluation(response: query_pb2.EvaluateResponse) -> Evaluation:
    return Evaluation(
        response.count,
        response.version,
        _seconds(response.elapsed),
        tuple(response.warnings),
        tuple(response.sample_user_ids),
        response.bitmap or None,
    )


def ingest_result(response: ingest_pb2.IngestBatchResponse) -> IngestResult:
    rejections = tuple(Rejection(each.operation, each.reason, each.name or None) for each in response.rejections)
    return IngestResult(response.accepted, response.duplicates, rejections, response.version)


def combined(results: Sequence[IngestResult], rows: Sequence[int]) -> IngestResult:
    """The results of consecutive batches of BATCH_OPERATIONS as one, with rejections by the rows' own numbers."""
    rejections = [
        Rejection(rows[batch * BATCH_OPERATIONS + each.row], each.reason, each.name)
        for batch, result in enumerate(results)
        for each in result.rejections
    ]
    return IngestResult(
        sum(result.accepted for result in results),
        sum(result.duplicates for result in results),
        tuple(rejections),
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
            f"no bitseg server answers at {target}", hint="start one with bitseg serve, or check the address"
        )
    return RequestError(f"{code.name}: {details}")


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
