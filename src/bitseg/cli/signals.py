"""Stopping in an orderly way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set, instead of ending the process where it is."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let what is under way finish before Ctrl-C is heeded, which then raises KeyboardInterrupt."""
    interrupted = False

    def note(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
