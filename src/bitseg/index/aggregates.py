"""Users by what their events add up to: how often, on how many days, how much, which came first or last.

All of it works on arrays of shape (n,), one item an event, and on arrays indexed by dense user id.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index import predicates
from bitseg.index.bitmaps import from_array, from_mask
from bitseg.index.dictionary import Dictionary
from bitseg.index.events import Property
from bitseg.index.occurrences import Mask, Occurrences
from bitseg.segment.nodes import (
    Aggregate,
    Bound,
    Count,
    CountBetween,
    CountRange,
    DistinctDays,
    FirstTime,
    Function,
    LastTime,
    Times,
)
from bitseg.values import ValueType, present

_BOUNDS: dict[Bound, Callable[[Any, int], Any]] = {
    Bound.EXACTLY: lambda counts, number: counts == number,
    Bound.AT_LEAST: lambda counts, number: counts >= number,
    Bound.AT_MOST: lambda counts, number: counts <= number,
    Bound.MORE_THAN: lambda counts, number: counts > number,
    Bound.FEWER_THAN: lambda counts, number: counts < number,
}


@singledispatch
def members(quantity: object, occurrences: Occurrences, all_time: Occurrences) -> BitMap:
    """The users whose occurrences satisfy a quantity.

    `all_time` are the same events without interval, time of day and weekdays: where first and last are looked for.
    """
    raise TypeError(f"no evaluation for the quantity {type(quantity).__name__}")


@members.register
def _(quantity: Times, occurrences: Occurrences, all_time: Occurrences) -> BitMap:
    return _counted([block.users for block in occurrences.blocks()], quantity.count)


@members.register
def _(quantity: DistinctDays, occurrences: Occurrences, all_time: Occurrences) -> BitMap:
    by_day: dict[int, list[BitMap]] = {}
    for block in occurrences.blocks():
        by_day.setdefault(block.partition.day, []).append(block.bitmap())
    days = [BitMap.union(*bitmaps) if len(bitmaps) > 1 else bitmaps[0] for bitmaps in by_day.values()]
    return _counted([np.frombuffer(day.to_array(), np.uint32) for day in days], quantity.count)


def _counted(users: list[NDArray[np.uint32]], count: CountRange) -> BitMap:
    """The users that occur at all and as often as asked."""
    if not users:
        return BitMap()
    counts = np.bincount(np.concatenate(users))
    return from_mask(_in_count_range(counts, count) & (counts > 0))


def _in_count_range(counts: NDArray[Any], count: CountRange) -> Mask:
    mask: Mask
    match count:
        case Count(bound, number):
            mask = _BOUNDS[bound](counts, number)
        case CountBetween(low, high):
            mask = (counts >= low) & (counts <= high)
    return mask


@members.register
def _(quantity: Aggregate, occurrences: Occurrences, all_time: Occurrences) -> BitMap:
    if quantity.function is Function.DISTINCT:
        users, totals = _distinct_values(occurrences, quantity.property)
    else:
        users, totals = _FUNCTIONS[quantity.function](*_numbers(occurrences, quantity.property))
    return from_array(users[predicates.test(quantity.test, ValueType.NUMBER, totals, None, occurrences.context)])


def _numbers(occurrences: Occurrences, name: str) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Users and values of the events that have a number, each user's in order of time."""
    users: list[NDArray[np.uint32]] = []
    values: list[NDArray[np.float64]] = []
    times_ms: list[NDArray[np.int64]] = []
    for block in occurrences.blocks():
        found = block.column(name)
        if found is None or found[0].type is not ValueType.NUMBER:
            continue
        has_value = present(ValueType.NUMBER, found[1])
        users.append(block.users[has_value])
        values.append(found[1][has_value])
        times_ms.append(block.times_ms[has_value])
    if not users:
        return np.empty(0, np.uint32), np.empty(0, np.float64)
    all_users, all_values = np.concatenate(users), np.concatenate(values)
    if len(occurrences.events) > 1:
        order = np.argsort(np.concatenate(times_ms), kind="stable")
        all_users, all_values = all_users[order], all_values[order]
    return all_users, all_values


Totals = tuple[NDArray[np.uint32], NDArray[np.float64]]


