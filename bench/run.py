"""The benchmark: bitseg and what else would answer the same segments, on the same data, one after the other.

    python bench/run.py [--users N] [--peers duckdb,clickhouse,redis] [--output results.json]

Answers of all engines must be equal. Prints a table and writes the results with machine and versions.
"""

import argparse
import gc
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

import data
import durability
import grpc_load
from bitseg.cli.process import collecting_seldom
from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.formats.base import ColumnMapping
from bitseg.formats.jsonl import read_jsonl
from bitseg.formats.load import RejectsFile, load
from bitseg.formats.parquet import read_parquet
from bitseg.pb import query_pb2
from queries import QUERIES, Query

COLD_ROUNDS, WARM_ROUNDS, RPC_ROUNDS = 15, 1_000, 500
SECONDS_A_PEER = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=int(os.environ.get("BENCH_USERS", "10000000")))
    parser.add_argument("--peers", default="duckdb,clickhouse,redis")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    files = data.prepare(options.users)
    results: dict[str, object] = {"users": files.users, "events": files.events, "machine": machine()}
    results["bitseg"] = measure_bitseg(files)
    results["peers"] = measure_peers(files, options.peers.split(","), results["bitseg"]["queries"])
    results["growth"] = measure_growth(files, results["bitseg"]["queries"])
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)
    print(f"\nwritten to {options.output}")


def machine() -> dict[str, object]:
    """What the figures were measured on, and with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    packages = ("bitseg", "pyroaring", "numpy", "grpcio", "protobuf", "duckdb", "chdb", "redis", "bitmapist")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, 99th percentile and least, in milliseconds."""
    return {
        "p50_ms": float(np.median(seconds)) * 1e3,
        "p99_ms": float(np.percentile(seconds, 99)) * 1e3,
        "min_ms": min(seconds) * 1e3,
    }


def imported(files: data.Data, results: dict[str, object]) -> Engine:
    engine = Engine(clock=FixedClock(data.NOW_MS), materialised_bytes=2**31)
    no_uid = frozenset({"uid"})
    mappings = {
        "users": (files.users_file, ColumnMapping("user_id", ignored=no_uid)),
        "events": (
            files.events_file,
            ColumnMapping("user_id", event_column="event", time_column="time", ignored=no_uid),
        ),
    }
    for name, (path, mapping) in mappings.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            RejectsFile(Path(folder, "rejects")) as rejects,
            collecting_seldom(),
        ):
            batches = read_parquet(path, mapping, engine.calendar, data.NOW_MS)
            started = time.perf_counter()
            account = load(batches, engine, rejects, lambda done, account: None)
            seconds = time.perf_counter() - started
        assert account.accepted == getattr(files, name)
        results[f"{name}_per_second"] = account.accepted / seconds
        say(f"imported {account.accepted:,} {name} in {seconds:.1f} s")
    results["prepare_seconds"] = timed(engine.prepare)
    return engine


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure_bitseg(files: data.Data) -> dict[str, object]:
    before = resident_bytes()
    load_results: dict[str, object] = {}
    engine = imported(files, load_results)
    found: dict[str, object] = {"load": load_results, "memory": memory(engine, resident_bytes() - before)}
    found["queries"] = queries = {query.name: measure_query(engine, query) for query in QUERIES}
    found["jsonl_events_per_second"] = measure_jsonl(files.users)
    gc.freeze()
    with grpc_load.served(engine) as address:
        measure_grpc(address, files.users, queries, found)
    with grpc_load.served(Engine(clock=FixedClock(data.NOW_MS))) as address:
        rate = grpc_load.in_process_of_its_own(grpc_load.columns_rate, address, files.users, 20)
        found["columnar_grpc_events_per_second"] = rate
        say(f"columnar gRPC {rate:,.0f} events/s")
    found["restart"] = measure_restart(engine, files.users)
    return found


