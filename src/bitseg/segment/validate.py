"""What a tree must satisfy beyond its shape, whatever form it came in.

`check` looks at one node and `validate` at a whole tree. Neither knows what attributes or events exist.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import singledispatch
from typing import Any

from bitseg.calendar import FIRST_DAY, FIRST_INSTANT_MS, LAST_DAY, LAST_INSTANT_MS, to_day
from bitseg.errors import InvalidSegmentError
from bitseg.segment import versions
from bitseg.segment.nodes import (
    After,
    Aggregate,
    And,
    Anniversary,
    Before,
    Between,
    BetweenDaysAgo,
    Boolean,
    Bound,
    Compare,
    Comparison,
    Condition,
    Contains,
    Count,
    CountBetween,
    Day,
    Did,
    DistinctDays,
    Duration,
    During,
    EndsWith,
    Everyone,
    Falls,
    FirstTime,
    Has,
    InBucket,
    InLast,
    InList,
    InNext,
    InRange,
    InSegment,
    Instant,
    IsSet,
    LastTime,
    Literal,
    Matches,
    MoreThanAgo,
    Not,
    Number,
    On,
    OneOf,
    OnToday,
    Operator,
    Or,
    Sequence,
    Since,
    StartsWith,
    Text,
    Then,
    TimeOfDay,
    Times,
    Unit,
    Version,
    Window,
    WithinRadius,
    children,
)
from bitseg.segment.patterns import compile_expression, parse_pattern

# Deeper trees could not travel as protobuf, whose runtimes stop at 100 nested messages, two to a level.
MAX_DEPTH = 40
MAX_NODES = 100_000
MAX_COUNT = 2**53
MAX_DURATION = 1_000_000
MAX_STEPS = 20

ORDERING = (Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL)
_ATTRIBUTE_WINDOWS = (Before, After, On, OnToday, InLast, InNext, MoreThanAgo)
_ATTRIBUTE_ONLY_WINDOWS = (After, OnToday, InNext)


def validate(condition: Condition) -> None:
    """Raise InvalidSegmentError unless the whole tree means something."""
    level: list[Condition] = [condition]
    depth, count = 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > MAX_DEPTH:
            raise InvalidSegmentError(
                f"the segment is nested more than {MAX_DEPTH} levels deep",
                hint="flatten it, or save a part as a segment of its own",
            )
        if count > MAX_NODES:
            raise InvalidSegmentError(f"the segment has more than {MAX_NODES:,} conditions")
        below: list[Condition] = []
        for each in level:
            below += children(each)
            below += [where for where in _wheres(each) if where is not None]
        level = below
    for node in _walk(condition):
        check(node)


def _wheres(node: object) -> tuple[Condition | None, ...]:
    if isinstance(node, Did):
        return (node.where,)
    if isinstance(node, Sequence):
        return (node.where, *(step.where for step in node.steps))
    return ()


def _walk(node: object) -> Iterator[object]:
    """The node and all below it, lowest first, so that the innermost fault is the one reported."""
    if isinstance(node, tuple):
        for item in node:
            yield from _walk(item)
    elif is_dataclass(node):
        for field in fields(node):
            yield from _walk(getattr(node, field.name))
        yield node


@singledispatch
def check(node: object) -> None:
    """Raise InvalidSegmentError if this node, taken alone, is impossible; TypeError for an unknown kind of node."""
    raise TypeError(f"unknown kind of node: {type(node).__name__}")


@check.register(After)
@check.register(Before)
@check.register(Boolean)
@check.register(During)
@check.register(EndsWith)
@check.register(Everyone)
@check.register(FirstTime)
@check.register(InLast)
@check.register(InNext)
@check.register(IsSet)
@check.register(LastTime)
@check.register(MoreThanAgo)
@check.register(Not)
@check.register(On)
@check.register(Since)
@check.register(StartsWith)
@check.register(Times)
@check.register(DistinctDays)
def _(node: object) -> None:
    """Every value of these is possible by itself."""


@check.register
def _(node: Text) -> None:
    _require_text(node.value, "a string")


@check.register
def _(node: Number) -> None:
    if not math.isfinite(node.value):
        raise InvalidSegmentError(f"{node.value} is not a finite number")


@check.register
def _(node: Day) -> None:
    if not FIRST_DAY <= to_day(node.value) <= LAST_DAY:
        raise InvalidSegmentError(f"{node.value} is outside the years that can be answered")


@check.register
def _(node: Instant) -> None:
    if not FIRST_INSTANT_MS <= node.value_ms <= LAST_INSTANT_MS:
        raise InvalidSegmentError(f"the instant {node.value_ms} ms is outside the years that can be answered")


@check.register
def _(node: Version) -> None:
    if versions.parse(node.value) is None:
        raise InvalidSegmentError(
            f'"{node.value}" is not a version', hint='write one such as version "4.10.2" or version "2.0-beta.1"'
        )


@check.register
def _(node: Duration) -> None:
    if not 1 <= node.amount <= MAX_DURATION:
        raise InvalidSegmentError(
            f"a duration of {node.amount} {node.unit.value} is out of range", hint=f"use 1 to {MAX_DURATION:,}"
        )


@check.register
def _(node: Compare) -> None:
    if node.operator in ORDERING and isinstance(node.value, Text):
        raise InvalidSegmentError(
            f"{node.operator.value} does not order strings",
            hint=f'for versions write {node.operator.value} version "{node.value.value}"',
        )
    if node.operator in ORDERING and not isinstance(node.value, Number | Day | Instant | Version):
        raise InvalidSegmentError(
            f"{node.operator.value} compares numbers, dates and versions, not true and false", hint="use ="
        )


@check.register
def _(node: OneOf) -> None:
    if not node.values:
        raise InvalidSegmentError("a list of values is empty", hint="give at least one value")
    kinds = {type(value) for value in node.values}
    if len(kinds) > 1:
        names = " and ".join(sorted(_literal_name(kind) for kind in kinds))
        raise InvalidSegmentError(f"the list mixes {names}", hint="all values of a list are of one type")
    if kinds == {Version}:
        raise InvalidSegmentError("a list of versions cannot be compared", hint="compare them one by one with or")


@check.register
def _(node: InRange) -> None:
    low, high = node.low, node.high
    if type(low) is not type(high):
        raise InvalidSegmentError(
            f"between has {_literal_name(type(low))} on one side and {_literal_name(type(high))} on the other",
            hint="both ends are of one type",
        )
    if isinstance(low, Text | Boolean):
        raise InvalidSegmentError(
            f"between orders numbers, dates and versions, not {_literal_name(type(low))}s",
            hint="use in (…) for a choice of values",
        )
    _require_order(low, high)


@check.register
def _(node: Contains) -> None:
    _require_text(node.pattern, "a pattern")
    parse_pattern(node.pattern)


@check.register
def _(node: Matches) -> None:
    _require_text(node.expression, "a regular expression")
    compile_expression(node.expression)


@check.register
def _(node: Has) -> None:
    if not node.values:
        raise InvalidSegmentError("a list of values is empty", hint="give at least one value")
    for value in node.values:
        _require_text(value, "a string")


@check.register
def _(node: Falls) -> None:
    _require_window(node.window, _ATTRIBUTE_WINDOWS)


@check.register
def _(node: Anniversary) -> None:
    _require_window(node.window, _ATTRIBUTE_WINDOWS)
    if isinstance(node.window, Before | After | MoreThanAgo):
        raise InvalidSegmentError(
            "an anniversary comes round every year, so it has no before or after",
            hint="use anniversary on today or anniversary in next 7 days",
        )
    if isinstance(node.window, On) and isinstance(node.window.moment, Instant):
        raise InvalidSegmentError("an anniversary is a day", hint="give a date such as 2024-01-31")
    if isinstance(node.window, InLast | InNext) and node.window.duration.unit in (Unit.MINUTES, Unit.HOURS):
        raise InvalidSegmentError("an anniversary is a day", hint="use days, weeks or months")


@check.register
def _(node: OnToday) -> None:
    if abs(node.offset_days) > MAX_DURATION:
        raise InvalidSegmentError(f"{node.offset_days} days from today is out of range")


@check.register
def _(node: WithinRadius) -> None:
    if not (math.isfinite(node.radius_km) and node.radius_km > 0):
        raise InvalidSegmentError(f"a radius of {node.radius_km:g} km is out of range", hint="use more than 0 km")
    if not -90 <= node.latitude <= 90:
        raise InvalidSegmentError(f"the latitude {node.latitude:g} is out of range", hint="use -90 to 90")
    if not -180 <= node.longitude <= 180:
        raise InvalidSegmentError(f"the longitude {node.longitude:g} is out of range", hint="use -180 to 180")


@check.register
def _(node: Between) -> None:
    if type(node.start) is not type(node.end):
        raise InvalidSegmentError("between has a date on one side and a datetime on the other")
    _require_order(node.start, node.end)


@check.register
def _(node: BetweenDaysAgo) -> None:
    if not 0 <= node.newest_days <= node.oldest_days <= MAX_DURATION:
        raise InvalidSegmentError(
            f"between {node.oldest_days} and {node.newest_days} days ago runs backwards or is out of range",
            hint=f"the longer ago comes first: between {max(node.oldest_days, node.newest_days)} and "
            f"{min(node.oldest_days, node.newest_days)} days ago",
        )


@check.register
def _(node: Count) -> None:
    if not 0 <= node.number <= MAX_COUNT:
        raise InvalidSegmentError(f"{node.bound.value} {node.number} is out of range", hint="use a whole number")
    only_zero = (node.bound in (Bound.EXACTLY, Bound.AT_MOST) and node.number == 0) or (
        node.bound is Bound.FEWER_THAN and node.number <= 1
    )
    if only_zero:
        raise InvalidSegmentError(
            f"{node.bound.value} {node.number}: quantities range over users who did the event at least once",
            hint="for users who never did it, use did not",
        )


@check.register
def _(node: CountBetween) -> None:
    if not 0 <= node.low <= node.high <= MAX_COUNT:
        raise InvalidSegmentError(
            f"between {node.low} and {node.high} runs backwards or is out of range", hint="the smaller comes first"
        )
    if node.high == 0:
        raise InvalidSegmentError(
            "between 0 and 0: quantities range over users who did the event at least once",
            hint="for users who never did it, use did not",
        )


@check.register
def _(node: Aggregate) -> None:
    _require_name(node.property, "property")
    test = node.test
    numbers = (isinstance(test, Compare) and isinstance(test.value, Number)) or (
        isinstance(test, InRange) and isinstance(test.low, Number)
    )
    if not numbers:
        raise InvalidSegmentError(
            f"{node.function.value}({node.property}) is compared with a number", hint="such as > 700"
        )


@check.register
def _(node: TimeOfDay) -> None:
    if not 0 <= node.start_minute < node.end_minute <= 24 * 60:
        raise InvalidSegmentError(
            f"the time of day {_clock(node.start_minute)} to {_clock(node.end_minute)} is empty or out of range",
            hint="it lies within one day: for a night, join two with or, up to 24:00 and from 0:00",
        )


@check.register(And)
@check.register(Or)
def _(node: And | Or) -> None:
    if len(node.conditions) < 2:
        raise InvalidSegmentError(
            f"{type(node).__name__.lower()} joins at least two conditions, not {len(node.conditions)}"
        )


@check.register
def _(node: Comparison) -> None:
    _require_name(node.name, "attribute or property")


@check.register
def _(node: Did) -> None:
    _check_event(node.event, node.where)
    if len(set(node.weekdays)) < len(node.weekdays):
        raise InvalidSegmentError("a weekday is named twice")
    _refuse_attribute_window(node.window)


@check.register
def _(node: Sequence) -> None:
    _check_event(node.event, node.where)
    if not 1 <= len(node.steps) <= MAX_STEPS:
        raise InvalidSegmentError(f"a sequence has 1 to {MAX_STEPS} steps after its first, not {len(node.steps)}")
    if any(step.negated for step in node.steps[:-1]):
        raise InvalidSegmentError("then did not may only be the last step", hint="put it at the end")
    _refuse_attribute_window(node.window)


@check.register
def _(node: Then) -> None:
    _check_event(node.event, node.where)
    if node.within.unit is Unit.MONTHS:
        raise InvalidSegmentError(
            f"within {node.within.amount} months has no exact length", hint="use days: within 30 days"
        )


@check.register
def _(node: InSegment) -> None:
    _require_name(node.name, "segment")


@check.register
def _(node: InList) -> None:
    _require_name(node.name, "list")


@check.register
def _(node: InBucket) -> None:
    _require_text(node.seed, "a seed")
    if not 1 <= node.of <= 1_000_000:
        raise InvalidSegmentError(f"{node.of} buckets are out of range", hint="use 1 to 1,000,000")
    if not 0 <= node.first <= node.last < node.of:
        raise InvalidSegmentError(
            f"buckets {node.first} to {node.last} of {node.of} are out of range",
            hint=f"buckets are numbered 0 to {node.of - 1}, the smaller first",
        )


def _check_event(event: str | None, where: Condition | None) -> None:
    if event is not None:
        _require_name(event, "event")
    pending = [where] if where is not None else []
    while pending:
        node = pending.pop()
        if not isinstance(node, And | Or | Not | Comparison):
            raise InvalidSegmentError(
                f"where holds a {type(node).__name__} condition",
                hint="inside where stand comparisons of event properties, joined by and, or and not",
            )
        pending += children(node)


def _refuse_attribute_window(window: Window | None) -> None:
    if isinstance(window, _ATTRIBUTE_ONLY_WINDOWS):
        raise InvalidSegmentError(
            f"{type(window).__name__} is a window of date attributes, not of events", hint="use since, on or today"
        )


def _require_window(window: Window, allowed: tuple[type, ...]) -> None:
    if not isinstance(window, allowed):
        raise InvalidSegmentError(
            f"{type(window).__name__} is a window of events, not of date attributes",
            hint="use before, after, on, between, in last, in next or more than … ago",
        )


def _require_order(low: Literal, high: Literal) -> None:
    if _sort_key(low) > _sort_key(high):
        raise InvalidSegmentError("between runs backwards, so nothing lies in it", hint="the smaller comes first")


def _sort_key(literal: Literal) -> Any:
    if isinstance(literal, Instant):
        return literal.value_ms
    if isinstance(literal, Version):
        return versions.parse(literal.value) or ()
    return literal.value


def _require_name(name: str, kind: str) -> None:
    _require_text(name, f"the name of an {kind}" if kind[0] in "aeiou" else f"the name of a {kind}")
    if not name:
        raise InvalidSegmentError(f"the name of the {kind} is empty")


def _require_text(text: object, what: str) -> None:
    if type(text) is not str:
        raise InvalidSegmentError(f"{what} is of type {type(text).__name__}, not text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidSegmentError(f"{what} holds half of a surrogate pair, which is no character")


def _literal_name(kind: type) -> str:
    return {Text: "string", Day: "date", Instant: "datetime"}.get(kind, kind.__name__.lower())


def _clock(minute: int) -> str:
    return f"{minute // 60}:{minute % 60:02d}"
