"""How far an answer kept from before still stands, and for whom it has to be worked out again.

Whether a user is in a condition depends on that user's values and events alone, and on the moment. So an answer is
brought up to date by asking again about the users who changed since, and about those with events that the moment has
moved into a window or out of it.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from pyroaring import BitMap

from bitseg.calendar import LAST_INSTANT_MS
from bitseg.index.bitmaps import from_array, union
from bitseg.index.changes import Change, ChangeLog
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators.occurrences import Criteria, OccurrenceUsers
from bitseg.query.leaves import past
from bitseg.segment.nodes import (
    Anniversary,
    Comparison,
    Condition,
    Did,
    Falls,
    FirstTime,
    InBucket,
    InLast,
    InNext,
    LastTime,
    MoreThanAgo,
    Sequence,
    Unit,
    Window,
    children,
    steps,
)
from bitseg.segment.windows import Interval, duration_ms, resolve

Revisions = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stamp:
    """The data and the moment that an answer was made from: equal stamps, equal answers.

    `revisions` are those of the parts of the index that the condition reads, `intervals` what its windows mean, drawn
    in to the events there are, `inner` what the windows in its predicates mean.
    """

    revisions: Revisions
    intervals: tuple[Interval, ...]
    inner: Hashable


@dataclass(frozen=True, slots=True)
class Stale:
    """For whom an answer has to be worked out again.

    `added` is the interval of events that came since, where that is all that happened: it cannot take a user out of a
    plain `did`.
    """

    users: BitMap
    added: Interval | None


def stamp(condition: Condition, index: Index, context: Context) -> Stamp:
    """The stamp of a condition now."""
    return Stamp(
        tuple(_revisions(condition, index)),
        tuple(_intervals(condition, index, context)),
        _windows_within(condition, context),
    )


def valid_until_ms(condition: Condition, index: Index, context: Context) -> int:
    """The first instant from the context's on at which the stamp may differ though no data change."""
    windows = list(_windows(condition))
    newest_ms = max((event.last_ms for did in _dids(condition) for event in index.events_named(did.event)), default=0)
    waits = isinstance(condition, Sequence) and condition.steps[-1].negated
    if waits or newest_ms > context.now_ms or any(map(_slides, windows)):
        return context.now_ms + 1
    if not windows:
        return LAST_INSTANT_MS
    return context.calendar.day_start_ms(context.calendar.day_of(context.now_ms) + 1)


def stale_users(
    condition: Condition, before: Stamp, before_ms: int, now: Stamp, index: Index, context: Context
) -> Stale | None:
    """Who may be in a condition now and was not at a stamp, or the other way round; None if that is not known.

    `before_ms` is the instant that stood for now at the earlier stamp.
    """
    if before.inner != now.inner or len(before.revisions) != len(now.revisions):
        return None
    changes: list[Change] = []
    for log, revision in zip(_logs(condition, index), before.revisions, strict=True):
        since = log.since(revision)
        if since is None:
            return None
        changes += since
    users = [from_array(change.users) for change in changes]
    added = None
    if before.intervals != now.intervals:
        users += _moved(condition, before_ms, index, context)
    elif changes and all(change.added_only for change in changes):
        added = Interval(min(each.first_ms for each in changes), max(each.last_ms for each in changes) + 1)
    return Stale(union(users), added)


def _moved(condition: Condition, before_ms: int, index: Index, context: Context) -> Iterator[BitMap]:
    """The users with events that count at one of two moments and not at the other."""
    then = Context(before_ms, context.calendar)
    for did in _dids(condition):
        events = index.events_named(did.event)
        old = resolve(did.window, before_ms, context.calendar).clipped(past(then))
        new = resolve(did.window, context.now_ms, context.calendar).clipped(past(context))
        for start_ms, end_ms in ((old.start_ms, new.start_ms), (old.end_ms, new.end_ms)):
            between = Interval(min(start_ms, end_ms), max(start_ms, end_ms))
            yield OccurrenceUsers.of(Criteria(events, between), context).users()
        if isinstance(did.quantity, FirstTime | LastTime):
            moved_over = Criteria(events, _between(before_ms, context.now_ms))
            yield OccurrenceUsers.of(moved_over, context).users()
    if isinstance(condition, Sequence) and condition.steps[-1].negated:
        # Those whose time to do the last step has run out meanwhile, or has not yet.
        waited_for = steps(condition)[-2]
        within_ms = duration_ms(condition.steps[-1].within)
        ended = _between(before_ms - within_ms, context.now_ms - within_ms)
        yield OccurrenceUsers.of(Criteria(index.events_named(waited_for.event), ended), context).users()


def _between(one_ms: int, other_ms: int) -> Interval:
    return Interval(min(one_ms, other_ms) + 1, max(one_ms, other_ms) + 1)


def _dids(condition: Condition) -> tuple[Did, ...]:
    match condition:
        case Did():
            return (condition,)
        case Sequence():
            return steps(condition)
    return ()


def _logs(condition: Condition, index: Index) -> list[ChangeLog]:
    match condition:
        case Comparison(name, _):
            return [index.attributes[name].changes]
        case InBucket():
            return [index.users.changes]
    return [event.changes for did in _dids(condition) for event in index.events_named(did.event)]


def _revisions(condition: Condition, index: Index) -> Iterator[int]:
    match condition:
        case Comparison(name, _):
            yield index.attributes[name].revision
        case InBucket():
            yield index.users.revision
    for did in _dids(condition):
        for event in index.events_named(did.event):
            yield event.revision


def _intervals(condition: Condition, index: Index, context: Context) -> Iterator[Interval]:
    """What the windows mean, and what is in the past, drawn in to the first and last event there is.

    Between those, moments that see the same events have the same intervals.
    """
    for did in _dids(condition):
        events = index.events_named(did.event)
        if not events:
            continue
        visible = Interval(
            min(event.first_ms for event in events),
            min(max(event.last_ms for event in events), context.now_ms) + 1,
        )
        yield visible
        yield resolve(did.window, context.now_ms, context.calendar).clipped(visible)
    if isinstance(condition, Sequence) and condition.steps[-1].negated:
        yield Interval(context.now_ms, context.now_ms)


def _windows(condition: Condition) -> Iterator[Window]:
    """The windows of a condition and of the predicates within it."""
    if isinstance(condition, Comparison):
        if isinstance(condition.predicate, Falls | Anniversary):
            yield condition.predicate.window
        return
    for did in _dids(condition):
        if did.window is not None:
            yield did.window
        if did.where is not None:
            yield from _windows(did.where)
    if not isinstance(condition, Did | Sequence):
        for each in children(condition):
            yield from _windows(each)


def _slides(window: Window) -> bool:
    """Whether the window moves with every millisecond rather than with the day."""
    return isinstance(window, InLast | InNext | MoreThanAgo) and window.duration.unit in (Unit.MINUTES, Unit.HOURS)


def _windows_within(condition: Condition, context: Context) -> Hashable:
    """The intervals that the predicates of a condition mean at this moment."""
    if isinstance(condition, Comparison):
        predicate = condition.predicate
        if isinstance(predicate, Falls | Anniversary):
            return resolve(predicate.window, context.now_ms, context.calendar)
        return None
    dids = _dids(condition)
    if dids:
        return tuple(_windows_within(did.where, context) for did in dids if did.where is not None)
    return tuple(_windows_within(each, context) for each in children(condition))
