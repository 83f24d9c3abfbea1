"""Why a user is in a segment or not: the truth of every condition, with the values and events behind it."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce, singledispatch

from pyroaring import BitMap

from bitseg.index.operators import buckets
from bitseg.index.operators.occurrences import Criteria, Occurrences
from bitseg.index.operators.user_events import events_of
from bitseg.query.evaluate import Evaluator
from bitseg.query.leaves import occurrences_of, past
from bitseg.results import Explanation, UserEvent
from bitseg.segment import format
from bitseg.segment.nodes import (
    Aggregate,
    Comparison,
    Condition,
    Did,
    Falls,
    Function,
    InBucket,
    InSegment,
    Sequence,
    Window,
    children,
    steps,
)
from bitseg.segment.windows import Interval, resolve
from bitseg.values import Value

MAX_EVENTS = 20


def explain(condition: Condition, user: int, evaluator: Evaluator, segments: Mapping[str, Condition]) -> Explanation:
    """The truth of a condition and of all below it for the user with a dense id; a saved segment is explained once."""
    return _explain(condition, user, evaluator, segments, set())


def _explain(
    condition: Condition, user: int, evaluator: Evaluator, segments: Mapping[str, Condition], explained: set[str]
) -> Explanation:
    found = _evidence(condition, user, evaluator)
    below, note = children(condition), found.note
    if isinstance(condition, InSegment):
        if condition.name in explained:
            note = "explained above"
        else:
            explained.add(condition.name)
            below = (segments[condition.name],)
    return Explanation(
        format(condition),
        user in evaluator.members(condition),
        found.value,
        None if found.interval is None else (found.interval.start_ms, found.interval.end_ms),
        len(found.events),
        found.events[-MAX_EVENTS:],
        note,
        tuple(_explain(each, user, evaluator, segments, explained) for each in below),
    )


@dataclass(frozen=True, slots=True)
class _Evidence:
    value: Value | None = None
    interval: Interval | None = None
    events: tuple[UserEvent, ...] = ()
    note: str = ""


@singledispatch
def _evidence(condition: object, user: int, evaluator: Evaluator) -> _Evidence:
    return _Evidence()


@_evidence.register
def _(condition: Comparison, user: int, evaluator: Evaluator) -> _Evidence:
    predicate = condition.predicate
    window = predicate.window if isinstance(predicate, Falls) else None
    value = evaluator.index.attributes[condition.name].value(user)
    return _Evidence(value, _interval(window, evaluator), note="" if value is not None else "not set")


@_evidence.register
def _(condition: Did, user: int, evaluator: Evaluator) -> _Evidence:
    index, context = evaluator.index, evaluator.context
    events = tuple(events_of(user, occurrences_of(condition, index, context, BitMap([user]))))
    every = Criteria(index.events_named(condition.event), past(context), condition.where)
    total = len(events_of(user, Occurrences.of(every, context, BitMap([user]))))
    parts = [f"{len(events)} of the user's {total} such events so far count"]
    if isinstance(condition.quantity, Aggregate):
        parts.append(_aggregate_note(condition.quantity, events))
    return _Evidence(None, _interval(condition.window, evaluator), events, "; ".join(parts))


def _aggregate_note(quantity: Aggregate, events: tuple[UserEvent, ...]) -> str:
    """What the user's own events add up to, in order of time as the engine adds."""
    name = quantity.property
    values = [each.properties[name] for each in events if name in each.properties]
    if not values:
        return f"none of them has {name}"
    if quantity.function is Function.DISTINCT:
        return f"distinct({name}) is {len(set(map(repr, values)))}"
    numbers = [value for value in values if isinstance(value, float)]
    total = reduce(operator.add, numbers, 0.0)
    found = {
        Function.SUM: total,
        Function.AVG: total / len(numbers),
        Function.MIN: min(numbers),
        Function.MAX: max(numbers),
    }[quantity.function]
    return f"{quantity.function.value}({name}) is {found:g}"


@_evidence.register
def _(condition: Sequence, user: int, evaluator: Evaluator) -> _Evidence:
    """The events of all steps; which of them form the chain is for the reader to follow."""
    events = [
        event
        for step in steps(condition)
        for event in events_of(user, occurrences_of(step, evaluator.index, evaluator.context))
    ]
    distinct = {(each.event, each.timestamp_ms, str(each.properties)): each for each in events}
    ordered = tuple(sorted(distinct.values(), key=lambda each: each.timestamp_ms))
    return _Evidence(None, _interval(condition.window, evaluator), ordered)


@_evidence.register
def _(condition: InBucket, user: int, evaluator: Evaluator) -> _Evidence:
    hashes = evaluator.index.users.hashes()[user : user + 1]
    bucket = int(buckets.bucket_of(hashes, condition.seed, condition.of)[0])
    return _Evidence(note=f"bucket {bucket} of {condition.of}")


def _interval(window: Window | None, evaluator: Evaluator) -> Interval | None:
    if window is None:
        return None
    return resolve(window, evaluator.context.now_ms, evaluator.context.calendar)
