"""Quantities of a `did`: how often, on how many days, how much, for the first or last time.

Everything works on arrays of shape (n,), one item an event, and on arrays indexed by dense user id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import everyone_below, from_array, from_bits, from_sorted, to_array, union
from bitseg.index.context import Context
from bitseg.index.dictionary import Dictionary
from bitseg.index.operators import predicates
from bitseg.index.operators.occurrences import Among, Criteria, Mask, Occurrences, OccurrenceUsers, sort_keys
from bitseg.index.partitions import Property
from bitseg.index.runs import first_of_runs
from bitseg.runtime import cancellation
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
from bitseg.segment.windows import ALL_TIME, Interval
from bitseg.values import ValueType, present

# Users in one step of a full pass, so that their counters stay in the processor's second-level cache.
_CHUNK_USERS = 2**18
# With fewer events than users divided by this, counters are indexed by rank instead of by dense id.
_SPARSE_DIVISOR = 50
# Up to this many times, users are counted with one bitmap per number of times.
_LARGEST_LEVEL = 4


@singledispatch
def members(quantity: object, occurrences: Occurrences) -> BitMap:
    """The users whose occurrences satisfy a quantity, other than first and last time."""
    raise TypeError(f"no evaluation for the quantity {type(quantity).__name__}")


@dataclass(frozen=True, slots=True)
class _Occurring:
    """Users in ascending order, and as a bitmap.

    A user with several occurrences appears several times in `users` if `has_repeats`.
    """

    users: NDArray[np.uint32]
    bitmap: BitMap
    has_repeats: bool

    def repeats(self) -> NDArray[np.uint32]:
        """The users of all occurrences but each user's first."""
        users = self.users
        return users[1:][users[1:] == users[:-1]] if self.has_repeats else users[:0]


@members.register
def _(quantity: Times, occurrences: Occurrences) -> BitMap:
    return _counted(
        [_Occurring(block.users, block.bitmap(), has_repeats=True) for block in occurrences.blocks()], quantity.count
    )


@members.register
def _(quantity: DistinctDays, occurrences: Occurrences) -> BitMap:
    by_day: dict[int, list[BitMap]] = {}
    for block in occurrences.blocks():
        by_day.setdefault(block.day, []).append(block.bitmap())
    days = map(union, by_day.values())
    return _counted([_Occurring(to_array(day), day, has_repeats=False) for day in days], quantity.count)


def _counted(occurring: list[_Occurring], count: CountRange) -> BitMap:
    """The users who occur as often as `count` says, and at least once."""
    total = sum(len(block.users) for block in occurring)
    if not total:
        return BitMap()
    low, high = _count_limits(count)
    levels = low if high is None else high + 1
    last_user = max(block.bitmap.max() for block in occurring)
    if levels <= _LARGEST_LEVEL and levels * total < last_user + 4 * total:
        never, higher = _levels(occurring, levels, last_user)
        reached = higher[low - 2] if low > 1 else everyone_below(last_user + 1) - never
        return reached if high is None else reached - higher[high - 1] if high else BitMap()

    def is_counted(counts: NDArray[np.int64]) -> Mask:
        mask = counts >= low
        return mask if high is None else mask & (counts <= high)

    blocks = [(block.users,) for block in occurring]
    return _by_chunk(blocks, lambda places, size: is_counted(np.bincount(places, minlength=size)))


def _count_limits(count: CountRange) -> tuple[int, int | None]:
    """The smallest number of times that counts, at least 1, and the largest; None for no upper limit."""
    match count:
        case CountBetween(low, high):
            return max(low, 1), high
        case Count(Bound.EXACTLY, number):
            return max(number, 1), number
        case Count(Bound.AT_LEAST, number):
            return max(number, 1), None
        case Count(Bound.MORE_THAN, number):
            return number + 1, None
        case Count(Bound.AT_MOST, number):
            return 1, number
        case Count(_, number):
            return 1, number - 1


