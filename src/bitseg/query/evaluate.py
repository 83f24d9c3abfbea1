"""Working out a plan: bitmaps of members, or their count without making the last bitmap.

No function here changes a bitmap that the index or the materialised conditions own.
"""

from collections.abc import Hashable, Mapping
from functools import singledispatch

from pyroaring import BitMap

from bitseg.index import aggregates, buckets, sequences
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.occurrences import Occurrences
from bitseg.query.estimate import estimate
from bitseg.query.materialise import MaterialisedConditions
from bitseg.query.normalise import normalise
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Union, plan
from bitseg.segment.nodes import (
    Anniversary,
    Comparison,
    Condition,
    Did,
    Everyone,
    Falls,
    InBucket,
    InList,
    InSegment,
    children,
    steps,
)
from bitseg.segment.nodes import Sequence as SequenceNode
from bitseg.segment.windows import ALL_TIME, Interval, duration_ms, resolve


class Evaluator:
    """Answers conditions over one index at one moment. Each distinct leaf or saved segment is worked out once."""

    def __init__(
        self,
        index: Index,
        context: Context,
        materialised: MaterialisedConditions,
        segments: Mapping[str, Condition] | None = None,
    ) -> None:
        self.index = index
        self.context = context
        self._segments = segments or {}
        self._materialised = materialised
        self._leaves: dict[Condition, BitMap] = {}

    def plan(self, condition: Condition) -> Plan:
        """The plan of a condition."""
        return plan(normalise(condition), lambda each: estimate(each, self.index, self.context))

    def count(self, condition: Condition) -> int:
        """How many users are in the condition."""
        return self._count(self.plan(condition))

    def members(self, condition: Condition) -> BitMap:
        """The users in the condition, as a bitmap that must not be changed."""
        return self._members(self.plan(condition))

    def _count(self, node: Plan) -> int:
        match node:
            case Complement(part):
                return len(self.index.users.everyone) - self._count(part)
            case Intersect(parts, excluded) if len(parts) + len(excluded) > 1:
                # The last operation counts what it would have made.
                if excluded:
                    rest = self._members(Intersect(parts, excluded[:-1]))
                    return rest.difference_cardinality(self._members(excluded[-1])) if rest else 0
                rest = self._members(Intersect(parts[:-1]))
                return rest.intersection_cardinality(self._members(parts[-1])) if rest else 0
            case Union((first, second)):
                return self._members(first).union_cardinality(self._members(second))
        return len(self._members(node))

    def _members(self, node: Plan) -> BitMap:
        match node:
            case Leaf(condition):
                return self._leaf(condition)
            case Complement(part):
                return self.index.users.everyone - self._members(part)
            case Union(parts):
                return BitMap.union(*map(self._members, parts))
            case Intersect(parts, excluded):
                result = self._members(parts[0])
                for part in parts[1:]:
                    if not result:
                        return result
                    result = result & self._members(part)
                for part in excluded:
                    if not result:
                        return result
                    result = result - self._members(part)
                return result

    def _leaf(self, condition: Condition) -> BitMap:
        found = self._leaves.get(condition)
        if found is None:
            found = self._leaves[condition] = self._materialised_leaf(condition)
        return found

    def _materialised_leaf(self, condition: Condition) -> BitMap:
        if isinstance(condition, Everyone):
            return self.index.users.everyone
        if isinstance(condition, InSegment):
            return self.members(self._segments[condition.name])
        if isinstance(condition, InList):
            return self.index.lists[condition.name].members(self.index.users)
        key = (condition, _moment_key(condition, self.index, self.context))
        stamp = _stamp(condition, self.index)
        return self._materialised.get(key, stamp, lambda: leaf_members(condition, self.index, self.context))


@singledispatch
def leaf_members(condition: object, index: Index, context: Context) -> BitMap:
    """The users in a condition that has no conditions below it; the bitmap must not be changed."""
    raise TypeError(f"no evaluation for the condition {type(condition).__name__}")


