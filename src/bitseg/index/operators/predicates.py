"""Evaluation of predicates over columns. Rows without a value satisfy only `is not set`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import from_day, to_day
from bitseg.errors import TypeMismatchError
from bitseg.index.context import Context
from bitseg.index.dictionary import Dictionary
from bitseg.runtime import cancellation
from bitseg.segment import versions
from bitseg.segment.nodes import (
    Anniversary,
    Between,
    Boolean,
    Compare,
    Contains,
    Day,
    EndsWith,
    Falls,
    Has,
    InLast,
    InNext,
    InRange,
    Instant,
    IsSet,
    Literal,
    Matches,
    MoreThanAgo,
    Number,
    OneOf,
    Operator,
    Predicate,
    Quantifier,
    StartsWith,
    Text,
    Unit,
    Version,
    Window,
    WithinRadius,
)
from bitseg.segment.patterns import Part, compile_expression, parse_pattern
from bitseg.segment.windows import Interval, resolve
from bitseg.values import DICTIONARY_TYPES, ValueType, present

# The mean radius of the Earth according to the IUGG, for great-circle distances.
EARTH_RADIUS_KM = 6371.0088

Mask = NDArray[np.bool_]
EntryTest = Callable[[Any], bool]

_LITERAL_TYPES: dict[type, frozenset[ValueType]] = {
    Text: frozenset({ValueType.STRING}),
    Version: frozenset({ValueType.STRING}),
    Number: frozenset({ValueType.NUMBER}),
    Boolean: frozenset({ValueType.BOOLEAN}),
    Day: frozenset({ValueType.DATE, ValueType.DATETIME}),
    Instant: frozenset({ValueType.DATETIME}),
}
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: lambda a, b: a == b,
    Operator.NOT_EQUAL: lambda a, b: a != b,
    Operator.LESS: lambda a, b: a < b,
    Operator.LESS_OR_EQUAL: lambda a, b: a <= b,
    Operator.GREATER: lambda a, b: a > b,
    Operator.GREATER_OR_EQUAL: lambda a, b: a >= b,
}

_ENTRIES_BETWEEN_CHECKS = 2**14


def require_fit(subject: str, predicate: Predicate, value_type: ValueType) -> None:
    """Raise TypeMismatchError unless the predicate applies to values of the type.

    `subject` names the attribute or property in the message.
    """
    allowed = fitting_types(predicate)
    if value_type in allowed:
        return
    wanted = " or ".join(sorted(kind.value for kind in allowed))
    hint = f"the condition fits {wanted}"
    if isinstance(predicate, Compare | OneOf | InRange) and value_type in (ValueType.DATE, ValueType.DATETIME):
        hint = "compare it with a bare date such as 2024-01-31"
        if value_type is ValueType.DATETIME:
            hint += " or a datetime such as 2024-01-31T10:00:00Z"
    elif value_type is ValueType.LIST:
        hint = 'test a list with has: has "vip", has any ("vip", "new")'
    raise TypeMismatchError(f"{subject} is a {value_type.value}", hint=hint)


def fitting_types(predicate: Predicate) -> frozenset[ValueType]:
    """The types of values that a predicate applies to."""
    match predicate:
        case IsSet():
            return frozenset(ValueType)
        case Compare(_, value):
            return _LITERAL_TYPES[type(value)]
        case OneOf(values):
            return _LITERAL_TYPES[type(values[0])]
        case InRange(low, _):
            return _LITERAL_TYPES[type(low)]
        case Has():
            return frozenset({ValueType.LIST})
        case Falls(window):
            exact = _is_exact(window)
            return frozenset({ValueType.DATETIME} if exact else {ValueType.DATE, ValueType.DATETIME})
        case Anniversary():
            return frozenset({ValueType.DATE, ValueType.DATETIME})
        case WithinRadius():
            return frozenset({ValueType.GEO})
        case Contains() | StartsWith() | EndsWith() | Matches():
            return frozenset({ValueType.STRING})


def _is_exact(window: Window) -> bool:
    """Whether the window can begin or end within a day, so that it does not apply to dates."""
    if isinstance(window, InLast | InNext | MoreThanAgo):
        return window.duration.unit in (Unit.MINUTES, Unit.HOURS)
    if isinstance(window, Between):
        return isinstance(window.start, Instant)
    return isinstance(getattr(window, "moment", None), Instant)


def test(
    predicate: Predicate, value_type: ValueType, data: NDArray[Any], dictionary: Dictionary | None, context: Context
) -> Mask:
    """Which rows of a column satisfy the predicate, which must fit the type; shape (n,)."""
    mask: Mask
    if isinstance(predicate, IsSet):
        mask = present(value_type, data)
        return ~mask if predicate.negated else mask
    if value_type in DICTIONARY_TYPES:
        assert dictionary is not None
        mask = entry_mask(predicate, dictionary, context)[data]
        return mask
    wanted = ranges(predicate, value_type, context) if value_type is ValueType.NUMBER else None
    if wanted is not None and not wanted.negated and len(wanted.ranges) == 1:
        # "No value" is NaN here, which satisfies no comparison.
        return _in_range(data, *wanted.ranges[0])
    mask = _column_test(predicate, value_type, data, context)
    return mask & present(value_type, data)


def entry_mask(predicate: Predicate, dictionary: Dictionary, context: Context) -> Mask:
    """Which entries of a dictionary satisfy the predicate; shape (entries + 1,).

    The last item stands for "no value" and is False, so that the mask can be indexed with codes as they are.
    """
    key = (id(dictionary), predicate)
    cached = context.entry_masks.get(key)
    if cached is not None and len(cached[1]) == len(dictionary) + 1:
        return cached[1]
    codes = exact_codes(predicate, dictionary)
    # Read after the codes, since a writer may add entries at the same time.
    total = len(dictionary)
    mask = np.zeros(total + 1, bool)
    if codes is not None:
        mask[codes] = True
    else:
        satisfies = _entry_test(predicate)
        entries = islice(dictionary.entries, total)
        for start in range(0, total, _ENTRIES_BETWEEN_CHECKS):
            cancellation.check()
            end = min(start + _ENTRIES_BETWEEN_CHECKS, total)
            mask[start:end] = [satisfies(entry) for entry in islice(entries, end - start)]
    context.entry_masks[key] = (dictionary, mask)
    return mask


def exact_codes(predicate: Predicate, dictionary: Dictionary) -> list[int] | None:
    """The codes that satisfy `=` or `in` over strings, by look-up; None for other predicates."""
    match predicate:
        case Compare(Operator.EQUAL, Text(value)):
            wanted = [value]
        case OneOf(values, False) if isinstance(values[0], Text):
            wanted = [str(value.value) for value in values if isinstance(value, Text)]
        case _:
            return None
    return [code for value in wanted if (code := dictionary.find(value)) is not None]


@singledispatch
def _entry_test(predicate: object) -> EntryTest:
    """A test of one dictionary entry: a string, or the items of a list."""
    raise TypeError(f"no test of strings or lists for the predicate {type(predicate).__name__}")


@_entry_test.register
def _(predicate: Compare) -> EntryTest:
    compare = _COMPARE[predicate.operator]
    value = predicate.value
    if isinstance(value, Version):
        key = versions.parse(value.value)
        return lambda entry: (version := versions.parse(entry)) is not None and compare(version, key)
    return lambda entry: compare(entry, value.value if isinstance(value, Text) else None)


@_entry_test.register
def _(predicate: OneOf) -> EntryTest:
    values = {value.value for value in predicate.values if isinstance(value, Text)}
    return lambda entry: (entry in values) != predicate.negated


@_entry_test.register
def _(predicate: InRange) -> EntryTest:
    assert isinstance(predicate.low, Version)
    assert isinstance(predicate.high, Version)
    low, high = versions.parse(predicate.low.value), versions.parse(predicate.high.value)
    assert low is not None
    assert high is not None
    return lambda entry: (version := versions.parse(entry)) is not None and low <= version <= high


@_entry_test.register
def _(predicate: Contains) -> EntryTest:
    alternatives = [[_folded(part) for part in parts] for parts in parse_pattern(predicate.pattern)]
    return lambda entry: _contains(alternatives, entry.casefold()) != predicate.negated


def _folded(part: Part) -> str | tuple[str, ...]:
    """The case-folded pieces of a part; a single piece as a plain string, which is searched faster."""
    pieces = tuple(map(str.casefold, part.pieces))
    return pieces[0] if len(pieces) == 1 else pieces


def _contains(alternatives: list[list[str | tuple[str, ...]]], text: str) -> bool:
    """Whether every part of some alternative occurs. The loops are plain because they run for every distinct value.

    The pieces of a part must follow one another in the text; taking the earliest match of each piece is always right.
    """
    for parts in alternatives:
        for part in parts:
            if isinstance(part, str):
                if part not in text:
                    break
                continue
            place = 0
            for piece in part:
                place = text.find(piece, place)
                if place < 0:
                    break
                place += len(piece)
            if place < 0:
                break
        else:
            return True
    return False


@_entry_test.register
def _(predicate: StartsWith) -> EntryTest:
    prefix = predicate.prefix.casefold()
    return lambda entry: entry.casefold().startswith(prefix)


@_entry_test.register
def _(predicate: EndsWith) -> EntryTest:
    suffix = predicate.suffix.casefold()
    return lambda entry: entry.casefold().endswith(suffix)


@_entry_test.register
def _(predicate: Matches) -> EntryTest:
    search = compile_expression(predicate.expression).search
    return lambda entry: search(entry) is not None


@_entry_test.register
def _(predicate: Has) -> EntryTest:
    wanted = set(predicate.values)
    match predicate.quantifier:
        case Quantifier.ANY:
            return lambda entry: not wanted.isdisjoint(entry)
        case Quantifier.ALL:
            return lambda entry: wanted.issubset(entry)
        case Quantifier.NONE:
            return lambda entry: wanted.isdisjoint(entry)


@singledispatch
def _column_test(predicate: object, value_type: ValueType, data: NDArray[Any], context: Context) -> Mask:
    """Which rows of a column, not of strings or lists, satisfy the predicate; the result for gaps is undefined."""
    raise TypeError(f"no test of a {value_type.value} for the predicate {type(predicate).__name__}")


@_column_test.register(Compare)
@_column_test.register(OneOf)
@_column_test.register(InRange)
@_column_test.register(Falls)
def _(
    predicate: Compare | OneOf | InRange | Falls, value_type: ValueType, data: NDArray[Any], context: Context
) -> Mask:
    mask: Mask
    if isinstance(predicate, OneOf) and value_type in (ValueType.NUMBER, ValueType.BOOLEAN):
        mask = np.isin(data, [literal.value for literal in predicate.values if isinstance(literal, Number | Boolean)])
        return ~mask if predicate.negated else mask
    wanted = ranges(predicate, value_type, context)
    assert wanted is not None
    mask = np.zeros(len(data), bool)
    for low, high in wanted.ranges:
        mask |= _in_range(data, low, high)
    return ~mask if wanted.negated else mask


def _in_range(data: NDArray[Any], low: Any, high: Any) -> Mask:
    mask: Mask = data < high if low is None else data >= low
    return mask if low is None or high is None else mask & (data < high)


# Types whose values predicates compare by order.
ORDERED_TYPES = frozenset({ValueType.NUMBER, ValueType.DATE, ValueType.DATETIME})


@dataclass(frozen=True, slots=True)
class Ranges:
    """Values in any of some ranges, or outside all of them where `negated`.

    A range is from `low`, included, to `high`, excluded; None is no limit. The units are those of the column: numbers,
    days or milliseconds.
    """

    ranges: tuple[tuple[Any, Any], ...]
    negated: bool = False


def ranges(predicate: Predicate, value_type: ValueType, context: Context) -> Ranges | None:
    """The ranges that a predicate is equal to; None for other predicates and for types without order."""
    if value_type not in ORDERED_TYPES and value_type is not ValueType.BOOLEAN:
        return None
    match predicate:
        case Compare(operator, literal):
            low, high = _bounds(literal, value_type, context)
            return _COMPARED[operator](low, high)
        case OneOf(values, negated):
            return Ranges(tuple(_bounds(literal, value_type, context) for literal in values), negated)
        case InRange(low_literal, high_literal):
            low, _ = _bounds(low_literal, value_type, context)
            _, high = _bounds(high_literal, value_type, context)
            return Ranges(((low, high),))
        case Falls(window):
            interval = resolve(window, context.now_ms, context.calendar)
            if value_type is ValueType.DATE:
                first, last = _day_span(interval, context)
                return Ranges(((first, last + 1),))
            return Ranges(((interval.start_ms, interval.end_ms),))
    return None


_COMPARED: dict[Operator, Callable[[Any, Any], Ranges]] = {
    Operator.EQUAL: lambda low, high: Ranges(((low, high),)),
    Operator.NOT_EQUAL: lambda low, high: Ranges(((low, high),), negated=True),
    Operator.LESS: lambda low, _: Ranges(((None, low),)),
    Operator.LESS_OR_EQUAL: lambda _, high: Ranges(((None, high),)),
    Operator.GREATER: lambda _, high: Ranges(((high, None),)),
    Operator.GREATER_OR_EQUAL: lambda low, _: Ranges(((low, None),)),
}


def _bounds(literal: Literal, value_type: ValueType, context: Context) -> tuple[Any, Any]:
    """The half-open range that a literal covers: one number, or all instants of a day."""
    match literal:
        case Number(value) | Boolean(value):
            return value, math.nextafter(value, math.inf)
        case Instant(value_ms):
            return value_ms, value_ms + 1
        case Day(value):
            day = to_day(value)
            if value_type is ValueType.DATE:
                return day, day + 1
            return context.calendar.day_start_ms(day), context.calendar.day_start_ms(day + 1)
    raise TypeError(f"{type(literal).__name__} has no place in an order")


def _day_span(interval: Interval, context: Context) -> tuple[int, int]:
    """The first and last day that lie wholly in an interval of whole days."""
    return context.calendar.day_of(interval.start_ms), context.calendar.day_of(interval.end_ms - 1)


@_column_test.register
def _(predicate: Anniversary, value_type: ValueType, data: NDArray[Any], context: Context) -> Mask:
    first, last = _day_span(resolve(predicate.window, context.now_ms, context.calendar), context)
    # Five years have every month and day, 29 February and its replacement included.
    celebrated = np.zeros((13, 32), bool)
    for day in range(first, min(last, first + 5 * 366) + 1):
        date = from_day(day)
        celebrated[date.month, date.day] = True
        if (date.month, date.day) == (2, 28) and (from_day(day + 1).month == 3):
            celebrated[2, 29] = True
    days = data if value_type is ValueType.DATE else _local_days(data, context)
    mask: Mask = celebrated[_months_and_days(days)]
    return mask


def _local_days(data: NDArray[np.int64], context: Context) -> NDArray[np.int32]:
    has_value = present(ValueType.DATETIME, data)
    days = np.zeros(len(data), np.int32)
    days[has_value] = context.calendar.days_of(data[has_value])
    return days


def _months_and_days(days: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    dates = days.astype(np.int64).astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    return months.astype(np.int64) % 12 + 1, (dates - months).astype(np.int64) + 1


@_column_test.register
def _(predicate: WithinRadius, value_type: ValueType, data: NDArray[Any], context: Context) -> Mask:
    """Great-circle distance by the haversine formula, which keeps its precision at short distances."""
    latitude, longitude = np.radians(data[:, 0]), np.radians(data[:, 1])
    there_latitude, there_longitude = np.radians(predicate.latitude), np.radians(predicate.longitude)
    haversine = (
        np.sin((latitude - there_latitude) / 2) ** 2
        + np.cos(latitude) * np.cos(there_latitude) * np.sin((longitude - there_longitude) / 2) ** 2
    )
    distance_km = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(haversine, 1)))
    mask: Mask = distance_km <= predicate.radius_km
    return mask