def _sum(users: NDArray[np.uint32], values: NDArray[np.float64]) -> Totals:
    """Sums in order of time, one addition after another, so that the result does not depend on storage."""
    found = np.flatnonzero(np.bincount(users)).astype(np.uint32)
    sums = np.bincount(users, weights=values)[found]
    return found, sums.astype(np.float64, copy=False)


def _average(users: NDArray[np.uint32], values: NDArray[np.float64]) -> Totals:
    found, sums = _sum(users, values)
    averages: NDArray[np.float64] = sums / np.bincount(users)[found]
    return found, averages


def _least(users: NDArray[np.uint32], values: NDArray[np.float64]) -> Totals:
    order = np.lexsort((values, users))
    first = _first_of_runs(users[order])
    return users[order][first], values[order][first]


def _greatest(users: NDArray[np.uint32], values: NDArray[np.float64]) -> Totals:
    found, negated = _least(users, -values)
    return found, -negated


_FUNCTIONS: dict[Function, Callable[[NDArray[np.uint32], NDArray[np.float64]], Totals]] = {
    Function.SUM: _sum,
    Function.AVG: _average,
    Function.MIN: _least,
    Function.MAX: _greatest,
}


def _distinct_values(occurrences: Occurrences, name: str) -> Totals:
    """Users and how many distinct values of the property each has; values of two types are never the same."""
    users: list[NDArray[np.uint32]] = []
    kinds: list[NDArray[np.int64]] = []
    codes: list[NDArray[np.int64]] = []
    shared = Dictionary()
    for block in occurrences.blocks():
        found = block.column(name)
        if found is None:
            continue
        column, data = found
        has_value = present(column.type, data)
        users.append(block.users[has_value])
        codes.append(_value_codes(column, data[has_value], shared))
        kinds.append(np.full(len(users[-1]), _TYPE_NUMBERS[column.type]))
    if not users:
        return np.empty(0, np.uint32), np.empty(0, np.float64)
    all_users, all_kinds, all_codes = np.concatenate(users), np.concatenate(kinds), np.concatenate(codes)
    order = np.lexsort((all_codes, all_kinds, all_users))
    ordered_users = all_users[order]
    distinct = _first_of_runs(ordered_users) | _first_of_runs(all_kinds[order]) | _first_of_runs(all_codes[order])
    found_users, counts = np.unique(ordered_users[distinct], return_counts=True)
    return found_users, counts.astype(np.float64)


_TYPE_NUMBERS = {value_type: number for number, value_type in enumerate(ValueType)}


def _value_codes(column: Property, data: NDArray[Any], shared: Dictionary) -> NDArray[np.int64]:
    """An integer per value, equal where values of one type are equal, across the events that share a dictionary."""
    if column.type is ValueType.NUMBER:
        # Adding zero turns -0.0 into 0.0, so that equal numbers have equal bits.
        return (data + 0.0).view(np.int64)
    if column.dictionary is not None:
        used, inverse = np.unique(data, return_inverse=True)
        entries = [column.dictionary.entries[code] for code in used]
        return shared.recode(np.arange(len(used), dtype=np.int32), entries)[inverse].astype(np.int64)
    if column.type is ValueType.GEO:
        points, inverse = np.unique(data + 0.0, axis=0, return_inverse=True)
        entries = [(repr(float(latitude)), repr(float(longitude))) for latitude, longitude in points]
        return shared.recode(np.arange(len(points), dtype=np.int32), entries)[inverse].astype(np.int64)
    return data.astype(np.int64)


def _first_of_runs(ordered: NDArray[Any]) -> Mask:
    """True where a value differs from the one before it; shape (n,)."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


@members.register(FirstTime)
@members.register(LastTime)
def _(quantity: FirstTime | LastTime, occurrences: Occurrences, all_time: Occurrences) -> BitMap:
    users, times_ms = all_time.gather()
    first = _first_of_runs(users)
    chosen = first if isinstance(quantity, FirstTime) else np.append(first[1:], True)[: len(users)]
    users, times_ms = users[chosen], times_ms[chosen]
    return from_array(users[occurrences.matches(times_ms)])
