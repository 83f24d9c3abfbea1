"""Limits on concurrent streams, and a watchdog that ends stalled calls."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import grpc

from bitseg.errors import NotReadyError, OverloadedError

_CHECK_SECONDS = 0.25


class ConcurrencyLimit:
    """At most `limit` calls of one kind at the same time, because a call occupies a thread or memory until it ends.

    As a context manager it is acquired and released. `what` names the calls in errors, in the plural.
    """

    def __init__(self, what: str, limit: int) -> None:
        self.limit = limit
        self._what = what
        self._free = threading.BoundedSemaphore(limit)

    def acquire(self) -> None:
        """Count one more call; OverloadedError at the limit."""
        if not self._free.acquire(blocking=False):
            raise OverloadedError(
                f"{self.limit} {self._what} are open already, which is the limit",
                hint="retry later, or close idle ones",
            )

    def release(self) -> None:
        """Release one call."""
        self._free.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Wait:
    """Registers a call as blocked. A class, because every call passes here and a generator is three times slower."""

    __slots__ = ("_blocked_since", "_context", "_lock")

    def __init__(
        self, lock: threading.Lock, blocked_since: dict[grpc.ServicerContext, float], context: grpc.ServicerContext
    ) -> None:
        self._lock = lock
        self._blocked_since = blocked_since
        self._context = context

    def __enter__(self) -> None:
        with self._lock:
            self._blocked_since[self._context] = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._blocked_since.pop(self._context, None)


class StallDetector:
    """Ends calls that wait for their peer for more than `stall_seconds`, and when the server stops, idle streams."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        # Calls that occupy a thread until their peer sends or reads a message, with the start time of the wait.
        self._blocked_since: dict[grpc.ServicerContext, float] = {}
        # Streams between two requests. They can end here, because their callers know which requests were acknowledged.
        self._idle: set[grpc.ServicerContext] = set()
        self._is_stopping = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bitseg-streams", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def waiting_for_peer(self, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        """Watch a call that waits for its peer to send its only request, or to read a response."""
        return _Wait(self._lock, self._blocked_since, context)

    @contextmanager
    def waiting_for_request(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Mark a stream as idle while it waits for its next request; NotReadyError once the server is stopping."""
        with self._lock:
            if self._is_stopping:
                raise NotReadyError("the server is stopping", hint="retry later")
            self._idle.add(context)
        try:
            yield
        finally:
            with self._lock:
                self._idle.discard(context)

    def drain(self) -> None:
        """End idle streams, and let no stream wait for another request."""
        with self._lock:
            self._is_stopping = True
            idle, self._idle = self._idle, set()
        for context in idle:
            context.cancel()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_CHECK_SECONDS):
            latest = time.monotonic() - self._stall_seconds
            with self._lock:
                stalled = [context for context, since in self._blocked_since.items() if since < latest]
                for context in stalled:
                    del self._blocked_since[context]
            for context in stalled:
                context.cancel()
