"""A made-up store: users with attributes of every type and 90 days of their visits, carts and purchases.

The same number of users gives the same store, shifted so that its last day is yesterday (UTC). Windows of whole days
thus have the same events on every day. As in real stores, a few users have most of the events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bitseg.calendar import DAY_MS, format_instant, from_day

DAYS = 90
USERS_FILE = "users.jsonl"
EVENTS_FILE = "events.jsonl"

_SESSIONS_PER_USER = 2.5
_MINUTE_MS = 60_000

_COUNTRIES = {
    "US": [("New York", 40.71, -74.01), ("Los Angeles", 34.05, -118.24), ("Chicago", 41.88, -87.63)],
    "GB": [("London", 51.51, -0.13), ("Manchester", 53.48, -2.24)],
    "DE": [("Berlin", 52.52, 13.40), ("Munich", 48.14, 11.58)],
    "IN": [("Mumbai", 19.08, 72.88), ("Delhi", 28.61, 77.21)],
    "BR": [("São Paulo", -23.55, -46.63)],
    "ES": [("Madrid", 40.42, -3.70), ("Barcelona", 41.39, 2.17)],
    "CA": [("Toronto", 43.65, -79.38)],
}
_COUNTRY_WEIGHTS = [0.38, 0.16, 0.13, 0.12, 0.09, 0.07, 0.05]
_FIRST_NAMES = ["Ana", "Ben", "Chloé", "Dev", "Emma", "Farid", "Grace", "Hiro", "Ines", "Jack", "Kira", "Liam", "Zoë"]
_PLANS = ["free", "silver", "gold", "platinum"]
_PLAN_WEIGHTS = [0.70, 0.18, 0.09, 0.03]
_CHANNELS = ["organic", "search ads", "social", "referral", "email"]
_CHANNEL_WEIGHTS = [0.40, 0.25, 0.18, 0.12, 0.05]
_VERSIONS = ["4.8.0", "4.9.3", "4.10.0-beta.2", "4.10.2", "5.0.0"]
_VERSION_WEIGHTS = [0.10, 0.20, 0.02, 0.38, 0.30]
_TAGS = ["vip", "newsletter", "beta tester", "wholesale"]
_TAG_CHANCES = [0.02, 0.45, 0.05, 0.03]
_PRODUCTS = [
    ("TV", "electronics", 499.0),
    ("Laptop", "electronics", 899.0),
    ("Headphones", "electronics", 79.5),
    ("Sneakers", "clothing", 64.9),
    ("Jacket", "clothing", 119.0),
    ("T-shirt", "clothing", 14.9),
    ("Coffee maker", "home", 59.0),
    ("Lamp", "home", 24.5),
    ("Novel", "books", 11.9),
    ("Cookbook", "books", 27.0),
]
_PRODUCT_WEIGHTS = [0.03, 0.02, 0.10, 0.12, 0.06, 0.22, 0.07, 0.11, 0.18, 0.09]
_REFERRERS = ["https://www.google.com/", "https://www.instagram.com/", "https://news.example.com/", None]
_REFERRER_WEIGHTS = [0.35, 0.20, 0.05, 0.40]
_PAYMENTS = ["card", "wallet", "invoice"]


def write_store(folder: Path, users: int, today: int) -> tuple[Path, Path]:
    """Write the store as JSONL in the Segment spec into `folder`. Returns the files of users and of events.

    `today` is a day number of `bitseg.calendar`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(20_240_131)
    paths = folder / USERS_FILE, folder / EVENTS_FILE
    with paths[0].open("wb") as file:
        file.writelines(orjson.dumps(call) + b"\n" for call in _identifies(random, users, today))
    with paths[1].open("wb") as file:
        file.writelines(orjson.dumps(call) + b"\n" for call in _tracks(random, users, today))
    return paths


def _user_id(number: int) -> str:
    return f"user-{number:07d}"


