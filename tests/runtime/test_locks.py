"""Threads get the lock in the order in which they began to wait."""

import os
import signal
import threading
import time

import pytest

from bitseg.runtime.locks import FairLock
from tests.conftest import until


def test_Lock_goes_to_the_longest_waiter_not_back_to_its_last_holder():
    lock, order, threads = FairLock(), [], []

    def take(name):
        with lock:
            order.append(name)

    with lock:
        for place, name in enumerate(["first", "second", "third"]):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            until(lambda place=place: lock.waiting == place + 1)
    with lock:
        order.append("holder again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "third", "holder again"]


def test_Lock_is_reentrant_for_its_owner_only():
    lock, entered = FairLock(), threading.Event()

    def take():
        with lock:
            entered.set()

    with lock:
        with lock:
            thread = threading.Thread(target=take)
            thread.start()
            until(lambda: lock.waiting == 1)
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()


def test_Lock_excludes_other_threads_under_contention():
    lock, total, rounds = FairLock(), [0], 2_000

    def add():
        for _ in range(rounds):
            with lock, lock:
                before = total[0]
                time.sleep(0)
                total[0] = before + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total == [4 * rounds]
    assert lock.waiting == 0


@pytest.mark.slow
def test_Interrupted_wait_gives_up_its_place_in_the_queue():
    lock, taken, release = FairLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            until(lambda: lock.waiting == 1)
            os.kill(os.getpid(), signal.SIGINT)
            assert release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    with pytest.raises(KeyboardInterrupt), lock:
        pass
    assert lock.waiting == 0
    release.set()
    thread.join()
    with lock:
        pass


def test_Lock_that_is_broken_raises_in_everybody_who_takes_it():
    lock = FairLock()
    errors = []

    def take():
        try:
            with lock:
                errors.append(None)
        except RuntimeError as error:
            errors.append(error)

    with lock:
        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: lock.waiting == 3)
        lock.break_with(lambda: RuntimeError("half changed"))
        assert lock.is_broken
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == ["half changed"] * 3
    assert len(set(map(id, errors))) == 3
    with pytest.raises(RuntimeError, match="half changed"):
        lock.require_sound()