def memory(engine: Engine, resident: int) -> dict[str, float]:
    index, statistics = engine._shard.state.index, engine.statistics()
    ids = files_id_bytes(engine)
    per_event = {name: event.size_bytes / event.total for name, event in index.events.items()}
    return {
        "resident_bytes": resident,
        "bytes_a_user_beyond_the_id": (statistics.user_bytes - ids) / engine.user_count,
        "bytes_an_event": statistics.event_bytes / engine.event_count,
        **{f"bytes_an_event: {name}": size for name, size in per_event.items()},
        "attribute_bytes_a_user": statistics.attribute_bytes / engine.user_count,
    }


def files_id_bytes(engine: Engine) -> int:
    return sum(map(len, engine._shard.state.index.users.external(np.arange(1_000)))) * engine.user_count // 1_000


def measure_query(engine: Engine, query: Query) -> dict[str, object]:
    """Cold, with nothing materialised, and warm: conditions are kept, the tree is evaluated each time."""
    cold = []
    for _ in range(COLD_ROUNDS):
        engine.forget_materialised()
        cold.append(timed(lambda: engine.count(query.text)))
    count = engine.count(query.text).count
    warm = [timed(lambda: engine.count(query.text)) for _ in range(WARM_ROUNDS)]
    result = {"kind": query.kind, "count": count, "cold": summary(cold), "warm": summary(warm)}
    say(f"{query.name:28} {count:10,} cold {result['cold']['p50_ms']:.2f} ms, warm {result['warm']['p50_ms']:.3f} ms")
    return result


def measure_grpc(address: str, users: int, queries: dict[str, dict], found: dict[str, object]) -> None:
    texts = {query.name: query.text for query in QUERIES}
    every = grpc_load.in_process_of_its_own(grpc_load.count_latencies, address, list(texts.values()), RPC_ROUNDS)
    found["empty_rpc"] = summary(every[""])
    for name, text in texts.items():
        queries[name]["grpc"] = summary(every[text])
    found["batch_counts_per_second"] = grpc_load.in_process_of_its_own(
        grpc_load.batch_rate, address, batch_segments(), 200
    )
    found["stream"] = {
        "external_ids_per_second": grpc_load.in_process_of_its_own(
            grpc_load.stream_rate, address, "value < 250.5", query_pb2.ID_KIND_EXTERNAL, 20_000
        ),
        "dense_ids_per_second": grpc_load.in_process_of_its_own(
            grpc_load.stream_rate, address, "value < 250.5", query_pb2.ID_KIND_DENSE, 100_000
        ),
    }
    say(f"batch {found['batch_counts_per_second']:,.0f} counts/s, stream {found['stream']}")
    short = [texts["one attribute"], texts["abandoned cart"], texts["three attributes"]]
    beside = grpc_load.beside_load(address, users, short, 20.0)
    found["beside_load"] = {**beside, "latencies": summary(beside["latencies"]), "counts": len(beside["latencies"])}
    say(f"beside load {found['beside_load']}")


def batch_segments() -> list[str]:
    """A hundred segments as a console or a scheduler asks for them: one to three conditions each."""
    attributes = [f'{name} = "{value}"' for name, values in data.TEXTS.items() for value in values[:5]]
    windows = [f'did "{event}" in last {days} days' for event in list(data.EVENTS)[:5] for days in (1, 7, 30)]
    segments = attributes[:15] + windows
    segments += [f"{attribute} and {window}" for attribute in attributes[:5] for window in windows[:10]]
    segments += [
        f"{one} and {other} and not {windows[0]}" for one, other in zip(attributes, attributes[5:], strict=False)
    ]
    return (segments + [f"value < {10 * number}" for number in range(100)])[:100]


