"""Stopping work that nobody waits for any more, or that takes too long.

What takes long calls `check` now and then; whoever asked for it says with `interruptible` when that is to raise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_require_wanted: ContextVar[Callable[[], None] | None] = ContextVar("bitseg_interruption", default=None)


@contextmanager
def interruptible(require_wanted: Callable[[], None]) -> Iterator[None]:
    """What is done meanwhile, in this thread, ends with the error that `require_wanted` raises, if it does."""
    before = _require_wanted.set(require_wanted)
    try:
        yield
    finally:
        _require_wanted.reset(before)


def check() -> None:
    """Raise if what is being done is no longer wanted."""
    require_wanted = _require_wanted.get()
    if require_wanted is not None:
        require_wanted()
