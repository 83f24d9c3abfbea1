"""The segments of the benchmark: each in bitseg's language and, as far as they can say it, in those of the peers.

SQL is written for both DuckDB and ClickHouse, over the tables `users` (a row a user, `uid` their number) and `events`.
`{day(n)}` is midnight n days before today, `{now}` the present instant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data import COUNTRIES, NOW_MS

DAY_MS = 86_400_000
TODAY_MS = NOW_MS // DAY_MS * DAY_MS


@dataclass(frozen=True)
class Query:
    """A segment. `kind` says which target it is held to: tree, range or aggregate."""

    name: str
    kind: str
    text: str
    sql: str
    # Where the SQL dialects part ways.
    clickhouse: str = ""


def since(days: int) -> str:
    """The first instant of the calendar days `in last N days` means."""
    return f"to_ms({TODAY_MS - (days - 1) * DAY_MS})"


DEEP_COUNTRIES = COUNTRIES[:10]
# Conditions nested one in the other: an attribute and its value, or an event and its days.
DEEP_CONDITIONS: tuple[tuple[str, str | bool | int], ...] = (
    ("opted_in", True),
    ("platform", "ios"),
    ("plan", "gold"),
    ("language", "en"),
    ("Visited", 30),
    ("has_app", True),
    ("Product Viewed", 30),
    ("plan", "free"),
    ("verified", True),
    ("language", "es"),
    ("platform", "web"),
    ("Email Opened", 30),
    ("plan", "platinum"),
    ("opted_in", False),
    ("language", "pt"),
    ("platform", "android"),
    ("plan", "silver"),
    ("language", "fr"),
)
DEEP_WORDS = ("and", "or", "and not")


def _deep() -> tuple[str, str]:
    """Recent buyers from ten countries, and eighteen more conditions nested one in the other, by and, or, and not."""
    (*rest, last), place = DEEP_CONDITIONS, len(DEEP_CONDITIONS) - 1
    text, sql = _condition(*last)
    for each in reversed(rest):
        place -= 1
        word = DEEP_WORDS[place % 3]
        this_text, this_sql = _condition(*each)
        text, sql = f"{this_text} {word} ({text})", f"{this_sql} {word} ({sql})"
    any_country = " or ".join(f'country = "{each}"' for each in DEEP_COUNTRIES)
    text = f'({any_country}) and did "Purchased" in last 7 days and ({text})'
    sql = f"country in ({', '.join(map(repr, DEEP_COUNTRIES))}) and {_did('Purchased', 7)} and ({sql})"
    return text, sql


def _condition(name: str, asked: str | bool | int) -> tuple[str, str]:
    if isinstance(asked, bool):
        return f"{name} = {str(asked).lower()}", name if asked else f"not {name}"
    if isinstance(asked, str):
        return f'{name} = "{asked}"', f"{name} = '{asked}'"
    return f'did "{name}" in last {asked} days', _did(name, asked)


def _did(event: str, days: int) -> str:
    return f"uid in (select uid from events where event = '{event}' and time >= {since(days)})"


DEEP_TEXT, DEEP_SQL = _deep()

QUERIES = (
    Query("one attribute", "tree", 'country = "US"', "select count(*) from users where country = 'US'"),
    Query(
        "three attributes",
        "tree",
        'country = "US" and plan = "gold" and platform = "ios"',
        "select count(*) from users where country = 'US' and plan = 'gold' and platform = 'ios'",
    ),
    Query("numeric range", "range", "value < 250.5", "select count(*) from users where value < 250.5"),
    Query(
        "lapsed",
        "tree",
        'did "Visited" in last 90 days and did not "Visited" in last 7 days',
        f"""select count(*) from (select uid from events where event = 'Visited' and time >= {since(90)}
            group by uid having max(time) < {since(7)})""",
    ),
    Query(
        "abandoned cart",
        "tree",
        'did "Added To Cart" in last 3 days and did not "Purchased" in last 3 days',
        f"""select count(distinct uid) from events where event = 'Added To Cart' and time >= {since(3)}
            and uid not in (select uid from events where event = 'Purchased' and time >= {since(3)})""",
    ),
    Query(
        "frequent buyers",
        "aggregate",
        'did "Purchased" at least 3 times in last 30 days',
        f"""select count(*) from (select uid from events where event = 'Purchased' and time >= {since(30)}
            group by uid having count(*) >= 3)""",
    ),
    Query(
        "high spenders",
        "aggregate",
        'did "Purchased" with sum(amount) > 700 in last 100 days',
        f"""select count(*) from (select uid from events where event = 'Purchased' and time >= {since(100)}
            group by uid having sum(amount) > 700)""",
    ),
    Query(
        "bought a TV",
        "aggregate",
        'did "Purchased" where category = "TV" in last 10 days',
        f"""select count(distinct uid) from events
            where event = 'Purchased' and category = 'TV' and time >= {since(10)}""",
    ),
    Query(
        "attributes and events",
        "tree",
        'country in ("US", "GB") and plan = "free" and did "Product Viewed" in last 14 days '
        'and did not "Purchased" in last 30 days',
        f"""select count(*) from users where country in ('US', 'GB') and plan = 'free'
            and uid in (select uid from events where event = 'Product Viewed' and time >= {since(14)})
            and uid not in (select uid from events where event = 'Purchased' and time >= {since(30)})""",
    ),
    Query(
        "first purchase",
        "tree",
        'did "Purchased" for the first time in last 7 days',
        f"""select count(*) from (select uid from events where event = 'Purchased'
            group by uid having min(time) >= {since(7)})""",
    ),
    Query(
        "cart, no purchase",
        "aggregate",
        'did "Added To Cart" then did not "Purchased" within 10 minutes in last 7 days',
        f"""select count(distinct a.uid) from
            (select uid, time from events where event = 'Added To Cart' and time >= {since(7)}
                and time <= to_ms({NOW_MS - 600_000})) a
            asof left join
            (select uid, time from events where event = 'Purchased' and time >= {since(7)}) p
            on a.uid = p.uid and a.time < p.time
            where p.time is null or p.time > a.time + interval 10 minute""",
        f"""select count(distinct a.uid) from
            (select uid, time from events where event = 'Added To Cart' and time >= {since(7)}
                and time <= to_ms({NOW_MS - 600_000})) a
            asof left join
            (select uid, time from events where event = 'Purchased' and time >= {since(7)}) p
            on a.uid = p.uid and a.time < p.time
            where isNull(p.time) or p.time > a.time + interval 10 minute settings join_use_nulls = 1""",
    ),
    Query("ten countries, twenty deep", "tree", DEEP_TEXT, f"select count(*) from users where {DEEP_SQL}"),
)


# The same by operations on ready-made bitmaps, where those suffice; `terms` speaks the peer's language.
def _deep_by_bitmaps(terms: Any) -> Any:
    def term(name: str, asked: str | bool | int) -> Any:
        is_days = isinstance(asked, int) and not isinstance(asked, bool)
        return terms.did(name, asked - 1) if is_days else terms.value(name, asked)

    *rest, last = DEEP_CONDITIONS
    found = term(*last)
    for place, each in reversed(list(enumerate(rest))):
        operation = (terms.both, terms.either, terms.but)[place % 3]
        found = operation(term(*each), found)
    buyers = terms.both(terms.value("country", *DEEP_COUNTRIES), terms.did("Purchased", 6))
    return terms.both(buyers, found)


BITMAP_QUERIES: dict[str, Callable[[Any], Any]] = {
    "one attribute": lambda terms: terms.value("country", "US"),
    "three attributes": lambda terms: terms.both(
        terms.both(terms.value("country", "US"), terms.value("plan", "gold")), terms.value("platform", "ios")
    ),
    "lapsed": lambda terms: terms.but(terms.did("Visited", 89), terms.did("Visited", 6)),
    "abandoned cart": lambda terms: terms.but(terms.did("Added To Cart", 2), terms.did("Purchased", 2)),
    "attributes and events": lambda terms: terms.but(
        terms.both(
            terms.both(terms.value("country", "US", "GB"), terms.value("plan", "free")),
            terms.did("Product Viewed", 13),
        ),
        terms.did("Purchased", 29),
    ),
    "first purchase": lambda terms: terms.but(terms.did("Purchased", 6), terms.did("Purchased", 89, 7)),
    "ten countries, twenty deep": _deep_by_bitmaps,
}
