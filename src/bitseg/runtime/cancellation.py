"""Cancelling work whose caller has gone or that takes too long.

Long work calls `check` regularly. The caller decides with `interruptible` when `check` raises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_require_wanted: ContextVar[Callable[[], None] | None] = ContextVar("bitseg_interruption", default=None)


@contextmanager
def interruptible(require_wanted: Callable[[], None]) -> Iterator[None]:
    """Within the block, `check` calls `require_wanted` in this thread, which raises to cancel the work."""
    before = _require_wanted.set(require_wanted)
    try:
        yield
    finally:
        _require_wanted.reset(before)


def check() -> None:
    """Raise if the work of this thread was cancelled."""
    require_wanted = _require_wanted.get()
    if require_wanted is not None:
        require_wanted()
