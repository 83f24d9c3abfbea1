"""Every state that a power cut can leave opens with all acknowledged records, and with no record that never existed.

`BITSEG_CRASH_STATES` says how many states are tried.
"""

import os
import random
import shutil

import pytest

from bitseg.errors import DiskFullError
from bitseg.storage import frames
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.snapshot import Part
from bitseg.storage.store import Store
from tests.storage.disk import Disk

STATES = int(os.environ.get("BITSEG_CRASH_STATES", "400"))
STATES_OF_A_RUN = 20


class Acknowledged(int):
    """The number of acknowledged records."""


class History(tuple):
    """The written records; any prefix of them may survive that includes the acknowledged ones."""


def opened(path, policy=SyncPolicy.ALWAYS):
    """A store and its records; an empty directory gets a store first."""
    store, records = Store.open(path, policy), []
    if store is None:
        return Store.create(path, {}, state_of([]), policy, is_empty=True), records

    def replay(number, value):
        records.append(value)
        assert number == len(records)

    store.recover(lambda key, state, revision: records.extend(state), replay, lambda done, total: None)
    assert store.last_record == len(records)
    return store, records


def state_of(records, during=lambda: None):
    """Parts with the given records; `during` is called while they are written."""
    records = list(records)
    yield Part(("records",), len(records), lambda: records)
    during()


class Run:
    """A process that uses a store, with random choices."""

    def __init__(self, disk, path, random):
        self._disk, self._path, self._random = disk, path, random
        self._count = 0

    def go(self, steps):
        self._policy = self._random.choice([SyncPolicy.ALWAYS, SyncPolicy.ALWAYS, SyncPolicy.NEVER])
        self._disk.note(History())
        self._store, self._records = opened(self._path, self._policy)
        self._acknowledge(0)
        rare = [self.reopen, self.withdraw, self.append_without_room, self.append_interrupted]
        ways = [self.append] * 8 + [self.snapshot] * 3 + rare
        for _ in range(steps):
            self._random.choice(ways)()
        self._store.close()

    def append(self):
        """A few records; the policy decides whether the last one is acknowledged."""
        for _ in range(self._random.choice([1, 1, 1, 3])):
            self._written(self._payload())
        if self._random.random() < 0.6:
            if self._policy is SyncPolicy.NEVER:
                self._store.flush()
            else:
                self._store.sync(len(self._records))
            self._acknowledge(len(self._records))

    def snapshot(self):
        """A snapshot during which records are appended."""
        version, cut = len(self._records), self._store.cut()
        parts = state_of(self._records, self.append if self._random.random() < 0.7 else lambda: None)
        self._store.publish(cut, parts, version=version, purge=self._random.random() < 0.5)

    def reopen(self):
        """A restart of the process, without a power cut."""
        if self._random.random() < 0.5:
            self._store.close()
            self._acknowledge(len(self._records))
        else:
            # Killed, so that nothing is flushed; the lock goes with the process.
            self._store._directory.close()
        self._store, records = opened(self._path, self._policy)
        assert records == self._records

    def withdraw(self):
        payload = self._payload()
        self._written(payload)
        self._store.withdraw(payload)
        self._records.pop()
        self._disk.note(History(self._records))
        self.reopen()

    def append_without_room(self):
        payload = self._payload()
        self._disk.note(History([*self._records, frames.unpack(payload)]))
        self._disk.room = self._random.choice([0, 10, 100, 600])
        try:
            self._store.append(payload)
            self._records.append(frames.unpack(payload))
        except DiskFullError:
            self._disk.note(History(self._records))
        finally:
            self._disk.room = None

    def append_interrupted(self):
        """Ctrl-C after the write, so that a record of the same size is written in the same place."""
        size = self._random.choice([5, 600])
        payload = self._payload(size)
        self._disk.note(History([*self._records, frames.unpack(payload)]))
        self._disk.is_interrupted = True
        with pytest.raises(KeyboardInterrupt):
            self._store.append(payload)
        self._disk.note(History(self._records))
        self._written(self._payload(size))
        self._written(self._payload())

    def _payload(self, size=None):
        self._count += 1
        size = size or self._random.choice([5, 40, 300, 1_200, 4_000])
        return frames.pack([f"{self._count:05}", self._random.randbytes(size)])

    def _written(self, payload):
        self._disk.note(History([*self._records, frames.unpack(payload)]))
        assert self._store.append(payload) == len(self._records) + 1
        self._records.append(frames.unpack(payload))

    def _acknowledge(self, count):
        self._disk.note(Acknowledged(count))


def promised(disk, moment):
    """The number of records acknowledged before a moment, and all written ones; None without a workspace."""
    acknowledged, history = None, ()
    for operation in disk.operations[:moment]:
        if isinstance(operation, Acknowledged):
            acknowledged = max(int(operation), acknowledged or 0)
        elif isinstance(operation, History):
            history = operation
    return acknowledged, list(history)


def check(path, acknowledged, history):
    """Open the state after a power cut and append to it; the records, and the number of acknowledged ones."""
    if acknowledged is None:
        # The first call never returned.
        store, records = opened(path)
    else:
        assert (path / "manifest").exists()
        store, records = opened(path)
        assert len(records) >= acknowledged
    assert records == history[: len(records)]
    later = ["later", len(records)]
    store.sync(store.append(frames.pack(later)))
    store.close()
    return [*records, later]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Without real fsyncs, to save time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return tmp_path


@pytest.mark.parametrize("seed", range(-(-STATES // STATES_OF_A_RUN)))
def test_Every_state_after_a_power_cut_opens_with_the_acknowledged_records(folder, seed):
    source = random.Random(seed)
    disk = Disk(folder / "disk")
    (folder / "disk").mkdir()
    with disk.recording():
        Run(disk, folder / "disk" / "data", source).go(source.randint(3, 25))
    for number in range(STATES_OF_A_RUN):
        moment = source.randint(0, len(disk.operations))
        acknowledged, history = promised(disk, moment)
        state = folder / f"state{number}"
        disk.power_cut(moment, state, source)
        copy, again = folder / "copy", Disk(state)
        shutil.copytree(state, copy)
        records = check(copy / "data", acknowledged, history)
        shutil.rmtree(copy)
        # The same with another power cut, during the recovery or afterwards.
        with again.recording():
            assert check(state / "data", acknowledged, history) == records
            again.note(Acknowledged(len(records)))
        moment = source.randint(0, len(again.operations))
        again.power_cut(moment, copy, source)
        is_recovered = moment == len(again.operations)
        check(copy / "data", len(records) - (not is_recovered) if acknowledged is not None else None, records)
        shutil.rmtree(copy)
        shutil.rmtree(state)
