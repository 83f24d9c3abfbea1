"""Periodic work in a thread of its own, which goes on after errors."""

import logging
import threading
from collections.abc import Callable
from traceback import walk_tb

# The longest wait after a failure, as a multiple of the first wait.
_LONGEST_BACKOFF = 8


class PeriodicThread:
    """Calls a function, `name` in the log, every `interval_seconds`, and soon after `wake`, until `stop`.

    An exception of the function is logged and counted in `failures`, and the next call waits: `retry_seconds` after the
    first failure, twice as long after every further failure in a row, up to 8 times as long. `wake` does not shorten
    that wait. Exceptions of the classes in `expected`, such as a full disk, are logged as warnings without a traceback.
    All others are bugs: the first of a kind, which is its class and the line that raised it, is logged with a
    traceback.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        interval_seconds: float,
        *,
        retry_seconds: float,
        log: logging.Logger,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        self.failures = 0
        self._name = name
        self._work = work
        self._interval_seconds = interval_seconds
        self._retry_seconds = retry_seconds
        self._log = log
        self._expected = expected
        self._failures_in_a_row = 0
        self._logged: set[tuple[type[Exception], str, int]] = set()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bitseg-{name.replace(' ', '-')}", daemon=True)

    def start(self) -> None:
        """Start the thread; the first call comes after one interval, or after `wake`."""
        self._thread.start()

    def wake(self) -> None:
        """Call the function soon instead of at the end of the interval."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread: at once if it waits, otherwise after the current call. May be called repeatedly."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            if self._failures_in_a_row:
                doubled = min(2 ** (self._failures_in_a_row - 1), _LONGEST_BACKOFF)
                self._stopped.wait(self._retry_seconds * doubled)
            else:
                self._woken.wait(self._interval_seconds)
            if self._stopped.is_set():
                return
            # Before the work, so that a wake-up during it leads to another call.
            self._woken.clear()
            try:
                self._work()
                self._failures_in_a_row = 0
            except Exception as error:
                self.failures += 1
                self._failures_in_a_row = min(self._failures_in_a_row + 1, _LONGEST_BACKOFF)
                self._note(error)

    def _note(self, error: Exception) -> None:
        if isinstance(error, self._expected):
            self._log.warning("a %s failed and will be tried again: %s", self._name, error)
            return
        frame, line = list(walk_tb(error.__traceback__))[-1]
        kind = (type(error), frame.f_code.co_filename, line)
        is_first = kind not in self._logged
        self._logged.add(kind)
        self._log.error(
            "a %s failed and will be tried again; this is a bug of bitseg: %s: %s",
            self._name,
            type(error).__name__,
            error,
            exc_info=error if is_first else None,
        )
