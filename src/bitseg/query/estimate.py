"""About how many users are in a condition, found without evaluating it. Only the order of work depends on it."""

from functools import singledispatch

from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.segment.nodes import And, Comparison, Did, InBucket, InList, Not, Or, Sequence, steps
from bitseg.segment.windows import resolve


@singledispatch
def estimate(condition: object, index: Index, context: Context) -> int:
    """An upper guess at the number of members."""
    return len(index.users.everyone)


@estimate.register
def _(condition: And, index: Index, context: Context) -> int:
    return min(estimate(each, index, context) for each in condition.conditions)


@estimate.register
def _(condition: Or, index: Index, context: Context) -> int:
    total = sum(estimate(each, index, context) for each in condition.conditions)
    return min(total, len(index.users.everyone))


@estimate.register
def _(condition: Not, index: Index, context: Context) -> int:
    return max(len(index.users.everyone) - estimate(condition.condition, index, context), 0)


@estimate.register
def _(condition: Comparison, index: Index, context: Context) -> int:
    attribute = index.attributes.get(condition.name)
    return attribute.estimate(condition.predicate, context) if attribute else 0


@estimate.register
def _(condition: Did, index: Index, context: Context) -> int:
    interval = resolve(condition.window, context.now_ms, context.calendar)
    partitions = (each for event in index.events_named(condition.event) for each, _ in event.within(interval))
    total = sum(len(partition.bitmap) for partition in partitions)
    return min(total, len(index.users.everyone))


@estimate.register
def _(condition: Sequence, index: Index, context: Context) -> int:
    return estimate(steps(condition)[0], index, context)


@estimate.register
def _(condition: InList, index: Index, context: Context) -> int:
    return len(index.lists[condition.name].user_ids)


@estimate.register
def _(condition: InBucket, index: Index, context: Context) -> int:
    return len(index.users.everyone) * (condition.last - condition.first + 1) // condition.of
