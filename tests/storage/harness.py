"""A store of plain records, an engine in a directory, and faults for both."""

import os
import shutil

from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.operations import Identify, Track
from bitseg.storage import frames, journal_format
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.snapshot import Part
from bitseg.storage.store import Store
from tests.conftest import NOW_MS

CLOCK = FixedClock(NOW_MS)


class Records:
    """A store whose records are plain values, and its records; opened as an engine opens one."""

    def __init__(self, path, policy=SyncPolicy.ALWAYS):
        self.values = []
        self.recovered = None
        store = Store.open(path, policy)
        if store is None:
            self.store = Store.create(path, {}, self.parts(), policy, is_empty=True)
            return
        self.store = store
        try:
            self.recovered = store.recover(
                lambda key, state, revision: self.values.extend(state),
                lambda number, value: self.values.append(value),
                lambda done, total: None,
            )
        except BaseException:
            store.abandon()
            raise

    def add(self, value, *, is_synced=True):
        """Append a record and wait until it is acknowledged."""
        number = self.store.append(frames.pack(value))
        self.values.append(value)
        if is_synced:
            self.store.sync(number)
        return number

    def parts(self):
        """The parts of a snapshot of the current records."""
        values = list(self.values)
        return [Part(("records",), len(values), lambda: values)]

    def snapshot(self):
        """Take a snapshot of all records."""
        self.store.publish(self.store.cut(), self.parts(), purge=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.store.abandon()


def records_in(path):
    """The records that a store reads from a directory."""
    with Records(path) as opened:
        return opened.values


def journals(path):
    """The files of a journal, oldest first."""
    return [file for _, file in journal_format.numbered(path)]


def frame_offsets(path):
    """The offsets of the record frames in a journal file, and the end of the last one."""
    data, offsets = path.read_bytes(), []
    place = frames.MAGIC_BYTES
    with path.open("rb") as file:
        place += frames.HEADER_BYTES + len(frames.read(file, place, len(data)))
    while place < len(data):
        offsets.append(place)
        place += journal_format.HEADER_BYTES + int.from_bytes(data[place + 8 : place + 12], "little")
    return [*offsets, place]


def opened(path, clock=CLOCK, **options):
    """An engine in a directory, without default segments."""
    return Engine.open(path, clock=clock, default_segments=False, **options)


def crash(path, copy, clock=CLOCK):
    """Opens the directory as another process would after a kill at this moment."""
    shutil.copytree(path, copy)
    return opened(copy, clock)


def track(user, number=0, message_id=None, **more):
    """An event of a user."""
    return Track(user, "E", {"n": number, **more}, NOW_MS, message_id)


def batches(engine, count=6):
    """Records of every kind: some batches, a segment and a list."""
    for number in range(count):
        engine.ingest([Identify(f"u{number}", {"a": "x" * 40}, NOW_MS), track(f"u{number}", number)])
    engine.catalog.save_segment("s", 'did "E"')
    engine.catalog.save_list("l", ["u1", "u2"])


def users(engine):
    """All users, in the order of their dense ids."""
    return [user for page in engine.members("everyone").pages for user in page]


class RefusingOs:
    """Replaces `os` in a module: the calls in `failing` raise the error with that number."""

    def __init__(self):
        self.failing = {}

    def __getattr__(self, name):
        real = getattr(os, name)

        def call(*arguments):
            if name in self.failing:
                raise OSError(self.failing[name], os.strerror(self.failing[name]))
            return real(*arguments)

        return call if name in ("write", "fsync", "ftruncate") else real
