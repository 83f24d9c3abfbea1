"""Exports: readers of a capture, which end when a snapshot is due and they have stopped reading."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from bitseg.errors import VersionGoneError

# How long a snapshot waits for a reader that does not take the next block.
EXPORT_IDLE_SECONDS = 10.0

Block = TypeVar("Block")


class Export:
    """A capture that is read block by block, until its reader closes it or something else ends it."""

    def __init__(self, version: int, release: Callable[[], None]) -> None:
        """`release` frees the capture; it is called once, while no block is being built."""
        self._version = version
        self._release = release
        self._changed = threading.Condition()
        self._is_open = True
        self._reason = ""
        self._is_reading = False
        self._last_read = time.monotonic()
        self._reader = threading.get_ident()

    def blocks(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The blocks; VersionGoneError if the export ended before the last one."""
        while True:
            with self.reading():
                block = next(blocks, None)
            if block is None:
                return
            yield block

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the capture from being released; VersionGoneError if it was released already."""
        with self._changed:
            if not self._is_open:
                raise VersionGoneError(
                    f"the export of version {self._version} has ended: {self._reason}", hint="begin a new export"
                )
            self._is_reading = True
        try:
            yield
        finally:
            with self._changed:
                self._is_reading = False
                self._last_read, self._reader = time.monotonic(), threading.get_ident()
                self._changed.notify_all()

    def close(self) -> None:
        """Release the capture, for a reader that is done."""
        self.end("it was closed")

    def end(self, reason: str) -> None:
        """Release the capture after the current block; the reader's next step fails with the reason."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_reading)
            self._end(reason)

    def give_way(self, idle_seconds: float) -> None:
        """Wait until the reader is done; end the export if no block is taken for `idle_seconds`.

        If the reader's own thread calls this, the export ends at once.
        """
        with self._changed:
            while self._is_open:
                left = self._last_read + idle_seconds - time.monotonic()
                if self._is_reading:
                    self._changed.wait()
                elif self._reader == threading.get_ident():
                    self._end("its reader started an operation that needs another capture")
                elif left <= 0:
                    self._end(f"a snapshot was due, and no rows were read for {idle_seconds:g} seconds")
                else:
                    self._changed.wait(left)

    def _end(self, reason: str) -> None:
        if self._is_open:
            self._is_open, self._reason = False, reason
            self._changed.notify_all()
            self._release()


class Exports:
    """The open export, at most one, because captures cannot coexist.

    Callers hold a lock from `give_way` until their own capture is released, or until `begin` has returned.
    """

    def __init__(self, idle_seconds: float = EXPORT_IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._export: Export | None = None

    def begin(self, version: int, release: Callable[[], None]) -> Export:
        """Open an export of a capture."""
        self._export = Export(version, release)
        return self._export

    def give_way(self) -> None:
        """Wait until no export is open; end it if its reader has stopped reading."""
        export = self._export
        if export is not None:
            export.give_way(self._idle_seconds)
            self._export = None

    def end(self, reason: str) -> None:
        """End the open export, if there is one."""
        export = self._export
        if export is not None:
            export.end(reason)
