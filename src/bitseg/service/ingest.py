"""IngestService: check, call, convert."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import grpc

from bitseg.columns import Columns, Rejection
from bitseg.errors import InvalidArgumentError
from bitseg.operations import Operation, Page, Track
from bitseg.pb import ingest_pb2, ingest_pb2_grpc
from bitseg.results import IngestResult
from bitseg.service.metrics import Metrics
from bitseg.service.readiness import Readiness
from bitseg.wire.columns import from_message
from bitseg.wire.operations import from_operation

MAX_BATCH_OPERATIONS = 100_000
_EMPTY = "the operation is empty: set identify, track, page or delete_user"


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Ingests operations and columns into an engine."""

    def __init__(self, readiness: Readiness, metrics: Metrics) -> None:
        self._readiness = readiness
        self._metrics = metrics

    def IngestBatch(  # noqa: N802
        self, request: ingest_pb2.IngestBatchRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.IngestBatchResponse:
        return self._ingest(request)

    def Ingest(  # noqa: N802
        self, request_iterator: Iterator[ingest_pb2.IngestRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.IngestResponse]:
        first = next(request_iterator, None)
        if first is None:
            return
        _require_producer(first)
        yield ingest_pb2.IngestResponse(last_sequence=self._readiness.engine.last_sequence(first.producer))
        for request in request_iterator:
            _require_sequence(request)
            result = self._ingest(request.batch, first.producer, request.sequence)
            yield ingest_pb2.IngestResponse(last_sequence=request.sequence, result=result)

    def _ingest(
        self, request: ingest_pb2.IngestBatchRequest, producer: str | None = None, sequence: int = 0
    ) -> ingest_pb2.IngestBatchResponse:
        _require_size(request)
        engine = self._readiness.engine
        batch = _decoded(request, engine.now_ms())
        result, by_block = engine.ingest_all(batch.operations, batch.blocks, producer=producer, sequence=sequence)
        newest_ms = _newest_event_ms(batch)
        if newest_ms is not None:
            self._metrics.ingested(newest_ms, engine.now_ms())
        return _response(batch, result, by_block)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A decoded batch. `positions` are the places of the operations in the message; `empty` those of empty messages."""

    operations: list[Operation]
    positions: Sequence[int]
    empty: list[int]
    blocks: list[Columns]


def _require_producer(request: ingest_pb2.IngestRequest) -> None:
    if not request.producer or request.sequence or request.HasField("batch"):
        raise InvalidArgumentError("the first message must name the producer, and nothing else")


def _require_sequence(request: ingest_pb2.IngestRequest) -> None:
    if request.producer or request.sequence < 1:
        raise InvalidArgumentError(
            "a batch needs a sequence of 1 or more, and only the first message may name the producer"
        )


def _require_size(request: ingest_pb2.IngestBatchRequest) -> None:
    total = len(request.operations) + sum(len(columns.user_ids) for columns in request.columns)
    if total > MAX_BATCH_OPERATIONS:
        raise InvalidArgumentError(
            f"the batch has {total:,} operations and rows, the limit is {MAX_BATCH_OPERATIONS:,}",
            hint="send smaller batches",
        )


def _decoded(request: ingest_pb2.IngestBatchRequest, now_ms: int) -> _Batch:
    decoded = [from_operation(message, now_ms) for message in request.operations]
    operations = [operation for operation in decoded if operation is not None]
    blocks = [*map(from_message, request.columns)]
    if len(operations) == len(decoded):
        return _Batch(operations, range(len(operations)), [], blocks)
    positions = [position for position, operation in enumerate(decoded) if operation is not None]
    empty = [position for position, operation in enumerate(decoded) if operation is None]
    return _Batch(operations, positions, empty, blocks)


def _newest_event_ms(batch: _Batch) -> int | None:
    """The timestamp of the batch's newest event; None if it has no events."""
    newest_ms = [int(block.timestamps_ms.max()) for block in batch.blocks if block.event and len(block.timestamps_ms)]
    newest_ms += [operation.timestamp_ms for operation in batch.operations if isinstance(operation, Track | Page)]
    return max(newest_ms, default=None)


def _response(
    batch: _Batch, result: IngestResult, by_block: Sequence[Sequence[Rejection]]
) -> ingest_pb2.IngestBatchResponse:
    rejections: list[ingest_pb2.Rejection] = [
        ingest_pb2.Rejection(
            operation=batch.positions[rejection.row], name=rejection.name or "", reason=rejection.reason
        )
        for rejection in result.rejections
    ]
    rejections += [ingest_pb2.Rejection(operation=position, reason=_EMPTY) for position in batch.empty]
    rejections.sort(key=attrgetter("operation"))
    return ingest_pb2.IngestBatchResponse(
        accepted=result.accepted,
        duplicates=result.duplicates,
        rejections=rejections,
        version=result.version,
        column_rejections=[
            ingest_pb2.ColumnsRejection(
                columns=block, row=rejection.row, name=rejection.name or "", reason=rejection.reason
            )
            for block, rejections_of_block in enumerate(by_block)
            for rejection in rejections_of_block
        ],
    )
