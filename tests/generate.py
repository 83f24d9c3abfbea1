"""Random workspaces and random segments over them, from a seed.

Histories are crowded on purpose: few users, few values, instants on day borders, around both changes of daylight saving
time, in the same millisecond. Hypothesis draws the seeds; drawing every part of a history through it made nearly
all of them trivial (measured: two thirds had a single user and no events).
"""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.operations import Delete, Identify, Operation, Track
from bitseg.segment import nodes as n

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000
T = TypeVar("T")

ZONES = ("UTC", "America/New_York", "Europe/Madrid", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe")
# Moments around which everything happens: daylight saving starts and ends, a leap day, a new year, a month's end.
CENTRES = (
    datetime(2023, 3, 12, 7, tzinfo=UTC),
    datetime(2023, 3, 26, 1, tzinfo=UTC),
    datetime(2023, 10, 29, 1, tzinfo=UTC),
    datetime(2023, 11, 5, 6, tzinfo=UTC),
    datetime(2018, 2, 18, 2, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2023, 4, 1, 15, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2023, 5, 31, 23, tzinfo=UTC),
)

TEXTS = ("US", "CA", "es", "", "ann@Gmail.com", "bob@yahoo.com", "c.d+e@x.org", "É*|x", "50%")
VERSIONS = (
    "4.10.2",
    "4.9",
    "4.10",
    "4.10.0",
    "5.0.0-beta.2",
    "5.0.0-beta.11",
    "5.0.0-beta",
    "v5",
    "no version",
    "1.2-",
)
RELEASES = ("4.10.2", "4.10", "5.0.0-beta.2", "5.0.0-beta", "v5", "4.9.0.1")
NUMBERS = (0, 1, 2.5, -3, 18, 500, 700.25, 0.1, 0.2, 1e15)
TAGS = ("vip", "new", "x")
PLACES = ((40.71, -74.0), (40.8, -74.1), (-90.0, 0.0), (0.0, 180.0))
EXPRESSIONS = ("^[A-Z]{2}$", "mail", "a|b", r"\.", "^$", "[^a-z]")
PATTERNS = ("gmail", "@GMAIL.com|@yahoo.com", "ann+com", "b*y", r"\*|\|", r"\+e", "*@*", "é", "%", "o*o+b|U", "s")
AFFIXES = ("a", "U", "É", "50", "", "m", "COM", "s", "|X")

ATTRIBUTES = {
    "country": "string",
    "email": "string",
    "app_version": "version",
    "age": "number",
    "paid": "boolean",
    "born": "date",
    "joined at": "datetime",
    "tags": "list",
    "home": "geo",
}
PROPERTIES = {
    "color": "string",
    "release": "version",
    "amount": "number",
    "gift": "boolean",
    "due": "date",
    "seen_at": "datetime",
    "labels": "list",
    "place": "geo",
}
EVENTS = ("A", "B", "Page Viewed")
# A few users have most of the events.
USERS = ("u1", "u2", "u3", "u4", "u5", "u6", "ü7", "8", "u9")
USER_WEIGHTS = (16, 12, 8, 4, 2, 2, 2, 1, 1)
LISTS = ("vip", "up load")
# Some of these users never appear.
LISTED = ("u0", "u1", "u2", "u3", "ü7", "8", "nobody")
SAVED = ("First", "Second", 'Third "é"')
ODD_VALUES = (None, None, None, "odd", 7, True, ["vip", 3], {"a": 1}, "2020-01-01", float("inf"))


def to_ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


class Generator:
    """Draws everything from one seed.

    `zone`, `centre`, `now_ms`, `lists` and `saved` segments are drawn first and hold for the workspace. A saved segment
    may refer to earlier ones.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.zone = self.pick(ZONES)
        self.centre = self.pick(CENTRES)
        self.now_ms = to_ms(self.centre) + self.pick((0, HOUR_MS, -HOUR_MS, self.random.randint(-1, 48 * HOUR_MS)))
        self.lists = {name: self.random.sample(LISTED, self.random.randint(0, 5)) for name in LISTS}
        self.saved: dict[str, n.Condition] = {}
        for name in SAVED:
            self.saved[name] = self.segment(depth=1)

    def pick(self, items: Any) -> Any:
        return self.random.choice(list(items))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # Data

    def instant_ms(self) -> int:
        local = self.centre.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        days = self.pick((0, 0, -1, 1, self.random.randint(-40, 3), self.random.randint(-9, 2)))
        midnight = (local + timedelta(days=days)).replace(hour=0, minute=0, second=0, tzinfo=ZoneInfo(self.zone))
        minutes = self.pick((0, 60, 90, 120, 150, 180, 540, 1020, 1380, self.random.randint(0, 1500)))
        return to_ms(midnight.astimezone(UTC)) + minutes * 60_000 + self.pick((0, 0, 0, -1, 1, 500))

    def day(self) -> date:
        if self.chance(0.2):
            return self.pick((date(2000, 2, 29), date(1999, 2, 28), date(1990, 3, 1), date(2004, 12, 31)))
        return (self.centre + timedelta(days=self.random.randint(-40, 40))).date()

    def raw(self, kind: str) -> Any:
        """A value as JSON holds it."""
        match kind:
            case "string":
                return self.pick(TEXTS)
            case "version":
                return self.pick(VERSIONS)
            case "number":
                return self.pick(NUMBERS)
            case "boolean":
                return self.chance(0.5)
            case "date":
                return self.day().isoformat()
            case "datetime":
                moment = EPOCH + timedelta(milliseconds=self.instant_ms())
                if self.chance(0.2):
                    return moment.replace(tzinfo=None).isoformat()
                return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case "list":
                return self.random.sample(TAGS, self.random.randint(0, 3))
        latitude, longitude = self.pick(PLACES)
        return {"lat": latitude, "lon": longitude}

    def values(self, known: dict[str, str], share: float = 0.5) -> dict[str, Any]:
        """Traits or properties: mostly right, now and then null or of another type."""
        return {
            name: self.pick(ODD_VALUES) if self.chance(0.08) else self.raw(kind)
            for name, kind in known.items()
            if self.chance(share)
        }

    def operation(self) -> Operation:
        user = self.random.choices(USERS, weights=USER_WEIGHTS)[0]
        message = self.pick((None, None, None, f"m{self.random.randint(0, 30)}"))
        if self.chance(0.03):
            return Delete(user, message)
        if self.chance(0.2):
            return Identify(user, self.values(ATTRIBUTES), self.instant_ms(), message)
        return Track(user, self.pick(("A", *EVENTS)), self.values(PROPERTIES), self.instant_ms(), message)

    def nulls(self) -> list[Operation]:
        """Nulls before any value, with which `batches` begins."""
        users = self.random.sample(USERS, self.random.randint(0, 4))
        return [
            Identify(user, {name: None for name in ATTRIBUTES if self.chance(0.5)}, self.instant_ms()) for user in users
        ]

    def batches(self) -> list[list[Operation]]:
        """Batches of operations; the first begins by fixing the type of everything."""
        now_ms = to_ms(self.centre)
        seed: list[Operation] = [
            Identify(
                "u0",
                {name: self.raw(kind) for name, kind in ATTRIBUTES.items()} | {"country": "US", "email": "x"},
                now_ms,
            )
        ]
        for event in EVENTS:
            properties = {name: self.raw(kind) for name, kind in PROPERTIES.items()} | {"color": "red"}
            seed.append(Track("u0", event, properties, now_ms))
        sizes = [self.random.randint(20, 80) for _ in range(self.random.randint(1, 3))]
        first, *following = ([self.operation() for _ in range(size)] for size in sizes)
        return [seed + first, *following]

    # Segments

    def segment(self, depth: int = 2) -> n.Condition:
        """A whole segment over the vocabulary of `batches`."""
        if depth and self.chance(0.35):
            return self.joined(lambda: self.segment(depth - 1))
        kind = self.random.random()
        if kind < 0.35:
            return self.comparison(ATTRIBUTES)
        if kind < 0.80:
            return self.did()
        if kind < 0.94:
            return self.sequence()
        if kind < 0.96:
            return n.InList(self.pick(LISTS))
        if kind < 0.98:
            low, high = sorted((self.random.randint(0, 9), self.random.randint(0, 9)))
            return n.InBucket(low, high, 10, self.pick(("", "spring", "é")))
        if self.saved:
            return n.InSegment(self.pick(self.saved))
        return n.Everyone()

    def joined(self, part: Any) -> n.Condition:
        if self.chance(0.25):
            return n.Not(part())
        return self.pick((n.And, n.Or))(tuple(part() for _ in range(self.random.randint(2, 3))))

    def where(self, depth: int = 1) -> n.Condition:
        if depth and self.chance(0.3):
            return self.joined(lambda: self.where(depth - 1))
        return self.comparison(PROPERTIES)

    def comparison(self, known: dict[str, str]) -> n.Comparison:
        name = self.pick(known)
        if self.chance(0.1):
            return n.Comparison(name, n.IsSet(self.chance(0.5)))
        return n.Comparison(name, self.predicate(known[name]))

    def predicate(self, kind: str) -> n.Predicate:
        match kind:
            case "string":
                return self.pick((self.text_choice, self.text_pattern))()
            case "version":
                if self.chance(0.2):
                    return self.text_choice()
                return n.Compare(self.pick(n.Operator), n.Version(self.pick(RELEASES)))
            case "number":
                return self.over(self.number)
            case "boolean":
                return n.Compare(self.pick((n.Operator.EQUAL, n.Operator.NOT_EQUAL)), n.Boolean(self.chance(0.5)))
            case "date":
                return self.dated(lambda: n.Day(self.day()), whole_days=True)
            case "datetime":
                literal = self.pick((lambda: n.Day(self.day()), lambda: n.Instant(self.instant_ms())))
                return self.dated(literal, whole_days=False)
            case "list":
                return n.Has(self.pick(n.Quantifier), tuple(self.random.sample(TAGS, self.random.randint(1, 3))))
        latitude, longitude = self.pick(PLACES)
        return n.WithinRadius(self.pick((0.5, 10.0, 13.2, 20_016.0)), latitude, longitude)

    def text_choice(self) -> n.Predicate:
        if self.chance(0.5):
            operator = self.pick((n.Operator.EQUAL, n.Operator.NOT_EQUAL))
            return n.Compare(operator, n.Text(self.pick(TEXTS + VERSIONS)))
        choice = tuple(n.Text(self.pick(TEXTS + VERSIONS)) for _ in range(self.random.randint(1, 4)))
        return n.OneOf(choice, self.chance(0.4))

    def text_pattern(self) -> n.Predicate:
        return self.pick(
            (
                n.Contains(self.pick(PATTERNS), self.chance(0.4)),
                n.StartsWith(self.pick(AFFIXES)),
                n.EndsWith(self.pick(AFFIXES)),
                n.Matches(self.pick(EXPRESSIONS)),
            )
        )

    def number(self) -> n.Number:
        return n.Number(float(self.pick(NUMBERS)))

    def over(self, literal: Any) -> n.Predicate:
        """A comparison, a choice or a range of ordered literals."""
        kind = self.random.random()
        if kind < 0.5:
            return n.Compare(self.pick(n.Operator), literal())
        if kind < 0.7:
            return n.OneOf(tuple(literal() for _ in range(self.random.randint(1, 3))), self.chance(0.4))
        return self.range(n.InRange, literal)

    def range(self, kind: Any, literal: Any) -> Any:
        first, second = literal(), literal()
        key = "value_ms" if isinstance(first, n.Instant) else "value"
        return kind(*sorted((first, second), key=lambda each: getattr(each, key)))

    def dated(self, literal: Any, whole_days: bool) -> n.Predicate:
        kind = self.random.random()
        if kind < 0.4:
            return self.over(literal)
        if kind < 0.7:
            return n.Falls(self.attribute_window(literal, whole_days))
        window = self.pick(
            (
                n.InLast(self.duration(whole_days=True)),
                n.InNext(self.duration(whole_days=True)),
                n.OnToday(self.random.randint(-30, 30)),
                n.On(n.Day(self.day())),
            )
        )
        return n.Anniversary(window)

    def duration(self, whole_days: bool) -> n.Duration:
        units = list(n.Unit)[2:] if whole_days else list(n.Unit)
        return n.Duration(self.pick((1, 1, 2, 3, self.random.randint(1, 40))), self.pick(units))

    def attribute_window(self, literal: Any, whole_days: bool) -> n.Window:
        return self.pick(
            (
                n.InLast(self.duration(whole_days)),
                n.InNext(self.duration(whole_days)),
                n.MoreThanAgo(self.duration(whole_days)),
                n.Before(literal()),
                n.After(literal()),
                n.On(literal()),
                n.OnToday(self.random.randint(-5, 5)),
            )
        )

    def event_window(self) -> n.Window:
        moment = self.pick((lambda: n.Day(self.day()), lambda: n.Instant(self.instant_ms())))
        ago = sorted((self.random.randint(0, 40), self.pick((0, 1, 3))), reverse=True)
        return self.pick(
            (
                n.InLast(self.duration(whole_days=False)),
                n.InLast(self.duration(whole_days=True)),
                n.MoreThanAgo(self.duration(whole_days=False)),
                n.Before(moment()),
                n.Since(moment()),
                n.On(moment()),
                self.range(n.Between, moment),
                n.BetweenDaysAgo(*ago),
                n.During(self.pick(n.Period)),
            )
        )

    def count(self) -> n.CountRange:
        if self.chance(0.2):
            low, high = sorted((self.random.randint(0, 3), self.random.randint(1, 4)))
            return n.CountBetween(low, high)
        bound = self.pick(n.Bound)
        return n.Count(bound, self.random.randint(2 if bound is n.Bound.FEWER_THAN else 1, 4))

    def quantity(self) -> n.Quantity:
        kind = self.random.random()
        if kind < 0.3:
            return n.Times(self.count())
        if kind < 0.45:
            return n.DistinctDays(self.count())
        if kind < 0.6:
            return self.pick((n.FirstTime(), n.LastTime()))
        if kind < 0.7:
            few = n.Compare(self.pick(n.Operator), n.Number(float(self.random.randint(0, 3))))
            return n.Aggregate(n.Function.DISTINCT, self.pick(PROPERTIES), few)
        function = self.pick((n.Function.SUM, n.Function.AVG, n.Function.MIN, n.Function.MAX))
        test = (
            self.range(n.InRange, self.number) if self.chance(0.2) else n.Compare(self.pick(n.Operator), self.number())
        )
        return n.Aggregate(function, "amount", test)

    def event(self) -> str | None:
        return self.pick(("A", "A", *EVENTS, None))

    def did(self) -> n.Did:
        start = self.random.randint(0, 23)
        return n.Did(
            self.event(),
            where=self.where() if self.chance(0.35) else None,
            quantity=self.quantity() if self.chance(0.6) else None,
            time_of_day=n.TimeOfDay(start * 60 + self.pick((0, 30)), self.random.randint(start + 1, 24) * 60)
            if self.chance(0.25)
            else None,
            weekdays=tuple(self.random.sample(list(n.Weekday), self.random.randint(1, 5))) if self.chance(0.2) else (),
            window=self.event_window() if self.chance(0.6) else None,
            negated=self.chance(0.2),
        )

    def sequence(self) -> n.Sequence:
        steps = [
            n.Then(
                self.event(),
                n.Duration(self.pick((1, 2, 6, 30, 48)), self.pick(list(n.Unit)[:4])),
                self.where(depth=0) if self.chance(0.2) else None,
            )
            for _ in range(self.random.randint(1, 3))
        ]
        if self.chance(0.5):
            steps[-1] = n.Then(steps[-1].event, steps[-1].within, steps[-1].where, negated=True)
        return n.Sequence(
            self.event(),
            tuple(steps),
            self.where(depth=0) if self.chance(0.2) else None,
            self.event_window() if self.chance(0.5) else None,
        )

    # The whole grammar, including references to things that do not exist

    def any_segment(self, depth: int = 3) -> n.Condition:
        if depth and self.chance(0.4):
            return self.joined(lambda: self.any_segment(depth - 1))
        if self.chance(0.6):
            return self.segment(0)
        low, high = sorted((self.random.randint(0, 9), self.random.randint(0, 9)))
        return self.pick(
            (
                n.InSegment(self.name()),
                n.InList(self.name()),
                n.InBucket(low, high, 10, self.pick(("", self.name()))),
                n.Comparison(self.name(), n.Compare(n.Operator.EQUAL, n.Text(self.name()))),
                n.Comparison(self.name(), n.Compare(n.Operator.LESS, n.Number(self.random.uniform(-1e20, 1e20)))),
                n.Comparison(self.name(), self.range(n.InRange, lambda: n.Number(self.random.gauss(0, 1e-3)))),
                n.Did(self.name(), n.Comparison(self.name(), n.IsSet())),
            )
        )

    def name(self) -> str:
        alphabet = "abcXYZ_.019 `\"\\\n\té€😀\x00\x7f{}()#'"
        return (
            self.pick(("in", "NOT", "did", "everyone", "true", "a.b"))
            if self.chance(0.2)
            else "".join(self.pick(alphabet) for _ in range(self.random.randint(1, 8)))
        )


def workspace(generator: Generator) -> Engine:
    """An engine with the lists and saved segments of a generator and nothing else.

    Its clock is so far ahead that the whole history can be ingested; as-of hides everything after `now_ms`.
    """
    engine = Engine(WorkspaceSettings(generator.zone), clock=FixedClock(generator.now_ms + 100 * 24 * HOUR_MS))
    for name, user_ids in generator.lists.items():
        engine.catalog.save_list(name, user_ids)
    for name, condition in generator.saved.items():
        engine.catalog.save_segment(name, condition)
    return engine
