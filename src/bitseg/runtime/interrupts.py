"""Deferring Ctrl-C while work must not be left half-done."""

import signal
import threading
from types import TracebackType


class interrupts_deferred:  # noqa: N801 # Used as a function.
    """Defer an interrupt that comes within the block; KeyboardInterrupt is raised at the end of the block.

    This happens only where Python's own handler would raise it: in the main thread. A handler that the program
    installed stays in place.
    """

    __slots__ = ("_interrupted", "_is_deferred")

    def __enter__(self) -> None:
        self._interrupted = False
        self._is_deferred = (
            threading.get_ident() == threading.main_thread().ident
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._is_deferred:
            signal.signal(signal.SIGINT, self._note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_deferred:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._interrupted and error is None:
                raise KeyboardInterrupt

    def _note(self, *_: object) -> None:
        self._interrupted = True
