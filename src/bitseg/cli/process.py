"""Settings of the whole process, which a command may change and a library may not."""

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH_SECONDS = 0.0005
_COLLECT_EVERY = 1_000_000
# The value in glibc's malloc.h.
_M_ARENA_MAX = -8
_HEAPS = 2


def switch_threads_often() -> None:
    """Let a thread wait for the interpreter at most half a millisecond while another thread computes."""
    sys.setswitchinterval(_SWITCH_SECONDS)


def share_heaps() -> None:
    """Let all threads allocate from few heaps, because every heap retains the memory of its largest answers."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _HEAPS)


def raise_file_limit() -> None:
    """Allow as many open files, and so connections, as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect reference cycles only once in a million objects: an import makes many objects but no cycles."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