def _levels(occurring: list[_Occurring], count: int, last_user: int) -> tuple[BitMap, list[BitMap]]:
    """The users who never occur, and for each number of times from 2 to `count` the users who occur at least as often.

    The first level is represented by its complement, the users who never occur: removing a few users from bitsets is
    much faster than merging them into arrays. The complement may have ids beyond `last_user`.
    """
    never = everyone_below(last_user + 1)
    higher = [BitMap() for _ in range(count - 1)]

    def occur(once: BitMap) -> None:
        reaching = once - never
        for level in higher[:-1]:
            next_reaching = level & reaching
            level |= reaching
            reaching = next_reaching
        if higher:
            higher[-1] |= reaching
        never.difference_update(once)

    for block in occurring:
        occur(block.bitmap)
    # Then the repeats within blocks, one occurrence of every user a round. Rounds beyond `count` would change nothing.
    repeats = np.sort(np.concatenate([block.repeats() for block in occurring]))
    for _ in range(count):
        is_first = first_of_runs(repeats)
        occur(from_sorted(repeats[is_first]))
        repeats = repeats[~is_first]
    return never, higher


def _by_chunk(blocks: Sequence[tuple[NDArray[Any], ...]], test: Callable[..., Mask]) -> BitMap:
    """The users for whom a test over all their events is true.

    A block is an array of ascending users, one an event, and arrays with values of these events. `test` is called once
    per chunk of users. It gets the users of the events, numbered from 0 within the chunk, the values of the events, and
    the number of users in the chunk. It returns a mask with one item per user of the chunk.
    """
    total = sum(len(block[0]) for block in blocks)
    if not total:
        return BitMap()
    last_user = max(int(block[0][-1]) for block in blocks if len(block[0]))
    if total < last_user // _SPARSE_DIVISOR:
        users, places = np.unique(np.concatenate([block[0] for block in blocks]), return_inverse=True)
        others = [np.concatenate(arrays) for arrays in list(zip(*blocks, strict=True))[1:]]
        return from_sorted(users[test(places, *others, len(users))])
    size = _CHUNK_USERS
    edges = np.arange(0, last_user + size + 1, size)
    bounds = [np.searchsorted(block[0], edges).tolist() for block in blocks]
    bits = np.zeros(len(edges) * size // 8, np.uint8)
    for number, base in enumerate(edges[:-1].tolist()):
        cancellation.check()
        slices = [slice(ends[number], ends[number + 1]) for ends in bounds]
        users, *others = (
            np.concatenate([array[part] for array, part in zip(arrays, slices, strict=True)])
            for arrays in zip(*blocks, strict=True)
        )
        if len(users):
            mask = test(users - np.uint32(base), *others, size)
            bits[base // 8 : (base + size) // 8] = np.packbits(mask, bitorder="little")
    return from_bits(bits)


@members.register
def _(quantity: Aggregate, occurrences: Occurrences) -> BitMap:
    def satisfies(totals: NDArray[np.float64]) -> Mask:
        return predicates.test(quantity.test, ValueType.NUMBER, totals, None, occurrences.context)

    if quantity.function is Function.DISTINCT:
        users, totals = _distinct_values(occurrences, quantity.property)
        return from_array(users[satisfies(totals)])
    total = _FUNCTIONS[quantity.function]

    def test(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> Mask:
        return satisfies(total(places, values, size))

    blocks = _numbers(occurrences, quantity.property)
    members = _by_chunk(blocks, test)
    if quantity.function is Function.SUM and satisfies(np.zeros(1))[0]:
        # Users without any number have no sum, not a sum of zero.
        members &= union([from_array(users) for users, _ in blocks])
    return members


def _numbers(occurrences: Occurrences, name: str) -> list[tuple[NDArray[np.uint32], NDArray[np.float64]]]:
    """Users and values of the events that have a number, in blocks sorted by user and then by time."""
    numbers: list[tuple[NDArray[np.uint32], NDArray[np.float64]]] = []
    times_ms: list[NDArray[np.int64]] = []
    for block in occurrences.blocks():
        column = block.column(name)
        if column is None or column[0].type is not ValueType.NUMBER:
            continue
        users, values = block.users, column[1]
        rows: NDArray[np.bool_] | slice = slice(None)
        if block.has_gaps(name):
            rows = present(ValueType.NUMBER, values)
            users, values = users[rows], values[rows]
        numbers.append((users, values))
        if len(occurrences.events) > 1:
            times_ms.append(block.times_ms[rows])
    if len(occurrences.events) > 1 and numbers:
        users, values = (np.concatenate(arrays) for arrays in zip(*numbers, strict=True))
        order = np.argsort(sort_keys(users, np.concatenate(times_ms)), kind="stable")
        return [(users[order], values[order])]
    return numbers


def _sum(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sums in order of time, one addition after another, so that the result does not depend on storage."""
    return np.bincount(places, weights=values, minlength=size).astype(np.float64, copy=False)


def _average(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        averages: NDArray[np.float64] = _sum(places, values, size) / np.bincount(places, minlength=size)
    return averages


def _least(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    totals = np.full(size, np.nan)
    np.fmin.at(totals, places, values)
    return totals


def _greatest(places: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    totals = np.full(size, np.nan)
    np.fmax.at(totals, places, values)
    return totals


# A function takes the users of the events, numbered from 0, the values of the events and the number of users. It
# returns one number per user.
_FUNCTIONS: dict[Function, Callable[[NDArray[np.int64], NDArray[np.float64], int], NDArray[np.float64]]] = {
    Function.SUM: _sum,
    Function.AVG: _average,
    Function.MIN: _least,
    Function.MAX: _greatest,
}

Totals = tuple[NDArray[np.uint32], NDArray[np.float64]]


def _distinct_values(occurrences: Occurrences, name: str) -> Totals:
    """Users and their numbers of distinct values of a property; values of different types are always distinct."""
    users: list[NDArray[np.uint32]] = []
    kinds: list[NDArray[np.int64]] = []
    codes: list[NDArray[np.int64]] = []
    shared = Dictionary()
    for block in occurrences.blocks():
        column = block.column(name)
        if column is None:
            continue
        definition, data = column
        has_value = present(definition.type, data)
        users.append(block.users[has_value])
        codes.append(_value_codes(definition, data[has_value], shared))
        kinds.append(np.full(len(users[-1]), _TYPE_NUMBERS[definition.type]))
    if not users:
        return np.empty(0, np.uint32), np.empty(0, np.float64)
    all_users, all_kinds, all_codes = np.concatenate(users), np.concatenate(kinds), np.concatenate(codes)
    order = np.lexsort((all_codes, all_kinds, all_users))
    ordered_users = all_users[order]
    distinct = first_of_runs(ordered_users) | first_of_runs(all_kinds[order]) | first_of_runs(all_codes[order])
    users_with_values, counts = np.unique(ordered_users[distinct], return_counts=True)
    return users_with_values, counts.astype(np.float64)


_TYPE_NUMBERS = {value_type: number for number, value_type in enumerate(ValueType)}


def _value_codes(column: Property, data: NDArray[Any], shared: Dictionary) -> NDArray[np.int64]:
    """One integer per value. Equal values of one type have equal integers, also across calls with the same `shared`."""
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


def first_or_last(
    quantity: FirstTime | LastTime, criteria: Criteria, end_ms: int, context: Context, among: BitMap | None = None
) -> Callable[[], BitMap]:
    """A function that computes the users whose first or last event meets the criteria; `among` restricts the users.

    The first or last event is chosen among the events that have the criteria's names, satisfy their `where` and lie
    before `end_ms`. Call with the engine's lock held; the returned function needs no lock.
    """
    interval = criteria.interval
    in_interval = replace(criteria, time_of_day=None, weekdays=())
    is_first = isinstance(quantity, FirstTime)
    beyond = Interval(ALL_TIME.start_ms, interval.start_ms) if is_first else Interval(interval.end_ms, end_ms)
    outside = OccurrenceUsers.of(replace(in_interval, interval=beyond), context, among)
    if not criteria.is_timed:
        inside = OccurrenceUsers.of(in_interval, context, among)
        return lambda: inside.users() - outside.users()
    occurrences = Occurrences.of(in_interval, context, among)
    return lambda: _timed_first_or_last(occurrences, outside, criteria, is_first=is_first)


def _timed_first_or_last(
    inside: Occurrences, outside: OccurrenceUsers, criteria: Criteria, *, is_first: bool
) -> BitMap:
    """The users without events outside whose first or last event inside meets the weekdays and time of day."""
    candidates = inside.users() - outside.users()
    users, times_ms = inside.only(Among(candidates)).gather()
    starts = first_of_runs(users)
    chosen = starts if is_first else np.append(starts[1:], True)[: len(users)]
    users, times_ms = users[chosen], times_ms[chosen]
    return from_array(users[criteria.matches(times_ms, inside.context)])
