"""Producers: numbered batches over a stream that is reopened whenever it breaks."""

import asyncio
import queue
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from bitseg.client import convert
from bitseg.client.convert import Batch
from bitseg.client.retrying import async_retried, retried
from bitseg.columns import Columns
from bitseg.errors import ServerUnavailableError
from bitseg.operations import Operation
from bitseg.pb import ingest_pb2
from bitseg.results import IngestResult

Answer = TypeVar("Answer")


class _Numbering:
    """The common base of both producers: the connection, and the numbers of batches."""

    def __init__(
        self, stub: Any, metadata: Sequence[tuple[str, str]], target: str, name: str, retry_seconds: float
    ) -> None:
        self._stub = stub
        self._metadata = metadata
        self._target = target
        self._opening = ingest_pb2.IngestRequest(producer=name)
        self._retry_seconds = retry_seconds
        # grpc has no type for a call that is both iterated and cancelled.
        self._call: Any = None
        self.last_sequence = 0

    def _numbered(self, batch: Batch) -> ingest_pb2.IngestRequest:
        return ingest_pb2.IngestRequest(sequence=self.last_sequence + 1, batch=batch.request)

    def _opened(self, response: ingest_pb2.IngestResponse) -> None:
        """Read the sequence of the last durable batch from the first answer of a stream."""
        if not self.last_sequence:
            self.last_sequence = response.last_sequence

    def _ended(self) -> ServerUnavailableError:
        return ServerUnavailableError(f"the server at {self._target} ended the stream")


class Producer(_Numbering):
    """Sends batches that are applied exactly once, even if the connection breaks or the server restarts.

    Batches are numbered per producer name. `last_sequence` is the number of the last durable batch, from which a
    restarted program continues. If no server answers, or its disk fails, a batch is retried for up to `retry_seconds`.
    Then ServerUnavailableError or NotDurableError is raised, and the same batch can be given to `ingest` again. Not
    safe to use from several threads at once.
    """

    def __init__(
        self, stub: Any, metadata: Sequence[tuple[str, str]], target: str, name: str, retry_seconds: float
    ) -> None:
        super().__init__(stub, metadata, target, name, retry_seconds)
        self._requests: queue.SimpleQueue[ingest_pb2.IngestRequest | None] = queue.SimpleQueue()
        self._retried(self._connected)

    def ingest(self, operations: Iterable[Operation]) -> IngestResult:
        """Apply a batch of operations atomically, exactly once.

        If the batch was durable but its answer was lost, the result counts all of it as duplicates.
        """
        return self._send(Batch.of(operations))

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows exactly once, in several batches if it is too large for one message."""
        return convert.combined([self._send(batch) for batch in convert.batches(columns)])

    def close(self) -> None:
        """End the stream. All batches for which `ingest` returned are durable."""
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

    def _send(self, batch: Batch) -> IngestResult:
        request = self._numbered(batch)
        response = self._retried(lambda: self._answer(request))
        self.last_sequence = request.sequence
        return batch.result(response.result)

    def _answer(self, request: ingest_pb2.IngestRequest) -> ingest_pb2.IngestResponse:
        call = self._call or self._connected()
        self._requests.put(request)
        return self._next(call)

    def _connected(self) -> Any:
        self._requests = queue.SimpleQueue()
        self._requests.put(self._opening)
        self._call = call = self._stub.Ingest(_until_none(self._requests), metadata=self._metadata)
        self._opened(self._next(call))
        return call

    def _next(self, call: Iterator[ingest_pb2.IngestResponse]) -> ingest_pb2.IngestResponse:
        response = next(call, None)
        if response is None:
            raise self._ended()
        return response

    def _retried(self, attempt: Callable[[], Answer]) -> Answer:
        """The result of an attempt, retried with another stream while the server is unavailable."""

        def closing() -> Answer:
            try:
                return attempt()
            except BaseException:
                self.close()
                raise

        return retried(closing, self._target, self._retry_seconds)


class AsyncProducer(_Numbering):
    """`Producer` for an event loop. Not safe to use from several tasks at once."""

    async def connect(self) -> None:
        """Open the stream, and read the number of the last durable batch."""
        await self._retried(self._connected)

    async def ingest(self, operations: Iterable[Operation]) -> IngestResult:
        """Apply a batch of operations atomically, exactly once.

        If the batch was durable but its answer was lost, the result counts all of it as duplicates.
        """
        return await self._send(Batch.of(operations))

    async def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows exactly once, in several batches if it is too large for one message."""
        return convert.combined([await self._send(batch) for batch in convert.batches(columns)])

    async def close(self) -> None:
        """End the stream. All batches for which `ingest` returned are durable."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    async def __aenter__(self) -> "AsyncProducer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, batch: Batch) -> IngestResult:
        request = self._numbered(batch)
        response = await self._retried(lambda: self._answer(request))
        self.last_sequence = request.sequence
        return batch.result(response.result)

    async def _answer(self, request: ingest_pb2.IngestRequest) -> ingest_pb2.IngestResponse:
        call = self._call or await self._connected()
        return await self._exchanged(call, request)

    async def _connected(self) -> Any:
        self._call = call = self._stub.Ingest(metadata=self._metadata)
        self._opened(await self._exchanged(call, self._opening))
        return call

    async def _exchanged(self, call: Any, request: ingest_pb2.IngestRequest) -> ingest_pb2.IngestResponse:
        """Send a message and wait for its answer."""
        try:
            await call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            # Whatever gRPC reports here, the stream has ended. If the fault persists, the next stream reports it.
            raise self._ended() from error
        response: Any = await call.read()
        if response is grpc.aio.EOF:
            raise self._ended()
        assert isinstance(response, ingest_pb2.IngestResponse)
        return response

    async def _retried(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """The result of an attempt, retried with another stream while the server is unavailable."""

        async def closing() -> Answer:
            try:
                return await attempt()
            except BaseException:
                await self.close()
                raise

        return await async_retried(closing, self._target, self._retry_seconds)


def _until_none(requests: "queue.SimpleQueue[ingest_pb2.IngestRequest | None]") -> Iterator[ingest_pb2.IngestRequest]:
    yield from iter(requests.get, None)
