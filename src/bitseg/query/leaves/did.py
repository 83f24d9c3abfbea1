"""The leaf `did`."""

import operator
from functools import reduce

from pyroaring import BitMap

from bitseg.index.bitmaps import union
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators import aggregates
from bitseg.index.operators.occurrences import Criteria, Occurrences, OccurrenceUsers
from bitseg.index.operators.user_events import events_of
from bitseg.query.leaves.base import Evidence, Stale, Warnings, Work
from bitseg.query.leaves.events import EventLeafKind, criteria_of, occurrences_of, past
from bitseg.query.leaves.names import check_aggregate, check_event, check_where
from bitseg.query.leaves.windows import resolved
from bitseg.results import UserEvent
from bitseg.segment.nodes import Aggregate, Did, FirstTime, Function, LastTime


class DidKind(EventLeafKind[Did]):
    """The users who did an event, possibly with a quantity: how often, how much, or for the first or last time."""

    def dids(self, condition: Did) -> tuple[Did, ...]:
        return (condition,)

    def compile(self, condition: Did, index: Index, context: Context, among: BitMap | None = None) -> Work:
        quantity = condition.quantity
        criteria = criteria_of(condition, index, context)
        if quantity is None:
            return OccurrenceUsers.of(criteria, context, among).users
        if isinstance(quantity, FirstTime | LastTime):
            return aggregates.first_or_last(quantity, criteria, past(context).end_ms, context, among)
        occurrences = Occurrences.of(criteria, context, among)
        return lambda: aggregates.members(quantity, occurrences)

    def is_quick(self, condition: Did, index: Index, context: Context) -> bool:
        has_quantity = condition.quantity is not None and not isinstance(condition.quantity, FirstTime | LastTime)
        return not has_quantity and condition.where is None and condition.time_of_day is None

    def refresh(self, condition: Did, before: BitMap, stale: Stale, index: Index, context: Context) -> Work:
        if condition.quantity is not None or stale.added is None:
            return super().refresh(condition, before, stale, index, context)
        arrived = occurrences_of(condition, index, context, stale.users, within=stale.added)
        if arrived.interval == stale.added and arrived.is_any:
            return lambda: union([before, stale.users])
        return lambda: union([before, arrived.users()])

    def check_names(self, condition: Did, index: Index, warnings: Warnings) -> None:
        events = check_event(condition.event, index, warnings)
        check_where(condition.where, events, warnings)
        if isinstance(condition.quantity, Aggregate):
            check_aggregate(condition.quantity, events, warnings)

    def evidence(self, condition: Did, user: int, index: Index, context: Context) -> Evidence:
        only = BitMap([user])
        events = tuple(events_of(user, occurrences_of(condition, index, context, only)))
        whenever = Criteria(index.events_named(condition.event), past(context), condition.where)
        total = len(events_of(user, Occurrences.of(whenever, context, only)))
        notes = [f"{len(events)} of the user's {total} such events so far count"]
        if isinstance(condition.quantity, Aggregate):
            notes.append(_aggregate_note(condition.quantity, events))
        return Evidence(None, resolved(condition.window, context), events, "; ".join(notes))


def _aggregate_note(quantity: Aggregate, events: tuple[UserEvent, ...]) -> str:
    """The aggregate over the events of one user, added in order of time as the engine does."""
    name = quantity.property
    values = [event.properties[name] for event in events if name in event.properties]
    if not values:
        return f"none of them has {name}"
    if quantity.function is Function.DISTINCT:
        return f"distinct({name}) is {len(set(map(repr, values)))}"
    numbers = [value for value in values if isinstance(value, float)]
    total = reduce(operator.add, numbers, 0.0)
    result = {
        Function.SUM: total,
        Function.AVG: total / len(numbers),
        Function.MIN: min(numbers),
        Function.MAX: max(numbers),
    }[quantity.function]
    return f"{quantity.function.value}({name}) is {result:g}"
