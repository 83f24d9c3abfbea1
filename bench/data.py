"""The benchmark's data: users with attributes and 90 days of skewed events, the same for the same number of users.

Written once as Parquet into `bench/.data/`; every engine under test loads these files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAYS = 90
EVENTS_PER_USER = 3
# Now, for every engine: the last of the days, at noon.
NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000
FIRST_DAY_MS = (NOW_MS // DAY_MS - DAYS + 1) * DAY_MS

# Shares of all events; each kind has a property `category`, carts and purchases an `amount` too.
EVENTS = {
    "Visited": 0.40,
    "Product Viewed": 0.25,
    "Searched": 0.10,
    "Added To Cart": 0.08,
    "Purchased": 0.06,
    "Email Opened": 0.05,
    "Push Clicked": 0.03,
    "Logged In": 0.02,
    "Reviewed": 0.008,
    "Refunded": 0.002,
}
CATEGORIES = ("TV", "Phone", "Book", "Game", "Shoes", "Shirt", "Garden", "Toys", "Food", "Car", "Music", "Film")
COUNTRIES = (
    *("US", "IN", "BR", "GB", "DE", "FR", "ES", "IT", "MX", "ID", "JP", "PH", "TR", "VN", "PL", "CA", "AR", "CO", "NL"),
    *("EG", "ZA", "NG", "AU", "UA", "RO", "SE", "BE", "CL", "PE", "PT", "GR", "CZ", "HU", "AT", "CH", "IL", "DK", "FI"),
    *("NO", "IE", "NZ", "SG", "MY", "TH", "KR", "SA", "AE", "MA", "KE", "GH"),
)
PLANS = ("free", "silver", "gold", "platinum")
PLATFORMS = ("android", "ios", "web")
LANGUAGES = ("en", "es", "pt", "hi", "de", "fr", "it", "id", "ja", "tr", "vi", "pl", "nl", "ar", "uk", "ro")
TEXTS = {"country": COUNTRIES, "plan": PLANS, "platform": PLATFORMS, "language": LANGUAGES}
FLAGS = ("opted_in", "has_app", "verified")

_ID_DIGITS = 9


@dataclass(frozen=True)
class Data:
    """Where the files are, and how much is in them."""

    folder: Path
    users: int
    events: int

    @property
    def users_file(self) -> Path:
        return self.folder / "users.parquet"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.parquet"


def prepare(users: int, root: Path = Path(__file__).parent / ".data") -> Data:
    """The files for so many users, made if they are not there."""
    folder = root / f"{users}"
    data = Data(folder, users, users * EVENTS_PER_USER)
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(data.users_file, _users(users))
        _write(data.events_file, _events(users, data.events))
        (folder / "complete").touch()
    return data


def user_ids(numbers: np.ndarray) -> pa.Array:
    """`u-000000042`: the external ids of users given by number, shape (n,)."""
    text = np.empty((len(numbers), _ID_DIGITS + 2), np.uint8)
    text[:, 0], text[:, 1] = ord("u"), ord("-")
    rest = numbers.astype(np.int64)
    for place in range(_ID_DIGITS + 1, 1, -1):
        rest, digit = np.divmod(rest, 10)
        text[:, place] = digit + ord("0")
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=len(table))
    writer.close()


def _skewed(source: np.random.Generator, choices: int, size: int) -> np.ndarray:
    weights = 1 / np.arange(1, choices + 1)
    return source.choice(choices, size, p=weights / weights.sum()).astype(np.int32)


def _users(users: int) -> Iterator[pa.Table]:
    source = np.random.default_rng(1)
    for first in range(0, users, 1_000_000):
        numbers = np.arange(first, min(first + 1_000_000, users))
        size = len(numbers)
        columns = {"uid": pa.array(numbers.astype(np.uint32)), "user_id": user_ids(numbers)}
        for name, choices in TEXTS.items():
            codes = pa.array(_skewed(source, len(choices), size))
            columns[name] = pa.DictionaryArray.from_arrays(codes, list(choices)).cast(pa.string())
        for place, name in enumerate(FLAGS):
            columns[name] = pa.array(source.random(size) < 0.3 + 0.2 * place)
        columns["age"] = pa.array(np.clip(source.normal(38, 14, size), 13, 99).astype(np.int64).astype(np.float64))
        columns["value"] = pa.array(np.round(source.lognormal(4, 1.2, size), 2))
        signup = NOW_MS - (source.random(size) ** 2 * 1_000 * DAY_MS).astype(np.int64)
        columns["signup_at"] = pa.array(signup, pa.timestamp("ms", "UTC"))
        yield pa.table(columns)


def _events(users: int, events: int) -> Iterator[pa.Table]:
    """Day by day in order of time: some users do much, some kinds happen often, and carts lead to purchases."""
    source = np.random.default_rng(2)
    shares = np.array(list(EVENTS.values()))
    cart, purchased = list(EVENTS).index("Added To Cart"), list(EVENTS).index("Purchased")
    # A fixed shuffle of users, so that busy ones are spread over all ids.
    shuffled = source.permutation(users)
    for day in range(DAYS):
        size = events // DAYS + (day < events % DAYS)
        day_ms = DAY_MS if day < DAYS - 1 else NOW_MS % DAY_MS
        kinds = source.choice(len(EVENTS), size, p=shares / shares.sum())
        who = shuffled[(source.random(size) ** 2 * users).astype(np.int64)]
        times = (source.random(size) * day_ms).astype(np.int64)
        # A third of all purchases follow a cart of the same day within an hour.
        carts, buys = np.flatnonzero(kinds == cart), np.flatnonzero(kinds == purchased)
        pairs = min(len(carts), len(buys) // 3)
        who[buys[:pairs]] = who[carts[:pairs]]
        times[buys[:pairs]] = np.minimum(times[carts[:pairs]] + source.integers(1, 3_600_000, pairs), day_ms - 1)
        order = np.argsort(times, kind="stable")
        kinds, who, times = kinds[order], who[order], times[order]
        amounts = np.round(source.lognormal(4, 1, size), 2)
        has_amount = (kinds == cart) | (kinds == purchased)
        names = pa.DictionaryArray.from_arrays(pa.array(kinds.astype(np.int32)), list(EVENTS)).cast(pa.string())
        categories = pa.DictionaryArray.from_arrays(pa.array(_skewed(source, len(CATEGORIES), size)), list(CATEGORIES))
        yield pa.table(
            {
                "uid": pa.array(who.astype(np.uint32)),
                "user_id": user_ids(who),
                "event": names,
                "time": pa.array(FIRST_DAY_MS + day * DAY_MS + times, pa.timestamp("ms", "UTC")),
                "category": categories.cast(pa.string()),
                "amount": pa.array(amounts, mask=~has_amount),
            }
        )