def _identifies(random: np.random.Generator, users: int, today: int) -> Iterator[dict[str, Any]]:
    country_names = list(_COUNTRIES)
    countries = random.choice(len(country_names), users, p=_COUNTRY_WEIGHTS)
    plans = random.choice(len(_PLANS), users, p=_PLAN_WEIGHTS)
    channels = random.choice(len(_CHANNELS), users, p=_CHANNEL_WEIGHTS)
    versions = random.choice(len(_VERSIONS), users, p=_VERSION_WEIGHTS)
    ages = np.clip(random.normal(37, 13, users), 16, 95).astype(int)
    tags = random.random((users, len(_TAGS))) < _TAG_CHANCES
    spread = random.normal(0, 0.15, (users, 2))
    birth_days = today - (ages * 365.25).astype(int) - random.integers(0, 365, users)
    signed_up_ms = (today - DAYS) * DAY_MS - (random.exponential(300, users) * DAY_MS).astype(np.int64)
    chances = random.random((users, 5))
    cities, names = random.integers(0, 1_000, users), random.integers(0, len(_FIRST_NAMES), users)
    for number in range(users):
        country = country_names[countries[number]]
        places = _COUNTRIES[country]
        city, latitude, longitude = places[cities[number] % len(places)]
        has_app, opted_in, known_age, known_place, push = chances[number] < (0.6, 0.7, 0.85, 0.9, 0.4)
        name = _FIRST_NAMES[names[number]]
        traits: dict[str, Any] = {
            "email": f"{name.lower()}.{number}@{('gmail.com', 'yahoo.com', 'example.org')[number % 3]}",
            "first_name": name,
            "country": country,
            "city": city,
            "plan": _PLANS[plans[number]],
            "channel": _CHANNELS[channels[number]],
            "email_opt_in": bool(opted_in),
            "push_opt_in": bool(has_app and push),
            "signup_at": format_instant(int(signed_up_ms[number])),
            "tags": [tag for tag, has in zip(_TAGS, tags[number], strict=True) if has],
        }
        if known_age:
            traits["age"] = int(ages[number])
            traits["birthday"] = from_day(int(birth_days[number])).isoformat()
        if known_place:
            traits["home"] = {
                "lat": round(latitude + float(spread[number, 0]), 4),
                "lon": round(longitude + float(spread[number, 1]), 4),
            }
        if has_app:
            traits["app_version"] = _VERSIONS[versions[number]]
        yield {
            "type": "identify",
            "userId": _user_id(number),
            "traits": traits,
            "timestamp": format_instant(int(signed_up_ms[number])),
        }


@dataclass(frozen=True, slots=True)
class _Sessions:
    users: NDArray[np.int64]
    starts_ms: NDArray[np.int64]


def _sessions(random: np.random.Generator, users: int, today: int) -> _Sessions:
    """Visits. The visits per user are log-normal, so that a few users have most; later days have a little more."""
    total = int(users * _SESSIONS_PER_USER)
    shares = np.cumsum(random.lognormal(0, 1.3, users))
    visitors = np.searchsorted(shares, random.random(total) * shares[-1])
    day_weights = 1 + 0.3 * np.arange(DAYS) / DAYS + 0.25 * np.isin(np.arange(DAYS) % 7, (5, 6))
    days = random.choice(DAYS, total, p=day_weights / day_weights.sum())
    evening_ms = np.clip(random.normal(18, 4.5, total) % 24, 0, 23.5) * 3_600_000
    # Sessions end before midnight, so that no session continues into today.
    starts_ms = (today - DAYS + days) * DAY_MS + np.minimum(evening_ms.astype(np.int64), DAY_MS - 90 * _MINUTE_MS)
    order = np.argsort(starts_ms, kind="stable")
    return _Sessions(visitors[order], starts_ms[order])


def _tracks(random: np.random.Generator, users: int, today: int) -> Iterator[dict[str, Any]]:
    sessions = _sessions(random, users, today)
    total = len(sessions.users)
    pages = np.minimum(random.geometric(0.55, total), 5)
    referrers = random.choice(len(_REFERRERS), total, p=_REFERRER_WEIGHTS)
    products = random.choice(len(_PRODUCTS), (total, 5), p=_PRODUCT_WEIGHTS)
    quantities = random.choice([1, 2, 3], total, p=[0.8, 0.15, 0.05])
    chances = random.random((total, 3))
    delays_ms = random.integers(20_000, 8 * _MINUTE_MS, (total, 8))
    payments = random.integers(0, len(_PAYMENTS), total)
    for session in range(total):
        user_id = _user_id(int(sessions.users[session]))
        at_ms = int(sessions.starts_ms[session])
        steps = iter(delays_ms[session].tolist())
        viewed = products[session, : pages[session]].tolist()
        for place, product in enumerate(viewed):
            name, category, price = _PRODUCTS[product]
            at_ms += next(steps)
            properties: dict[str, Any] = {
                "url": f"https://store.example.com/{category}/{name.lower().replace(' ', '-')}"
            }
            referrer = _REFERRERS[referrers[session]]
            if place == 0 and referrer:
                properties["referrer"] = referrer
            yield _call(user_id, "Page Viewed", properties, at_ms, f"{session}-p{place}")
        item = {"product": name, "category": category, "price": price, "quantity": int(quantities[session])}
        carts, buys, opens = chances[session] < (0.25, 0.5, 0.08)
        if carts:
            at_ms += next(steps)
            yield _call(user_id, "Added To Cart", item, at_ms, f"{session}-c")
        if carts and buys:
            at_ms += next(steps)
            charged = {**item, "amount": round(price * item["quantity"], 2), "payment": _PAYMENTS[payments[session]]}
            yield _call(user_id, "Charged", charged, at_ms, f"{session}-b")
        if opens:
            campaign = {"campaign": f"Week {(at_ms // DAY_MS - today + DAYS) // 7 + 1}", "channel": "email"}
            yield _call(user_id, "Email Opened", campaign, at_ms + next(steps), f"{session}-e")


def _call(user_id: str, event: str, properties: dict[str, Any], at_ms: int, message_id: str) -> dict[str, Any]:
    call: dict[str, Any] = {"type": "track", "userId": user_id, "event": event, "properties": properties}
    if event == "Page Viewed":
        call = {"type": "page", "userId": user_id, "properties": properties}
    return {**call, "timestamp": format_instant(at_ms), "messageId": message_id}