@leaf_members.register
def _(condition: Comparison, index: Index, context: Context) -> BitMap:
    return index.attributes[condition.name].members(condition.predicate, context)


@leaf_members.register
def _(condition: Did, index: Index, context: Context) -> BitMap:
    occurrences, all_time = occurrences_of(condition, index, context)
    if condition.quantity is None:
        return occurrences.users()
    return aggregates.members(condition.quantity, occurrences, all_time)


def past(context: Context) -> Interval:
    """All that is not hidden by as-of."""
    return Interval(ALL_TIME.start_ms, context.now_ms + 1)


def occurrences_of(condition: Did, index: Index, context: Context) -> tuple[Occurrences, Occurrences]:
    """The events that a `did` speaks of, and the same without its time of day, weekdays and window."""
    events = index.events_named(condition.event)
    interval = resolve(condition.window, context.now_ms, context.calendar).clipped(past(context))
    occurrences = Occurrences(events, interval, context, condition.where, condition.time_of_day, condition.weekdays)
    return occurrences, Occurrences(events, past(context), context, condition.where)


@leaf_members.register
def _(condition: SequenceNode, index: Index, context: Context) -> BitMap:
    first, *following = (occurrences_of(step, index, context)[0] for step in steps(condition))
    chain = [
        sequences.Step(occurrences, duration_ms(step.within), step.negated)
        for step, occurrences in zip(condition.steps, following, strict=True)
    ]
    return sequences.members(first, chain, context.now_ms)


@leaf_members.register
def _(condition: InBucket, index: Index, context: Context) -> BitMap:
    return buckets.members(condition, index.users)


def _stamp(condition: Condition, index: Index) -> Hashable:
    """What changes whenever the data that a leaf is made from changes."""
    match condition:
        case Comparison(name, _):
            return index.attributes[name].revision
        case Did(event):
            return _event_revisions([event], index)
        case SequenceNode():
            return _event_revisions([step.event for step in steps(condition)], index)
        case InBucket():
            return index.users.revision
    return index.version


def _event_revisions(names: list[str | None], index: Index) -> Hashable:
    if None in names:
        return index.version
    return tuple(index.events[name].revision if name in index.events else -1 for name in names if name is not None)


def _moment_key(condition: Condition, index: Index, context: Context) -> Hashable:
    """All that a leaf's members depend on in the moment, and as little of it as may be.

    Instants are drawn in to the first and last event there is: between those, moments that see the same events have
    the same key.
    """
    match condition:
        case Comparison():
            return _windows_within(condition, context)
        case Did():
            dids: tuple[Did, ...] = (condition,)
        case SequenceNode():
            dids = steps(condition)
        case _:
            return None
    interval = resolve(condition.window, context.now_ms, context.calendar)
    spans = [_drawn_in(did.event, index, interval, context.now_ms) for did in dids]
    inner = tuple(_windows_within(did.where, context) for did in dids if did.where is not None)
    waits = isinstance(condition, SequenceNode) and condition.steps[-1].negated
    return tuple(spans), inner, context.now_ms if waits else None


def _drawn_in(name: str | None, index: Index, interval: Interval, now_ms: int) -> Hashable:
    events = index.events_named(name)
    if not events:
        return None
    first_ms = min(event.first_ms for event in events)
    end_ms = max(event.last_ms for event in events) + 1
    drawn = interval.clipped(Interval(first_ms, min(end_ms, now_ms + 1)))
    return drawn, min(end_ms, now_ms + 1)


def _windows_within(condition: Condition, context: Context) -> Hashable:
    """The intervals that the date predicates of a condition mean at this moment."""
    if isinstance(condition, Comparison):
        predicate = condition.predicate
        if isinstance(predicate, Falls | Anniversary):
            return resolve(predicate.window, context.now_ms, context.calendar)
        return None
    return tuple(_windows_within(each, context) for each in children(condition))
