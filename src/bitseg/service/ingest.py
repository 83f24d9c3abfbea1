"""IngestService: check, call, convert."""

from collections.abc import Iterator

import grpc

from bitseg.columns import Rejection
from bitseg.errors import InvalidArgumentError
from bitseg.operations import Operation, Page, Track
from bitseg.pb import ingest_pb2, ingest_pb2_grpc
from bitseg.service.metrics import Metrics
from bitseg.service.readiness import Readiness
from bitseg.wire.columns import from_message
from bitseg.wire.operations import from_operation

MAX_BATCH_OPERATIONS = 100_000


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Feeds operations to an engine."""

    def __init__(self, opening: Readiness, metrics: Metrics) -> None:
        self._opening = opening
        self._metrics = metrics

    def IngestBatch(  # noqa: N802
        self, request: ingest_pb2.IngestBatchRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.IngestBatchResponse:
        return self._applied(request)

    def Ingest(  # noqa: N802
        self, request_iterator: Iterator[ingest_pb2.IngestRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.IngestResponse]:
        opening = next(request_iterator, None)
        if opening is None:
            return
        if not opening.producer or opening.sequence or opening.HasField("batch"):
            raise InvalidArgumentError("the first message names the producer and has nothing else")
        yield ingest_pb2.IngestResponse(last_sequence=self._opening.engine.last_sequence(opening.producer))
        for request in request_iterator:
            if request.producer or request.sequence < 1:
                raise InvalidArgumentError(
                    "a batch has a sequence number from 1 on, and only the first message names the producer"
                )
            result = self._applied(request.batch, opening.producer, request.sequence)
            yield ingest_pb2.IngestResponse(last_sequence=request.sequence, result=result)

    def _applied(
        self, request: ingest_pb2.IngestBatchRequest, producer: str | None = None, sequence: int = 0
    ) -> ingest_pb2.IngestBatchResponse:
        total = len(request.operations) + sum(len(columns.user_ids) for columns in request.columns)
        if total > MAX_BATCH_OPERATIONS:
            raise InvalidArgumentError(
                f"the batch has {total:,} operations and rows, the limit is {MAX_BATCH_OPERATIONS:,}",
                hint="send it in parts",
            )
        engine = self._opening.engine
        operations, places, empty = _operations(request, engine.now_ms())
        blocks = [*map(from_message, request.columns)]
        result, by_columns = engine.ingest_all(operations, blocks, producer=producer, sequence=sequence)
        newest_ms = [int(block.timestamps_ms.max()) for block in blocks if block.event and len(block.timestamps_ms)]
        newest_ms += [each.timestamp_ms for each in operations if isinstance(each, Track | Page)]
        if newest_ms:
            self._metrics.ingested(max(newest_ms), engine.now_ms())
        rejections = [Rejection(places[each.row], each.reason, each.name) for each in result.rejections]
        return ingest_pb2.IngestBatchResponse(
            accepted=result.accepted,
            duplicates=result.duplicates,
            rejections=map(_rejection, sorted(rejections + empty, key=lambda each: each.row)),
            version=result.version,
            column_rejections=[
                ingest_pb2.ColumnsRejection(columns=place, row=each.row, name=each.name or "", reason=each.reason)
                for place, rejections in enumerate(by_columns)
                for each in rejections
            ],
        )


def _operations(
    request: ingest_pb2.IngestBatchRequest, now_ms: int
) -> tuple[list[Operation], list[int], list[Rejection]]:
    """The operations of a batch, their places in it, and the rejections of those that are empty."""
    operations: list[Operation] = []
    places: list[int] = []
    empty: list[Rejection] = []
    for place, message in enumerate(request.operations):
        operation = from_operation(message, now_ms)
        if operation is None:
            empty.append(Rejection(place, "the operation is empty: set identify, track, page or delete_user"))
        else:
            operations.append(operation)
            places.append(place)
    return operations, places, empty


def _rejection(rejection: Rejection) -> ingest_pb2.Rejection:
    return ingest_pb2.Rejection(operation=rejection.row, name=rejection.name or "", reason=rejection.reason)
