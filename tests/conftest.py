"""Fixtures that several tests share."""

import sys
import time
from pathlib import Path

import pytest

from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.service.server import Server
from bitseg.service.settings import Settings

# 2024-01-31T12:00:00Z, a Wednesday.
NOW_MS = 1_706_702_400_000
COMMAND = Path(sys.executable).with_name("bitseg")


@pytest.fixture
def engine():
    """An empty workspace in memory, in UTC, at NOW_MS."""
    return Engine(clock=FixedClock(NOW_MS))


@pytest.fixture
def server(engine):
    """A server of `engine` on a free port."""
    server = Server(engine, Settings(address="127.0.0.1:0"))
    server.start()
    yield server
    server.stop(0)


def until(condition, seconds=10):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)
