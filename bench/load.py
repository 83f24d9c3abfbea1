"""A closed-loop load test: clients that call a real server over sockets, each its next call when the last has ended.

Usage: python load.py [--seconds 300] [--users 1000000] [--clients 1,4,16,64] [--json FILE]

Makes a workspace, serves it with `bitseg serve`, and calls it by a mix of counts, evaluations, streams of members and
ingest, in stages of more and more clients. Prints throughput, latencies and errors of each stage, and what the server
takes: its resident memory beyond the users and events that the load itself adds should stay as it was after the first
tenth of the time. Ends with status 1 where there was any error, or the memory grew.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import grpc
import grpc.aio
import numpy as np

from bitseg.client import Client
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.pb import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.strings import StringArray
from bitseg.values import Column, ValueType

DAY_MS = 86_400_000
PLANS = ["free", "silver", "gold", "platinum"]
COUNTRIES = ["US", "GB", "DE", "FR", "ES", "IN", "BR", "JP"]
EVENTS = ["Page Viewed", "Added To Cart", "Charged"]
QUERIES = [
    'plan = "gold"',
    'plan = "platinum" and country = "US"',
    "age between 18 and 35",
    'country in ("DE", "FR", "ES") and not plan = "free"',
    'did "Charged" in last 7 days',
    'did "Page Viewed" in last 30 days and did not "Page Viewed" in last 7 days',
    'did "Added To Cart" in last 3 days and did not "Charged" in last 3 days',
    'did "Charged" at least 2 times in last 30 days',
    'did "Charged" with sum(amount) > 200 in last 30 days',
    'plan = "gold" and age >= 40 and did "Charged" in last 14 days',
]
# Some hundreds to some tens of thousands of members in a million.
STREAMED = ['plan = "platinum" and country = "JP" and age < 30', 'country = "BR" and age = 44']
# Of a hundred calls.
MIX = {"Count": 82, "Evaluate": 4, "StreamMembers": 4, "IngestBatch": 10}
# A process of clients for so many of them, so that they do not wait for each other's interpreter.
CLIENTS_A_PROCESS = 32
# What the memory may grow by, beyond what the data take: a share, and for what does not depend on the data.
GROWTH_SHARE, GROWTH_BYTES = 0.05, 24 * 2**20


def make_workspace(folder: Path, users: int) -> None:
    """Users with three attributes, and five events each over 30 days."""
    source = np.random.default_rng(1)
    ids = StringArray.of([f"user-{number:08}" for number in range(users)])
    now_ms = time.time_ns() // 1_000_000
    attributes = {
        "plan": Column(ValueType.STRING, source.choice(4, users, p=[0.7, 0.2, 0.08, 0.02]).astype(np.uint32), PLANS),
        "country": Column(ValueType.STRING, source.integers(0, 8, users).astype(np.uint32), COUNTRIES),
        "age": Column(ValueType.NUMBER, source.integers(16, 80, users).astype(np.float64)),
    }
    with Engine.open(folder) as engine:
        engine.ingest_columns(Columns(None, ids, np.full(users, now_ms), attributes, np.arange(users)))
        for event in EVENTS:
            rows = users * 5 // 3
            amounts = Column(ValueType.NUMBER, np.round(source.lognormal(4, 1, rows), 2))
            who = StringArray.of([f"user-{number:08}" for number in source.integers(0, users, rows).tolist()])
            times = now_ms - source.integers(0, 30 * DAY_MS, rows)
            engine.ingest_columns(Columns(event, who, times, {"amount": amounts}, np.arange(rows)))


class Server:
    """`bitseg serve` in a process of its own, and the resident memory it takes over time."""

    def __init__(self, folder: Path) -> None:
        command = [str(Path(sys.executable).with_name("bitseg")), "serve", "--data", str(folder)]
        self._process = subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        for line in self._process.stderr:
            self.lines.append(line)
            if line.startswith("serving"):
                self.address = re.search(r" on (\S+);", line)[1]
                break
        else:
            raise SystemExit("".join(self.lines))
        self.resident: list[tuple[float, int]] = []
        self._stopped = threading.Event()
        for work in (self._watch, self._read):
            threading.Thread(target=work, daemon=True).start()

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            self.resident.append((time.monotonic(), int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024))

    def _read(self) -> None:
        self.lines += self._process.stderr

    def stop(self) -> int:
        self._stopped.set()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)


async def one_client(address: str, users: int, ends_at: float, seed: int, taken: dict, errors: Counter) -> None:
    """Call after call, until the time is over."""
    source = random.Random(seed)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        query, ingest = query_pb2_grpc.QueryServiceStub(channel), ingest_pb2_grpc.IngestServiceStub(channel)
        kinds = [kind for kind, weight in MIX.items() for _ in range(weight)]
        while time.monotonic() < ends_at:
            kind = source.choice(kinds)
            started = time.perf_counter()
            try:
                if kind == "Count":
                    await query.Count(query_pb2.CountRequest(expression=source.choice(QUERIES)))
                elif kind == "Evaluate":
                    request = query_pb2.EvaluateRequest(expression=source.choice(QUERIES), sample_size=20)
                    await query.Evaluate(request)
                elif kind == "IngestBatch":
                    answer = await ingest.IngestBatch(batch(source, users))
                    assert answer.accepted == 20
                else:
                    request = query_pb2.StreamMembersRequest(expression=source.choice(STREAMED), page_size=1_000)
                    total = seen = 0
                    async for page in query.StreamMembers(request):
                        seen, total = seen + len(page.user_ids), page.total
                    assert seen == total
            except (grpc.RpcError, AssertionError) as error:
                errors[f"{kind}: {error.code().name if isinstance(error, grpc.RpcError) else error!r}"] += 1
            taken[kind].append(time.perf_counter() - started)


def batch(source: random.Random, users: int) -> ingest_pb2.IngestBatchRequest:
    """Ten changes of attributes and ten events of random users."""
    request = ingest_pb2.IngestBatchRequest()
    for _ in range(10):
        user_id = f"user-{source.randrange(users):08}"
        identify = request.operations.add().identify
        identify.user_id = user_id
        identify.traits.update({"plan": source.choice(PLANS), "age": source.randrange(16, 80)})
        track = request.operations.add().track
        track.user_id, track.event = user_id, source.choice(EVENTS)
        track.properties.update({"amount": source.randrange(100)})
    return request


def clients(address: str, users: int, count: int, seconds: float, seed: int) -> tuple[dict, Counter]:
    """So many clients in this process; the seconds of their calls by kind, and their errors."""
    taken, errors = defaultdict(list), Counter()

    async def run() -> None:
        ends_at = time.monotonic() + seconds
        await asyncio.gather(
            *(one_client(address, users, ends_at, seed * 1_000 + each, taken, errors) for each in range(count))
        )

    asyncio.run(run())
    return {kind: np.array(values) for kind, values in taken.items()}, errors


def stage(address: str, users: int, count: int, seconds: float) -> dict:
    """What came of so many clients at once."""
    parts = [min(CLIENTS_A_PROCESS, count - start) for start in range(0, count, CLIENTS_A_PROCESS)]
    with multiprocessing.get_context("spawn").Pool(len(parts)) as pool:
        work = [(address, users, part, seconds, count * 100 + place) for place, part in enumerate(parts)]
        found = pool.starmap(clients, work)
    taken = defaultdict(list)
    for by_kind, _ in found:
        for kind, values in by_kind.items():
            taken[kind].append(values)
    taken = {kind: np.concatenate(values) for kind, values in taken.items()}
    whole = np.concatenate(list(taken.values()))
    return {
        "clients": count,
        "calls": len(whole),
        "calls_per_second": round(len(whole) / seconds, 1),
        "errors": dict(sum((errors for _, errors in found), Counter())),
        "milliseconds": {
            kind: {
                name: round(float(np.quantile(values, rank)) * 1000, 2)
                for name, rank in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
            }
            for kind, values in {"all": whole, **taken}.items()
        },
    }


def measure(users: int, seconds: float, counts: list[int]) -> dict:
    with tempfile.TemporaryDirectory(prefix="bitseg-load-") as folder:
        make_workspace(Path(folder), users)
        server = Server(Path(folder))
        with Client(server.address) as client:
            # As many at once as there will ever be.
            stage(server.address, users, max(counts), seconds / 10)
            before, started = client.statistics(), time.monotonic()
            stages = [stage(server.address, users, count, seconds / len(counts)) for count in counts]
            after = client.statistics()
        code = server.stop()
    resident = np.array([size for at, size in server.resident if at >= started])
    first, last = (
        float(np.median(part)) for part in (resident[: len(resident) // 10 + 1], resident[-len(resident) // 10 :])
    )

    def data_bytes(found) -> int:
        return found.event_bytes + found.attribute_bytes + found.user_bytes + found.materialised_bytes

    added = data_bytes(after) - data_bytes(before)
    return {
        "users": users,
        "events": after.events,
        "seconds": seconds,
        "stages": stages,
        "resident_bytes_after_warm_up": round(first),
        "resident_bytes_at_the_end": round(last),
        "bytes_of_data_added": added,
        # About every fiftieth of the time.
        "resident_mib": [round(size / 2**20) for size in resident[:: max(len(resident) // 50, 1)].tolist()],
        "bytes_grown_beyond_data": round(last - first - added),
        "server_exit_status": code,
        "server_log": [line for line in server.lines if " error " in line or "Traceback" in line],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--clients", default="1,4,16,64")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.users, options.seconds, [int(each) for each in options.clients.split(",")])
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for each in found["stages"]:
        print(f"{each['clients']} clients: {each['calls_per_second']:,} calls/s, errors {each['errors'] or 'none'}")
        for kind, ranks in each["milliseconds"].items():
            print(f"  {kind:14} " + "  ".join(f"{name} {value:9,.2f} ms" for name, value in ranks.items()))
    first, last = found["resident_bytes_after_warm_up"] / 2**20, found["resident_bytes_at_the_end"] / 2**20
    print(
        f"resident memory {first:,.0f} MiB after warm-up, {last:,.0f} MiB at the end, with "
        f"{found['bytes_of_data_added'] / 2**20:,.0f} MiB of data that the load added"
    )
    failed = any(each["errors"] for each in found["stages"]) or found["server_exit_status"] or found["server_log"]
    allowed = GROWTH_SHARE * found["resident_bytes_after_warm_up"] + GROWTH_BYTES
    if failed or found["bytes_grown_beyond_data"] > allowed:
        sys.exit("there were errors, or the memory grew")


if __name__ == "__main__":
    main()
