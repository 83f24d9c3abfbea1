"""A real server, killed at random moments under ingest, snapshots and queries: what it acknowledged is there, once.

`make crash` runs many rounds; each goes on with the directory that the kill before left.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import pytest

from bitseg.client import Client
from bitseg.engine import Engine
from bitseg.errors import BitsegError
from bitseg.operations import Identify, Track
from tests.conftest import COMMAND

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("BITSEG_CRASH_ROUNDS", "10"))
LONGEST_LIFE_SECONDS = 1.2


@dataclass
class Acknowledged:
    """What the clients of all rounds were told."""

    last: dict[str, int] = field(default_factory=dict)
    messages: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    segments: int = 0
    snapshots: int = 0
    counts: int = 0


def started(data):
    process = subprocess.Popen(
        [COMMAND, "serve", "--data", data, "--listen", "127.0.0.1:0", "--snapshot-mib", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("serving"):
            return process, line.split(" on ")[1].split(";")[0]
    raise AssertionError(f"the server ended with {process.wait()}")


def batch(name, sequence):
    now_ms = int(time.time() * 1000)
    users = [f"{name}-{(sequence * 7 + number) % 40}" for number in range(sequence % 5 + 1)]
    operations = [Track(user, name, {"batch": sequence, "text": f"t{sequence}"}, now_ms) for user in users]
    return [*operations, Identify(users[0], {"last": sequence}, now_ms)]


def produce(address, name, known):
    with Client(address) as client, client.producer(name, retry_seconds=0) as producer:
        while True:
            sequence = producer.last_sequence + 1
            known.last[name] = producer.last_sequence
            producer.ingest(batch(name, sequence))
            known.last[name] = sequence


def send_messages(address, known, source):
    with Client(address, timeout_seconds=20) as client:
        while True:
            messages = [f"m{source.random()}" for _ in range(source.randint(1, 200))]
            # Some are sent again, whether they were acknowledged or not.
            messages += source.sample(sorted(known.tried), min(len(known.tried), 5))
            known.tried.update(messages)
            now_ms = int(time.time() * 1000)
            client.ingest([Track("sender", "Sent", {"id": each}, now_ms, each) for each in messages])
            known.messages.update(messages)


def take_snapshots(address, known, source):
    with Client(address, timeout_seconds=20) as client:
        while True:
            time.sleep(source.random() * 0.2)
            client.snapshot()
            known.snapshots += 1


def count(address, known):
    with Client(address, timeout_seconds=20) as client:
        while True:
            client.count('did "p0" at least 3 times in last 30 days or last > 10')
            client.count('did "Sent" in last 2 days')
            known.counts += 1


def until_killed(work, *arguments):
    def run():
        # The kill ends every call, and a channel that is closed says so by a ValueError.
        with suppress(BitsegError, grpc.RpcError, ValueError):
            work(*arguments)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def check(data, known):
    """The directory against what was acknowledged."""
    with Engine.open(data, create=False) as engine:
        assert engine.verify() == []
        found = {}
        for event, _, blocks in engine.tables():
            rows = Counter()
            for block in blocks:
                column = block.values.get("id" if event == "Sent" else "batch")
                if event == "Sent":
                    rows.update(column.entries[code] for code in column.data)
                elif event is not None:
                    rows.update(column.data.astype(int).tolist())
            found[event] = rows
        for name, last in known.last.items():
            kept = engine.last_sequence(name)
            # At most the one batch under way was kept without being acknowledged.
            assert last <= kept <= last + 1
            assert found.get(name, {}) == {sequence: sequence % 5 + 1 for sequence in range(1, kept + 1)}
        sent = found.get("Sent", Counter())
        assert set(sent.values()) <= {1}
        assert known.messages <= sent.keys() <= known.tried
        for name, last in known.last.items():
            doers = {f"{name}-{(last * 7 + number) % 40}" for number in range(last % 5 + 1)} if last else set()
            assert engine.count(f'did "{name}" where batch = {last}').count == len(doers)
        return engine.recovered


@pytest.mark.parametrize("seed", [int(os.environ.get("BITSEG_CRASH_SEED", "1"))])
def test_Killed_server_keeps_every_acknowledged_batch_exactly_once(tmp_path, seed):
    source, known, data = random.Random(seed), Acknowledged(), tmp_path / "data"
    Engine.create(data).close()
    replayed = 0
    for round_number in range(ROUNDS):
        if round_number % 7 == 6:
            # Killed while it starts.
            process = subprocess.Popen(
                [COMMAND, "serve", "--data", data, "--listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL
            )
            time.sleep(source.random() * 1.5)
            process.kill()
            process.wait()
        process, address = started(data)
        threads = [
            *(until_killed(produce, address, f"p{number}", known) for number in range(2)),
            until_killed(send_messages, address, known, source),
            until_killed(take_snapshots, address, known, random.Random(source.random())),
            until_killed(count, address, known),
        ]
        time.sleep(source.random() * LONGEST_LIFE_SECONDS)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        recovered = check(data, known)
        replayed += recovered.records
    assert min(known.last.values()) > ROUNDS
    assert len(known.messages) > ROUNDS
    assert replayed > ROUNDS
    assert known.counts > 0
    print(f"{ROUNDS} rounds: batches {known.last}, {len(known.messages)} messages, {replayed} records done again")
