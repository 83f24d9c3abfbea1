"""Ctrl-C, as the system sends it, to a process that writes in its main thread."""

import subprocess
import sys

import pytest

WRITER = """
import faulthandler, os, random, shutil, signal, sys, threading, time
from bitseg import Engine, Identify, Track
from bitseg.clock import FixedClock
from bitseg.storage.journal import SyncPolicy

faulthandler.dump_traceback_later(50, exit=True)
now_ms, path, stop = 1_706_702_400_000, sys.argv[1], threading.Event()
clock = FixedClock(now_ms)
engine = Engine.create(path, clock=clock, sync=SyncPolicy.NEVER, snapshot_after_bytes=50_000)

def others():
    while not stop.is_set():
        engine.count('did "E" where n > 5')
        engine.ingest([Track("other", "Other", {}, now_ms)])

def interrupt():
    source = random.Random(1)
    for _ in range(500):
        time.sleep(source.random() * 0.004)
        os.kill(os.getpid(), signal.SIGINT)
    stop.set()

interrupts, batches = 0, 0
threads = [threading.Thread(target=each) for each in (others, others, interrupt)]
signal.signal(signal.SIGINT, signal.SIG_IGN)
for thread in threads:
    thread.start()
signal.signal(signal.SIGINT, signal.default_int_handler)
while not stop.is_set():
    try:
        while not stop.is_set():
            batches += 1
            user = f"u{batches % 50}"
            engine.ingest([Track(user, "E", {"n": batches % 10}, now_ms), Identify(user, {"a": batches}, now_ms)])
    except KeyboardInterrupt:
        interrupts += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
for thread in threads:
    thread.join()

def content(each):
    users = sorted(user for page in each.members("everyone").pages for user in page)
    return each.version, each.event_count, each.verify(), [each.user(user) for user in users]

expected = content(engine)
shutil.copytree(path, path + "-crashed", ignore=shutil.ignore_patterns("lock"))
engine.close()
for each in (path, path + "-crashed"):
    with Engine.open(each, clock=clock) as again:
        assert content(again) == expected
assert interrupts > 50, interrupts
assert not expected[2]
"""


@pytest.mark.slow
def test_Interrupted_writer_keeps_no_lock_and_what_it_wrote_is_recovered(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
