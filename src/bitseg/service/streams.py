"""Streams: how many at the same time, and the end of calls whose callers neither send nor take anything."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from bitseg.errors import NotReadyError, OverloadedError

_LOOK_SECONDS = 0.25


class ConcurrencyLimit:
    """So many calls of one kind at the same time; each holds a thread or memory until it ends."""

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._free = threading.BoundedSemaphore(limit)

    def take(self) -> None:
        """Take a place, to be given back by `give_back`; OverloadedError where all are taken."""
        if not self._free.acquire(blocking=False):
            raise OverloadedError(
                f"{self._limit} {self._what} are open already, the limit",
                hint="try again in a while, or close idle ones",
            )

    def give_back(self) -> None:
        """Let others have the place."""
        self._free.release()


class StallDetector:
    """Ends calls that have depended on their callers for too long, and streams that wait when the server stops."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        # Since when the caller has had to do something.
        self._depending: dict[grpc.ServicerContext, float] = {}
        # Streams that wait for their callers, who know what was acknowledged.
        self._waiting: set[grpc.ServicerContext] = set()
        self._is_stopping = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bitseg-streams", daemon=True)

    def start(self) -> None:
        """Begin to look after streams."""
        self._thread.start()

    @contextmanager
    def waiting_for_peer(self, context: grpc.ServicerContext) -> Iterator[None]:
        """While a message is on its way to the caller, or from there, and holds a thread."""
        with self._lock:
            self._depending[context] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._depending.pop(context, None)

    @contextmanager
    def waiting(self, context: grpc.ServicerContext) -> Iterator[None]:
        """While nothing is to be done until the caller sends something; NotReadyError where the server stops."""
        with self._lock:
            if self._is_stopping:
                raise NotReadyError("the server is stopping", hint="try again in a while")
            self._waiting.add(context)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(context)

    def drain(self) -> None:
        """End the streams that wait, and let none wait from here on."""
        with self._lock:
            self._is_stopping = True
            waiting, self._waiting = self._waiting, set()
        for context in waiting:
            context.cancel()

    def stop(self) -> None:
        """Stop looking after streams."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            before = time.monotonic() - self._stall_seconds
            with self._lock:
                stalled = [context for context, since in self._depending.items() if since < before]
                for context in stalled:
                    del self._depending[context]
            for context in stalled:
                context.cancel()
