"""The language evaluated with sets, lists and the standard library alone.

The oracle shares no code with the engine: it reads the declarations of nodes and operations and computes days,
windows, patterns, versions and types by itself, user by user and event by event, as LANGUAGE rules read.
"""

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import xxhash

from bitseg.operations import Delete, Identify, Operation
from bitseg.segment import nodes as n

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def instant(ms: int) -> datetime:
    return EPOCH + ms * MILLISECOND


class Oracle:
    """A workspace as lists of users, attributes and events."""

    def __init__(self, zone: str) -> None:
        self.zone = ZoneInfo(zone)
        self.users: set[str] = set()
        self.attributes: dict[str, dict[str, tuple[int, Any]]] = {}
        self.events: list[tuple[str, int, str, dict[str, Any]]] = []
        self.types: dict[tuple[str | None, str], str] = {}
        self.seen: set[str] = set()
        self.segments: dict[str, n.Condition] = {}
        self.lists: dict[str, list[str]] = {}

    def take(self, operations: Iterable[Operation]) -> None:
        for op in operations:
            if op.message_id:
                if op.message_id in self.seen:
                    continue
                self.seen.add(op.message_id)
            if isinstance(op, Delete):
                self.users.discard(op.user_id)
                for each in self.lists.values():
                    if op.user_id in each:
                        each.remove(op.user_id)
                self.attributes.pop(op.user_id, None)
                self.events = [event for event in self.events if event[0] != op.user_id]
                continue
            self.users.add(op.user_id)
            if isinstance(op, Identify):
                mine = self.attributes.setdefault(op.user_id, {})
                for name, raw in op.traits.items():
                    kind, value = self.typed(None, name, raw)
                    if kind == "rejected":
                        continue
                    if op.timestamp_ms >= mine.get(name, (-math.inf, None))[0]:
                        mine[name] = (op.timestamp_ms, value)
            else:
                properties = {}
                for name, raw in op.properties.items():
                    kind, value = self.typed(op.event, name, raw)
                    if kind != "rejected" and value is not None:
                        properties[name] = value
                self.events.append((op.user_id, op.timestamp_ms, op.event, properties))

    def typed(self, event: str | None, name: str, raw: Any) -> tuple[str, Any]:
        """A value by the type of its name, which it fixes if it is the first; rule 11."""
        if raw is None:
            return "null", None
        known = self.types.get((event, name))
        readings = list(self.readings(raw))
        for kind, value in readings:
            if kind == known:
                return kind, value
        if known is not None or not readings:
            return "rejected", None
        self.types[event, name] = readings[0][0]
        return readings[0]

    def readings(self, raw: Any) -> Iterable[tuple[str, Any]]:
        """The types that a raw value fits; the first one is the type that it would fix."""
        if isinstance(raw, bool):
            yield "boolean", raw
        elif isinstance(raw, (int, float)):
            if math.isfinite(raw):
                yield "number", float(raw)
        elif isinstance(raw, str):
            if re.fullmatch(r"\d\d\d\d-\d\d-\d\d", raw):
                yield "date", date.fromisoformat(raw)
            elif re.match(r"\d\d\d\d-\d\d-\d\dT", raw):
                moment = datetime.fromisoformat(raw)
                yield "datetime", moment if moment.tzinfo else moment.replace(tzinfo=self.zone)
            yield "string", raw
        elif isinstance(raw, list):
            if all(isinstance(item, str) for item in raw):
                yield "list", raw
        elif isinstance(raw, dict) and set(raw) == {"lat", "lon"}:
            yield "geo", (raw["lat"], raw["lon"])

    # Segments

    def members(self, node: n.Condition, now_ms: int) -> set[str]:
        now = instant(now_ms)
        match node:
            case n.And(parts):
                return set.intersection(*(self.members(part, now_ms) for part in parts))
            case n.Or(parts):
                return set.union(*(self.members(part, now_ms) for part in parts))
            case n.Not(part):
                return self.users - self.members(part, now_ms)
            case n.Everyone():
                return set(self.users)
            case n.InSegment(name):
                return self.members(self.segments[name], now_ms)
            case n.InList(name):
                return {user for user in self.users if user in self.lists[name]}
            case n.InBucket(first, last, of, seed):
                return {user for user in self.users if first <= bucket(user, seed, of) <= last}
            case n.Comparison(name, predicate):
                return {
                    user
                    for user in self.users
                    if self.holds(predicate, self.attributes.get(user, {}).get(name, (0, None))[1], now)
                }
            case n.Did(negated=True):
                return self.users - {user for user in self.users if self.did(node, user, now)}
            case n.Did():
                return {user for user in self.users if self.did(node, user, now)}
            case n.Sequence():
                return {user for user in self.users if self.sequence(node, user, now)}
        raise AssertionError(node)

    def local_date(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def matching(self, user: str, event: str | None, where: n.Condition | None, now: datetime) -> list[Any]:
        """The user's visible events that match, in order of time: (moment, properties)."""
        found = [
            (instant(ms), properties)
            for who, ms, name, properties in self.events
            if who == user and event in (None, name)
        ]
        found = [each for each in found if each[0] <= now and (where is None or self.where(where, each[1], now))]
        return sorted(found, key=lambda each: each[0])

    def where(self, node: n.Condition, properties: dict[str, Any], now: datetime) -> bool:
        match node:
            case n.And(parts):
                return all(self.where(part, properties, now) for part in parts)
            case n.Or(parts):
                return any(self.where(part, properties, now) for part in parts)
            case n.Not(part):
                return not self.where(part, properties, now)
            case n.Comparison(name, predicate):
                return self.holds(predicate, properties.get(name), now)
        raise AssertionError(node)

    def at_the_time(self, node: n.Did, moment: datetime, now: datetime) -> bool:
        local = moment.astimezone(self.zone)
        if node.weekdays and list(n.Weekday)[local.weekday()] not in node.weekdays:
            return False
        if node.time_of_day is not None:
            minute = local.hour * 60 + local.minute
            if not node.time_of_day.start_minute <= minute < node.time_of_day.end_minute:
                return False
        return self.in_window(node.window, moment, now)

    def did(self, node: n.Did, user: str, now: datetime) -> bool:
        events = self.matching(user, node.event, node.where, now)
        if isinstance(node.quantity, (n.FirstTime, n.LastTime)):
            place = 0 if isinstance(node.quantity, n.FirstTime) else -1
            return bool(events) and self.at_the_time(node, events[place][0], now)
        events = [each for each in events if self.at_the_time(node, each[0], now)]
        if not events:
            return False
        match node.quantity:
            case None:
                return True
            case n.Times(count):
                return in_count(len(events), count)
            case n.DistinctDays(count):
                return in_count(len({self.local_date(moment) for moment, _ in events}), count)
            case n.Aggregate(function, name, test):
                values = [properties[name] for _, properties in events if name in properties]
                if function is not n.Function.DISTINCT:
                    values = [value for value in values if isinstance(value, float)]
                return bool(values) and self.holds(test, aggregate(function, values), now)
        raise AssertionError(node)

    def sequence(self, node: n.Sequence, user: str, now: datetime) -> bool:
        reached = [
            moment
            for moment, _ in self.matching(user, node.event, node.where, now)
            if self.in_window(node.window, moment, now)
        ]
        for step in node.steps:
            limit = exact(step.within)
            after = [moment for moment, _ in self.matching(user, step.event, step.where, now)]
            if step.negated:
                return any(
                    start + limit <= now and not any(start < moment <= start + limit for moment in after)
                    for start in reached
                )
            reached = [moment for moment in after if any(start < moment <= start + limit for start in reached)]
        return bool(reached)

    # Windows, as rule 3 reads

    def in_window(self, window: n.Window | None, moment: datetime, now: datetime) -> bool:
        day, today = self.local_date(moment), self.local_date(now)
        match window:
            case None:
                return True
            case n.InLast(n.Duration(_, n.Unit.MINUTES | n.Unit.HOURS) as duration):
                return now - exact(duration) < moment <= now
            case n.InNext(n.Duration(_, n.Unit.MINUTES | n.Unit.HOURS) as duration):
                return now < moment <= now + exact(duration)
            case n.MoreThanAgo(n.Duration(_, n.Unit.MINUTES | n.Unit.HOURS) as duration):
                return moment <= now - exact(duration)
            case n.Before(n.Instant(ms)):
                return moment < instant(ms)
            case n.After(n.Instant(ms)):
                return moment > instant(ms)
            case n.Since(n.Instant(ms)):
                return moment >= instant(ms)
            case n.On(n.Instant(ms)):
                return moment == instant(ms)
            case n.Between(n.Instant(start), n.Instant(end)):
                return instant(start) <= moment <= instant(end)
        return day_in_window(window, day, today)

    # Predicates

    def holds(self, predicate: n.Predicate, value: Any, now: datetime) -> bool:
        if isinstance(predicate, n.IsSet):
            return (value is None) == predicate.negated
        if value is None:
            return False
        match predicate:
            case n.Compare(operator, literal):
                return self.compare(operator, value, literal)
            case n.OneOf(values, negated):
                return any(self.compare(n.Operator.EQUAL, value, each) for each in values) != negated
            case n.InRange(low, high):
                return self.compare(n.Operator.GREATER_OR_EQUAL, value, low) and self.compare(
                    n.Operator.LESS_OR_EQUAL, value, high
                )
            case n.Contains(pattern, negated):
                return contains(pattern, value) != negated
            case n.StartsWith(prefix):
                return value.casefold().startswith(prefix.casefold())
            case n.EndsWith(suffix):
                return value.casefold().endswith(suffix.casefold())
            case n.Matches(expression):
                return re.search(expression, value) is not None
            case n.Has(quantifier, values):
                has = [each in value for each in values]
                return {"any": any(has), "all": all(has), "none": not any(has)}[quantifier.value]
            case n.Falls(window):
                if isinstance(value, datetime):
                    return self.in_window(window, value, now)
                return day_in_window(window, value, self.local_date(now))
            case n.Anniversary(window):
                day = self.local_date(value) if isinstance(value, datetime) else value
                return any(
                    day_in_window(window, birthday, self.local_date(now))
                    for birthday in (celebrated(day, year) for year in range(1985, 2035))
                )
            case n.WithinRadius(radius, latitude, longitude):
                return great_circle_km(value, (latitude, longitude)) <= radius
        raise AssertionError(predicate)

    def compare(self, operator: n.Operator, value: Any, literal: n.Literal) -> bool:
        test = COMPARE[operator]
        if isinstance(literal, n.Version):
            theirs, ours = version(value), version(literal.value)
            return theirs is not None and test(order(theirs, ours), 0)
        if isinstance(literal, n.Instant):
            return test(value, instant(literal.value_ms))
        if isinstance(literal, n.Day) and isinstance(value, datetime):
            return test(self.local_date(value), literal.value)
        return test(value, literal.value)


COMPARE: dict[n.Operator, Callable[[Any, Any], bool]] = {
    n.Operator.EQUAL: lambda a, b: a == b,
    n.Operator.NOT_EQUAL: lambda a, b: a != b,
    n.Operator.LESS: lambda a, b: a < b,
    n.Operator.LESS_OR_EQUAL: lambda a, b: a <= b,
    n.Operator.GREATER: lambda a, b: a > b,
    n.Operator.GREATER_OR_EQUAL: lambda a, b: a >= b,
}


def exact(duration: n.Duration) -> timedelta:
    return timedelta(**{duration.unit.value: duration.amount})


def months_away(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 + months
    year, month = month // 12, month % 12 + 1
    for last in (day.day, 30, 29, 28):
        if last <= day.day:
            try:
                return date(year, month, last)
            except ValueError:
                continue
    raise AssertionError


def day_in_window(window: n.Window, day: date, today: date) -> bool:
    one = timedelta(days=1)
    match window:
        case n.InLast(duration):
            return first_of_last(duration, today) <= day <= today
        case n.MoreThanAgo(duration):
            return day < first_of_last(duration, today)
        case n.InNext(n.Duration(amount, n.Unit.MONTHS)):
            return today <= day < months_away(today, amount)
        case n.InNext(n.Duration(amount, unit)):
            return today <= day < today + amount * (7 * one if unit is n.Unit.WEEKS else one)
        case n.On(n.Day(when)):
            return day == when
        case n.OnToday(offset):
            return day == today + offset * one
        case n.Before(n.Day(when)):
            return day < when
        case n.Since(n.Day(when)):
            return day >= when
        case n.After(n.Day(when)):
            return day > when
        case n.Between(n.Day(start), n.Day(end)):
            return start <= day <= end
        case n.BetweenDaysAgo(oldest, newest):
            return today - oldest * one <= day <= today - newest * one
        case n.During(n.Period.TODAY):
            return day == today
        case n.During(n.Period.YESTERDAY):
            return day == today - one
        case n.During(n.Period.THIS_WEEK):
            return day.isocalendar()[:2] == today.isocalendar()[:2]
        case n.During(n.Period.LAST_WEEK):
            return day.isocalendar()[:2] == (today - 7 * one).isocalendar()[:2]
        case n.During(n.Period.THIS_MONTH):
            return (day.year, day.month) == (today.year, today.month)
        case n.During(n.Period.LAST_MONTH):
            last = today.replace(day=1) - one
            return (day.year, day.month) == (last.year, last.month)
    raise AssertionError(window)


def first_of_last(duration: n.Duration, today: date) -> date:
    if duration.unit is n.Unit.MONTHS:
        return months_away(today, -duration.amount) + timedelta(days=1)
    days = duration.amount * (7 if duration.unit is n.Unit.WEEKS else 1)
    return today - timedelta(days=days - 1)


def celebrated(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def in_count(number: int, count: n.CountRange) -> bool:
    match count:
        case n.CountBetween(low, high):
            return low <= number <= high
        case n.Count(bound, limit):
            return {
                n.Bound.EXACTLY: number == limit,
                n.Bound.AT_LEAST: number >= limit,
                n.Bound.AT_MOST: number <= limit,
                n.Bound.MORE_THAN: number > limit,
                n.Bound.FEWER_THAN: number < limit,
            }[bound]
    raise AssertionError(count)


def aggregate(function: n.Function, values: list[Any]) -> float:
    if function is n.Function.DISTINCT:
        return float(len({(type(value).__name__, str(value)) for value in values}))
    if function is n.Function.MIN:
        return min(values)
    if function is n.Function.MAX:
        return max(values)
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if function is n.Function.AVG else total


def contains(pattern: str, text: str) -> bool:
    """`|` of `+` of pieces joined by `*`, with backslash escapes."""
    tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
    alternatives: list[list[list[str]]] = [[[""]]]
    for token in tokens:
        if token == "|":
            alternatives.append([[""]])
        elif token == "+":
            alternatives[-1].append([""])
        elif token == "*":
            alternatives[-1][-1].append("")
        else:
            alternatives[-1][-1][-1] += token[-1]
    return any(all(pieces_occur(part, text.casefold()) for part in parts) for parts in alternatives)


def pieces_occur(pieces: list[str], text: str) -> bool:
    place = 0
    for piece in pieces:
        found = text.find(piece.casefold(), place)
        if found < 0:
            return False
        place = found + len(piece.casefold())
    return True


def version(text: str) -> tuple[list[int], list[str]] | None:
    match = re.fullmatch(r"[vV]?([0-9]+(?:\.[0-9]+)*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", text)
    if not match or (match[2] and "" in match[2].split(".")):
        return None
    return [int(part) for part in match[1].split(".")], match[2].split(".") if match[2] else []


def order(a: tuple[list[int], list[str]], b: tuple[list[int], list[str]]) -> int:
    length = max(len(a[0]), len(b[0]))
    ours, theirs = (parts + [0] * (length - len(parts)) for parts in (a[0], b[0]))
    if ours != theirs:
        return 1 if ours > theirs else -1
    if not a[1] or not b[1]:
        return bool(b[1]) - bool(a[1])
    for x, y in zip(a[1], b[1], strict=False):
        if x == y:
            continue
        if x.isdigit() and y.isdigit():
            if int(x) != int(y):
                return 1 if int(x) > int(y) else -1
            continue
        if x.isdigit() != y.isdigit():
            return -1 if x.isdigit() else 1
        return 1 if x > y else -1
    return (len(a[1]) > len(b[1])) - (len(a[1]) < len(b[1]))


def bucket(user: str, seed: str, of: int) -> int:
    """The documented mix, in Python's own integers."""
    mask = 2**64 - 1
    mixed = xxhash.xxh3_64_intdigest(user.encode()) ^ xxhash.xxh3_64_intdigest(seed.encode())
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & mask
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & mask
    return (mixed ^ (mixed >> 31)) % of


def great_circle_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The angle between two unit vectors, by their cross and dot products."""

    def vector(point: tuple[float, float]) -> tuple[float, float, float]:
        latitude, longitude = map(math.radians, point)
        return (
            math.cos(latitude) * math.cos(longitude),
            math.cos(latitude) * math.sin(longitude),
            math.sin(latitude),
        )

    u, v = vector(a), vector(b)
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return 6371.0088 * math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(u, v, strict=True)))
