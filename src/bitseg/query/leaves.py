"""Working out a condition that has no conditions below it."""

from collections.abc import Callable
from functools import singledispatch

from pyroaring import BitMap

from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators import aggregates, buckets, sequences
from bitseg.index.operators.occurrences import Criteria, Occurrences, OccurrenceUsers
from bitseg.segment.nodes import Comparison, Did, FirstTime, InBucket, InList, LastTime, Sequence, steps
from bitseg.segment.windows import ALL_TIME, Interval, duration_ms, resolve

Work = Callable[[], BitMap]


@singledispatch
def compile_leaf(condition: object, index: Index, context: Context, among: BitMap | None = None) -> Work:
    """What works out the users in a condition, or those among some users.

    It holds the data as they are now and may be called while others change them, with one exception: values of an
    attribute that change meanwhile may be seen or not, and the attribute's `changes` tell whose they are. The bitmap
    that it returns must not be changed.
    """
    raise TypeError(f"no evaluation for the condition {type(condition).__name__}")


@singledispatch
def is_quick(condition: object, index: Index, context: Context) -> bool:
    """Whether the condition takes so little work that others may wait for it."""
    return True


@compile_leaf.register
def _(condition: Comparison, index: Index, context: Context, among: BitMap | None = None) -> Work:
    attribute, predicate = index.attributes[condition.name], condition.predicate
    if among is None and not attribute.is_quick(predicate, context):
        return lambda: attribute.scan(predicate, context)
    found = attribute.members(predicate, context, among)
    return lambda: found


@is_quick.register
def _(condition: Comparison, index: Index, context: Context) -> bool:
    return index.attributes[condition.name].is_quick(condition.predicate, context)


@compile_leaf.register
def _(condition: Did, index: Index, context: Context, among: BitMap | None = None) -> Work:
    quantity = condition.quantity
    criteria = criteria_of(condition, index, context)
    if quantity is None:
        return OccurrenceUsers.of(criteria, context, among).users
    if isinstance(quantity, FirstTime | LastTime):
        return aggregates.first_or_last(quantity, criteria, past(context).end_ms, context, among)
    occurrences = Occurrences.of(criteria, context, among)
    return lambda: aggregates.members(quantity, occurrences)


@is_quick.register
def _(condition: Did, index: Index, context: Context) -> bool:
    has_quantity = condition.quantity is not None and not isinstance(condition.quantity, FirstTime | LastTime)
    return not has_quantity and condition.where is None and condition.time_of_day is None


@compile_leaf.register
def _(condition: Sequence, index: Index, context: Context, among: BitMap | None = None) -> Work:
    start, *following = steps(condition)
    first = occurrences_of(start, index, context, among)
    chain: list[sequences.Step] = []
    end_ms = first.interval.end_ms
    for step, did in zip(condition.steps, following, strict=True):
        within_ms = duration_ms(step.within)
        # What comes before all that it could follow, or too long after, is no part of any chain.
        end_ms += within_ms
        reachable = Interval(first.interval.start_ms, end_ms)
        occurrences = occurrences_of(did, index, context, among, within=reachable)
        chain.append(sequences.Step(occurrences, within_ms, step.negated))
    return lambda: sequences.members(first, chain, context.now_ms)


@is_quick.register
def _(condition: Sequence, index: Index, context: Context) -> bool:
    return False


@compile_leaf.register
def _(condition: InList, index: Index, context: Context, among: BitMap | None = None) -> Work:
    found = index.lists[condition.name].members(index.users)
    return lambda: found if among is None else found & among


@compile_leaf.register
def _(condition: InBucket, index: Index, context: Context, among: BitMap | None = None) -> Work:
    hashes, everyone = index.users.hashes(), index.users.everyone
    wanted = everyone if among is None else among & everyone
    return lambda: buckets.members(condition, hashes, wanted)


@is_quick.register
def _(condition: InBucket, index: Index, context: Context) -> bool:
    return False


def past(context: Context) -> Interval:
    """All that is not hidden by as-of."""
    return Interval(ALL_TIME.start_ms, context.now_ms + 1)


def criteria_of(condition: Did, index: Index, context: Context, *, within: Interval = ALL_TIME) -> Criteria:
    """Which events a `did` speaks of, or which of them within an interval."""
    return Criteria(
        index.events_named(condition.event),
        resolve(condition.window, context.now_ms, context.calendar).clipped(past(context)).clipped(within),
        condition.where,
        condition.time_of_day,
        condition.weekdays,
    )


def occurrences_of(
    condition: Did, index: Index, context: Context, among: BitMap | None = None, *, within: Interval = ALL_TIME
) -> Occurrences:
    """The events that a `did` speaks of, or those of them within an interval."""
    return Occurrences.of(criteria_of(condition, index, context, within=within), context, among)
