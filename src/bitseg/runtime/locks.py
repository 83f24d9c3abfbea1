"""A fair lock: threads get it in the order in which they began to wait."""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType


class FairLock:
    """A re-entrant lock that, when released, goes to the thread that has waited longest.

    A thread that releases a `threading.RLock` can take it again at once. A thread that takes it in a loop, as a bulk
    import does, may then keep all others waiting for ever.

    The lock can be broken when the data it guards was left half-changed. Taking a broken lock raises an error.
    """

    __slots__ = ("_depth", "_fault", "_mutex", "_owner", "_waiting")

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._fault: Callable[[], Exception] | None = None

    def __enter__(self) -> None:
        self._acquire()
        if self._fault is not None:
            self.__exit__(None, None, None)
            raise self._fault()

    def break_with(self, fault: Callable[[], Exception]) -> None:
        """Break the lock: from now on, taking it raises the error that `fault` returns."""
        self._fault = fault

    def require_sound(self) -> None:
        """Raise the error with which the lock was broken, if it was; nobody is waited for."""
        if self._fault is not None:
            raise self._fault()

    @property
    def is_broken(self) -> bool:
        """Whether the lock is broken, so that taking it raises."""
        return self._fault is not None

    def _acquire(self) -> None:
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        with self._mutex:
            if self._owner is None:
                self._owner, self._depth = me, 1
                return
            turn = threading.Lock()
            turn.acquire()
            ticket = (me, turn)
            self._waiting.append(ticket)
        try:
            turn.acquire()
        except BaseException:
            with self._mutex:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                else:
                    self._hand_over()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            with self._mutex:
                self._hand_over()

    @property
    def waiting(self) -> int:
        """How many threads wait for the lock."""
        return len(self._waiting)

    def _hand_over(self) -> None:
        if self._waiting:
            self._owner, turn = self._waiting.popleft()
            self._depth = 1
            turn.release()
        else:
            self._owner = None
