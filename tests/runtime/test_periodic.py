"""The thread calls its work regularly, whatever the work raises."""

import logging
import threading
import time
from itertools import pairwise

import pytest

from bitseg.runtime.periodic import PeriodicThread
from tests.conftest import until

LOG = logging.getLogger("bitseg.test")


@pytest.fixture
def started():
    """Starts periodic threads and stops them after the test."""
    threads = []

    def start(work, interval_seconds=0.001, retry_seconds=0.001, **options):
        thread = PeriodicThread("test", work, interval_seconds, retry_seconds=retry_seconds, log=LOG, **options)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.stop()


def test_Work_is_called_regularly(started):
    calls = []
    started(lambda: calls.append(None))
    until(lambda: len(calls) >= 5)


def test_Wake_calls_at_once_and_stop_ends_at_once(started):
    calls = []
    thread = started(lambda: calls.append(None), interval_seconds=3_600)
    time.sleep(0.05)
    assert calls == []
    thread.wake()
    until(lambda: len(calls) == 1)
    before = time.monotonic()
    thread.stop()
    thread.stop()
    assert time.monotonic() - before < 5
    thread.wake()
    assert calls == [None]


def test_Wake_during_the_work_calls_it_once_more(started):
    calls, entered, go_on = [], threading.Event(), threading.Event()

    def work():
        calls.append(None)
        entered.set()
        assert go_on.wait(30)

    thread = started(work, interval_seconds=3_600)
    thread.wake()
    assert entered.wait(30)
    thread.wake()
    go_on.set()
    until(lambda: len(calls) == 2)


def test_Stop_waits_for_the_current_call(started):
    entered, done = threading.Event(), []

    def work():
        entered.set()
        time.sleep(0.1)
        done.append(None)

    thread = started(work)
    assert entered.wait(30)
    thread.stop()
    assert len(done) == 1


@pytest.mark.parametrize("error", [TypeError("a bug"), MemoryError(), AssertionError("never"), OSError("disk")])
def test_Error_does_not_end_the_thread(started, error):
    calls = []

    def work():
        calls.append(None)
        if len(calls) <= 3:
            raise error

    thread = started(work)
    until(lambda: len(calls) >= 6)
    assert thread.failures == 3


def test_Bug_is_logged_with_its_traceback_once_per_kind(started, caplog):
    calls = []

    def work():
        calls.append(None)
        if len(calls) in (1, 2, 4):
            raise TypeError("one\nplace")
        if len(calls) == 3:
            raise TypeError("another place")

    started(work)
    until(lambda: len(calls) >= 5)
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True, False]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert "a test failed and will be tried again; this is a bug of bitseg: TypeError" in caplog.records[0].message


def test_Expected_error_is_a_warning_without_traceback(started, caplog):
    calls = []

    def work():
        calls.append(None)
        if len(calls) == 1:
            raise FileNotFoundError("no room")

    thread = started(work, expected=(OSError,))
    until(lambda: len(calls) >= 2)
    assert thread.failures == 1
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert record.message == "a test failed and will be tried again: no room"


def test_Failures_back_off_and_a_wake_does_not_shorten_the_wait(started):
    times = []

    def work():
        times.append(time.monotonic())
        raise ValueError

    thread = started(work, retry_seconds=0.05)
    while len(times) < 4:
        thread.wake()
        time.sleep(0.001)
    waits = [later - before for before, later in pairwise(times)]
    assert waits[0] >= 0.05
    assert waits[1] >= 0.1
    assert waits[2] >= 0.2


def test_Stop_ends_a_long_wait_after_a_failure(started):
    def work():
        raise ValueError

    thread = started(work, retry_seconds=3_600)
    until(lambda: thread.failures == 1)
    before = time.monotonic()
    thread.stop()
    assert time.monotonic() - before < 5
