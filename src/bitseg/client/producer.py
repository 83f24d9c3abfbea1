"""A producer: numbered batches over a stream that is opened again whenever it breaks."""

import queue
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from bitseg.client import convert
from bitseg.client.retrying import retried
from bitseg.columns import Columns
from bitseg.errors import ServerUnavailableError
from bitseg.operations import Operation
from bitseg.pb import ingest_pb2, ingest_pb2_grpc
from bitseg.results import IngestResult

Answer = TypeVar("Answer")


class Producer:
    """Sends batches that are applied exactly once, whatever becomes of the connection or the server.

    Batches are numbered under the producer's name. `last_sequence` is the number of the last one that is safe; a
    program that starts again finds there how far it had come. Where no server answers, or its disk fails, a batch is
    sent again for up to `retry_seconds`, after which ServerUnavailableError or NotDurableError is raised; it can then
    be given to `ingest` again. Not for use from several threads at once.
    """

    def __init__(
        self,
        stub: ingest_pb2_grpc.IngestServiceStub,
        metadata: Sequence[tuple[str, str]],
        target: str,
        name: str,
        retry_seconds: float,
    ) -> None:
        self._stub = stub
        self._metadata = metadata
        self._target = target
        self._name = name
        self._retry_seconds = retry_seconds
        self._requests: queue.SimpleQueue[ingest_pb2.IngestRequest | None] = queue.SimpleQueue()
        # The types of grpc have no name for a call that is both iterated and cancelled.
        self._call: Any = None
        self.last_sequence = 0
        self._retried(self._connected)

    def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch of operations as a whole, exactly once.

        Where it was safe already when an answer was lost, the result counts all of it as duplicates.
        """
        return convert.ingest_result(self._send(convert.ingest_request(operations)))

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows, exactly once; as several batches where it is too large for one message."""
        results = [
            convert.columns_result(self._send(request), rows) for request, rows in convert.columns_requests(columns)
        ]
        return convert.combined(results)

    def close(self) -> None:
        """End the stream; all that `ingest` returned for is safe."""
        if self._call is not None:
            self._requests.put(None)
            self._call.cancel()
            self._call = None

    def __enter__(self) -> "Producer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, batch: ingest_pb2.IngestBatchRequest) -> ingest_pb2.IngestBatchResponse:
        request = ingest_pb2.IngestRequest(sequence=self.last_sequence + 1, batch=batch)
        response = self._retried(lambda: self._answer(request))
        self.last_sequence = request.sequence
        return response.result

    def _answer(self, request: ingest_pb2.IngestRequest) -> ingest_pb2.IngestResponse:
        call = self._call or self._connected()
        self._requests.put(request)
        return self._next(call)

    def _connected(self) -> Any:
        self._requests = queue.SimpleQueue()
        self._requests.put(ingest_pb2.IngestRequest(producer=self._name))
        self._call = call = self._stub.Ingest(_until_none(self._requests), metadata=self._metadata)
        last = self._next(call).last_sequence
        if not self.last_sequence:
            self.last_sequence = last
        return call

    def _next(self, call: Iterator[ingest_pb2.IngestResponse]) -> ingest_pb2.IngestResponse:
        response = next(call, None)
        if response is None:
            raise ServerUnavailableError(f"the server at {self._target} ended the stream")
        return response

    def _retried(self, attempt: Callable[[], Answer]) -> Answer:
        """What an attempt returns, made again, by a stream of its own, while the server is away."""

        def begun_anew() -> Answer:
            try:
                return attempt()
            except BaseException:
                self.close()
                raise

        return retried(begun_anew, self._target, self._retry_seconds)


def _until_none(requests: "queue.SimpleQueue[ingest_pb2.IngestRequest | None]") -> Iterator[ingest_pb2.IngestRequest]:
    yield from iter(requests.get, None)