def measure_jsonl(users: int, lines: int = 500_000) -> float:
    """Events a second from JSONL as services write it, message ids and all."""
    source = np.random.default_rng(3)
    moments = np.sort(source.integers(data.NOW_MS - data.DAY_MS, data.NOW_MS, lines))
    texts = np.datetime_as_string(moments.astype("datetime64[ms]"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.jsonl")
        with path.open("w") as file:
            for number, (user, time_text) in enumerate(zip(source.integers(0, users, lines), texts, strict=True)):
                file.write(
                    f'{{"type":"track","userId":"u-{user:09d}","event":"Purchased","properties":'
                    f'{{"amount":{user % 10_000 / 100},"category":"TV"}},"timestamp":"{time_text}Z",'
                    f'"messageId":"m-{number:012d}"}}\n'
                )
        engine = Engine(clock=FixedClock(data.NOW_MS))
        with RejectsFile(Path(folder, "rejects")) as rejects, collecting_seldom():
            started = time.perf_counter()
            account = load(read_jsonl(path, engine.calendar, data.NOW_MS), engine, rejects, lambda done, account: None)
            rate = lines / (time.perf_counter() - started)
    assert account.accepted == lines
    say(f"JSONL {rate:,.0f} events/s")
    return rate


def measure_restart(engine: Engine, users: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent / ".data") as folder:
        found = {"save_seconds": timed(lambda: engine.backup(Path(folder)))}
        found["file_bytes"] = sum(path.stat().st_size for path in Path(folder).iterdir())
        found |= grpc_load.in_process_of_its_own(durability.measure, folder, users)
    say(f"on disk {found}")
    return found


def measure_peers(files: data.Data, names: list[str], bitseg: dict[str, dict]) -> dict[str, object]:
    import peers

    found: dict[str, object] = {}
    made: list[object] = []
    if "duckdb" in names:
        made.append(peers.DuckDB())
    if "clickhouse" in names:
        rows = peers.ClickHouse(Path(tempfile.mkdtemp(dir=files.folder)))
        made += [rows, peers.ClickHouseBitmaps(rows)]
    if "redis" in names:
        made.append(peers.Bitmapist())
    try:
        for peer in made:
            seconds = timed(lambda peer=peer: peer.load(files))
            say(f"{peer.name}: loaded in {seconds:.1f} s")
            queries = {}
            for query in QUERIES:
                count = peer.count(query)
                if count is None:
                    continue
                assert count == bitseg[query.name]["count"], (peer.name, query.name, count)
                taken: list[float] = []
                while len(taken) < 3 or (sum(taken) < SECONDS_A_PEER and len(taken) < 200):
                    taken.append(timed(lambda peer=peer, query=query: peer.count(query)))
                queries[query.name] = summary(taken)
            found[peer.name] = {"load_seconds": seconds, "queries": queries}
    finally:
        for peer in reversed(made):
            peer.close()
    return found


def measure_growth(files: data.Data, queries: dict[str, dict]) -> dict[str, float]:
    """Each row's cold and warm median, as a multiple of that with half the users."""
    say("half the users")
    engine = imported(data.prepare(files.users // 2), {})
    found = {}
    for query in QUERIES:
        half = measure_query(engine, query)
        for state in ("cold", "warm"):
            found[f"{query.name}, {state}"] = queries[query.name][state]["p50_ms"] / half[state]["p50_ms"]
    return found


def print_table(results: dict[str, object]) -> None:
    bitseg, peers = results["bitseg"], results["peers"]
    print(f"\n{results['users']:,} users, {results['events']:,} events, {results['machine']['cpu']}; medians in ms\n")
    names = ["users", "warm", "p99", "cold", "gRPC", *peers]
    print(f"| segment | {' | '.join(names)} | times faster warm | cold |\n|---{'|---:' * (len(names) + 2)}|")
    for name, query in bitseg["queries"].items():
        cells = [f"{query['count']:,}"]
        cells += [f"{query['warm'][each]:.3f}" for each in ("p50_ms", "p99_ms")]
        cells += [f"{query['cold']['p50_ms']:.2f}", f"{query['grpc']['p50_ms']:.2f}"]
        others = [peer["queries"].get(name, {}).get("p50_ms") for peer in peers.values()]
        cells += [f"{value:.1f}" if value is not None else "" for value in others]
        best = min(value for value in others if value is not None)
        cells += [f"{best / query['warm']['p50_ms']:,.0f}", f"{best / query['cold']['p50_ms']:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps({key: value for key, value in bitseg.items() if key != "queries"}, indent=2))
    print("growth from half the users:", {key: round(value, 2) for key, value in results["growth"].items()})


if __name__ == "__main__":
    main()
