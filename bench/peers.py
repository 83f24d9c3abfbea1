"""What else would answer the same segments: DuckDB, ClickHouse on rows and on bitmaps, and bitmapist on Redis.

Each loads the same files into the schema that suits it best, and answers by count.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import bitmapist
import chdb.session
import duckdb
import numpy as np
import pyarrow.parquet as pq
import redis

from data import DAYS, EVENTS, FLAGS, NOW, TEXTS, Data
from queries import BITMAP_QUERIES, Query

CORES = 2


class DuckDB:
    """In memory; texts as enums, events sorted by name and time, so that whole row groups are passed over."""

    name = f"DuckDB {duckdb.__version__}"

    def load(self, data: Data) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": CORES})
        run = self._connection.execute
        run("set timezone = 'UTC'")
        run("create macro to_ms(t) as epoch_ms(t::bigint)")
        for name, choices in (*TEXTS.items(), ("event", EVENTS)):
            run(f"create type {name}_kind as enum ({', '.join(map(repr, choices))})")
        texts = ", ".join(f"{name}::{name}_kind as {name}" for name in TEXTS)
        run(
            f"create table users as select * exclude (user_id) replace ({texts}, signup_at::timestamp as signup_at) "
            f"from '{data.users_file}' order by uid"
        )
        run(
            "create table events as select uid, event::event_kind as event, time::timestamp as time, category, amount "
            f"from '{data.events_file}' order by event, time"
        )

    def count(self, query: Query) -> int | None:
        return int(self._connection.execute(query.sql).fetchone()[0])

    def close(self) -> None:
        self._connection.close()


class ClickHouse:
    """chdb, ClickHouse in this process: MergeTree sorted by event and time, and users by number."""

    name = f"ClickHouse {chdb.engine_version}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, data: Data) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._session = chdb.session.Session(str(self.folder))
        self._run("create database bench")
        self._run("create function to_ms as t -> fromUnixTimestamp64Milli(toInt64(t), 'UTC')")
        texts = ", ".join(f"{name} LowCardinality(String)" for name in TEXTS)
        flags = ", ".join(f"{name} Bool" for name in FLAGS)
        self._run(
            f"create table bench.users (uid UInt32, {texts}, {flags}, age Float64, value Float64, "
            "signup_at DateTime64(3, 'UTC')) engine = MergeTree order by uid"
        )
        columns = ", ".join(("uid", *TEXTS, *FLAGS, "age", "value", "signup_at"))
        self._run(f"insert into bench.users select {columns} from file('{data.users_file}', Parquet)")
        self._run(
            "create table bench.events (uid UInt32, event LowCardinality(String), time DateTime64(3, 'UTC'), "
            "category LowCardinality(String), amount Nullable(Float64)) engine = MergeTree order by (event, time)"
        )
        columns = "uid, event, time, category, amount"
        self._run(f"insert into bench.events select {columns} from file('{data.events_file}', Parquet)")
        for table in ("users", "events"):
            self._run(f"optimize table bench.{table} final")
        self._run("use bench")

    def count(self, query: Query) -> int | None:
        return int(str(self._run(query.clickhouse or query.sql)))

    def _run(self, sql: str) -> object:
        return self._session.query(sql, "TabSeparated")

    def close(self) -> None:
        self._session.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class ClickHouseBitmaps:
    """The same ClickHouse on precomputed `groupBitmap` states, one a value of an attribute and one an event and day."""

    def __init__(self, rows: ClickHouse) -> None:
        self._rows = rows
        self.name = f"{rows.name}, groupBitmap"

    def load(self, data: Data) -> None:
        run = self._rows._run
        run(
            "create table bench.value_bitmaps (name LowCardinality(String), value LowCardinality(String), "
            "members AggregateFunction(groupBitmap, UInt32)) engine = MergeTree order by (name, value)"
        )
        for name in (*TEXTS, *FLAGS):
            run(
                f"insert into bench.value_bitmaps select '{name}', toString({name}), groupBitmapState(uid) "
                f"from bench.users group by {name}"
            )
        run(
            "create table bench.day_bitmaps (event LowCardinality(String), day Date, "
            "members AggregateFunction(groupBitmap, UInt32)) engine = MergeTree order by (event, day)"
        )
        run(
            "insert into bench.day_bitmaps select event, toDate(time) as day, groupBitmapState(uid) "
            "from bench.events group by event, day"
        )
        for table in ("value_bitmaps", "day_bitmaps"):
            run(f"optimize table bench.{table} final")

    def count(self, query: Query) -> int | None:
        build = BITMAP_QUERIES.get(query.name)
        if build is None:
            return None
        expression = build(_ClickHouseTerms())
        return int(str(self._rows._run(f"select bitmapCardinality({expression})")))

    def close(self) -> None:
        pass


class _ClickHouseTerms:
    """Terms of a boolean expression over stored states."""

    def value(self, name: str, *values: object) -> str:
        texts = ", ".join(repr(str(value).lower() if isinstance(value, bool) else value) for value in values)
        where = f"name = '{name}' and value in ({texts})"
        return f"(select groupBitmapMergeState(members) from value_bitmaps where {where})"

    def did(self, event: str, first_day: int, last_day: int = 0) -> str:
        days = [f"'{(NOW - timedelta(days=day)).date()}'" for day in (first_day, last_day)]
        where = f"event = '{event}' and day between {days[0]} and {days[1]}"
        return f"(select groupBitmapMergeState(members) from day_bitmaps where {where})"

    def both(self, one: str, other: str) -> str:
        return f"bitmapAnd({one}, {other})"

    def either(self, one: str, other: str) -> str:
        return f"bitmapOr({one}, {other})"

    def but(self, one: str, other: str) -> str:
        return f"bitmapAndnot({one}, {other})"


class Bitmapist:
    """bitmapist on a Redis server of its own, reached by a Unix socket: a plain bitmap a value, and one a day or month.

    Loaded by whole keys in the layout that bitmapist's own marks make.
    """

    def load(self, data: Data) -> None:
        self._folder = Path(tempfile.mkdtemp())
        path = self._folder / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", self._folder]
        self._server = subprocess.Popen(["redis-server", *map(str, options)], stdout=subprocess.DEVNULL)
        _wait_for(path)
        self._redis = redis.StrictRedis(unix_socket_path=str(path))
        bitmapist.SYSTEMS["default"] = self._redis
        self.name = f"bitmapist on Redis {self._redis.info('server')['redis_version']}"
        users = pq.read_table(data.users_file, columns=[*TEXTS, *FLAGS])
        for name, choices in TEXTS.items():
            codes = users[name].combine_chunks().dictionary_encode()
            numbers, known = codes.indices.to_numpy(), codes.dictionary.to_pylist()
            for choice in choices:
                if choice in known:
                    self._set(_value_event(name, choice), None, numbers == known.index(choice))
        for name in FLAGS:
            flags = users[name].to_numpy()
            self._set(_value_event(name, True), None, flags)
            self._set(_value_event(name, False), None, ~flags)
        del users
        self._load_events(data)

    def _load_events(self, data: Data) -> None:
        months: dict[tuple[str, int, int], np.ndarray] = {}
        with pq.ParquetFile(data.events_file) as file:
            assert file.num_row_groups == DAYS
            for number in range(DAYS):
                day = (NOW - timedelta(days=DAYS - 1 - number)).date()
                table = file.read_row_group(number, columns=["uid", "event"])
                uids, names = table["uid"].to_numpy(), table["event"].to_numpy(zero_copy_only=False)
                for event in EVENTS:
                    mask = np.zeros(data.users, bool)
                    mask[uids[names == event]] = True
                    self._set(event, (day.year, day.month, day.day), mask)
                    month = (event, day.year, day.month)
                    months[month] = months[month] | mask if month in months else mask
        for (event, *month), mask in months.items():
            self._set(event, tuple(month), mask)

    def _set(self, event: str, when: tuple[int, ...] | None, mask: np.ndarray) -> None:
        self._redis.set(_marked(event, when).redis_key, np.packbits(mask).tobytes())

    def count(self, query: Query) -> int | None:
        build = BITMAP_QUERIES.get(query.name)
        if build is None:
            return None
        terms = _BitmapistTerms(self._redis)
        try:
            return len(build(terms))
        finally:
            terms.forget()

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()
        shutil.rmtree(self._folder)


class _BitmapistTerms:
    """Terms of a boolean expression as bitmapist's events and operations on them."""

    def __init__(self, connection: "redis.StrictRedis[bytes]") -> None:
        self._redis = connection
        self._made: list[object] = []

    def value(self, name: str, *values: object) -> object:
        return self._any([_marked(_value_event(name, value), None) for value in values])

    def did(self, event: str, first_day: int, last_day: int = 0) -> object:
        """Whole months by their own bitmap, the days left over one by one."""
        day, last = (NOW - timedelta(days=first_day)).date(), (NOW - timedelta(days=last_day)).date()
        first_held = (NOW - timedelta(days=DAYS - 1)).date()
        found = []
        while day <= last:
            month_end = (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
            starts_month = day.day == 1 or day <= first_held
            if starts_month and month_end <= last:
                found.append(bitmapist.MonthEvents(event, day.year, day.month))
                day = month_end
            else:
                found.append(bitmapist.DayEvents(event, day.year, day.month, day.day))
            day += timedelta(days=1)
        return self._any(found)

    def both(self, one: object, other: object) -> object:
        return self._kept(bitmapist.BitOpAnd("default", one, other))

    def either(self, one: object, other: object) -> object:
        return self._any([one, other])

    def but(self, one: object, other: object) -> object:
        # Redis 7 has no AND NOT: what is in both is taken out of the one.
        return self._kept(bitmapist.BitOpXor("default", one, self.both(one, other)))

    def _any(self, events: list[object]) -> object:
        return events[0] if len(events) == 1 else self._kept(bitmapist.BitOpOr("default", *events))

    def _kept(self, made: object) -> object:
        self._made.append(made)
        return made

    def forget(self) -> None:
        """Delete what operations left behind, or the next would find its answer there."""
        self._redis.delete(*(made.redis_key for made in self._made)) if self._made else None


def _value_event(name: str, value: object) -> str:
    return f"{name}:{str(value).lower() if isinstance(value, bool) else value}"


def _marked(event: str, when: tuple[int, ...] | None) -> object:
    if when is None:
        return bitmapist.UniqueEvents(event)
    return (bitmapist.DayEvents if len(when) == 3 else bitmapist.MonthEvents)(event, *when)


def _wait_for(path: Path) -> None:
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as attempt:
            if attempt.connect_ex(str(path)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("redis-server did not start")
