"""What the two kinds of leaf over events share: `did` and sequences."""

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence

from pyroaring import BitMap

from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators.occurrences import Criteria, Occurrences, OccurrenceUsers
from bitseg.query.leaves.base import C, LeafKind, Source
from bitseg.query.leaves.windows import next_move_ms, resolved, window_of
from bitseg.segment.nodes import Comparison, Condition, Did, FirstTime, LastTime, Window, children
from bitseg.segment.windows import ALL_TIME, Interval, resolve


def past(context: Context) -> Interval:
    """All instants up to and including the context's; later events are hidden."""
    return Interval(ALL_TIME.start_ms, context.now_ms + 1)


def criteria_of(condition: Did, index: Index, context: Context, *, within: Interval = ALL_TIME) -> Criteria:
    """The criteria of a `did`; `within` restricts the events to an interval."""
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
    """The events that a `did` selects; `within` restricts them to an interval."""
    return Occurrences.of(criteria_of(condition, index, context, within=within), context, among)


def users_with_events(did: Did, interval: Interval, index: Index, context: Context) -> BitMap:
    """The users with any event of the `did`'s name in an interval; its other criteria are ignored."""
    return OccurrenceUsers.of(Criteria(index.events_named(did.event), interval), context).users()


def between(one_ms: int, other_ms: int) -> Interval:
    """The instants after the earlier of two instants, up to and including the later."""
    return Interval(min(one_ms, other_ms) + 1, max(one_ms, other_ms) + 1)


class EventLeafKind(LeafKind[C]):
    """A leaf made of one or more `did`, each with its own events."""

    @abstractmethod
    def dids(self, condition: C) -> tuple[Did, ...]:
        """The `did` of every step."""

    def stored(self, condition: C, index: Index) -> BitMap | None:
        return None

    def estimate(self, condition: C, index: Index, context: Context) -> int:
        """The number of users per day of the first step, added up over its days."""
        first = self.dids(condition)[0]
        interval = resolve(first.window, context.now_ms, context.calendar)
        partitions = (partition for event in index.events_named(first.event) for partition, _ in event.within(interval))
        total = sum(len(partition.bitmap) for partition in partitions)
        return min(total, len(index.users.everyone))

    def sources(self, condition: C, index: Index) -> Sequence[Source]:
        return [event for did in self.dids(condition) for event in index.events_named(did.event)]

    def intervals(self, condition: C, index: Index, context: Context) -> tuple[Interval, ...]:
        """The past and every window, clipped to the first and the last event of the name.

        Clipping makes the intervals equal at all moments that see the same events.
        """
        intervals: list[Interval] = []
        for did in self.dids(condition):
            events = index.events_named(did.event)
            if not events:
                continue
            visible = Interval(
                min(event.first_ms for event in events),
                min(max(event.last_ms for event in events), context.now_ms) + 1,
            )
            intervals += (visible, resolve(did.window, context.now_ms, context.calendar).clipped(visible))
        return tuple(intervals)

    def inner_windows(self, condition: C, context: Context) -> Hashable:
        return tuple(resolved(window, context) for did in self.dids(condition) for window in _where_windows(did.where))

    def moved(self, condition: C, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        then = Context(before_ms, context.calendar)
        for did in self.dids(condition):
            before = resolve(did.window, before_ms, context.calendar).clipped(past(then))
            now = resolve(did.window, context.now_ms, context.calendar).clipped(past(context))
            for start_ms, end_ms in ((before.start_ms, now.start_ms), (before.end_ms, now.end_ms)):
                yield users_with_events(did, Interval(min(start_ms, end_ms), max(start_ms, end_ms)), index, context)
            if isinstance(did.quantity, FirstTime | LastTime):
                yield users_with_events(did, between(before_ms, context.now_ms), index, context)

    def valid_until_ms(self, condition: C, index: Index, context: Context) -> int:
        dids = self.dids(condition)
        newest_ms = max((event.last_ms for did in dids for event in index.events_named(did.event)), default=0)
        if newest_ms > context.now_ms:
            # Any later moment may reveal one of the events that are still in the future.
            return context.now_ms + 1
        windows = [did.window for did in dids if did.window is not None]
        windows += (window for did in dids for window in _where_windows(did.where))
        return next_move_ms(windows, context)


def _where_windows(where: Condition | None) -> Iterator[Window]:
    """The windows of the predicates of a `where`."""
    pending = [] if where is None else [where]
    while pending:
        node = pending.pop()
        pending += reversed(children(node))
        window = window_of(node.predicate) if isinstance(node, Comparison) else None
        if window is not None:
            yield window
