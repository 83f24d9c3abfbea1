"""The leaf `did … then did …`."""

from collections.abc import Iterable

from pyroaring import BitMap

from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.index.operators import sequences
from bitseg.index.operators.user_events import events_of
from bitseg.query.leaves.base import Evidence, Warnings, Work
from bitseg.query.leaves.events import EventLeafKind, between, occurrences_of, users_with_events
from bitseg.query.leaves.names import check_event, check_where
from bitseg.query.leaves.windows import resolved
from bitseg.segment.nodes import Did, Sequence, steps
from bitseg.segment.windows import Interval, duration_ms


class SequenceKind(EventLeafKind[Sequence]):
    """The users who did several events in order, each within a time limit after the event before."""

    def dids(self, condition: Sequence) -> tuple[Did, ...]:
        return steps(condition)

    def compile(self, condition: Sequence, index: Index, context: Context, among: BitMap | None = None) -> Work:
        start, *following = steps(condition)
        first = occurrences_of(start, index, context, among)
        chain: list[sequences.Step] = []
        end_ms = first.interval.end_ms
        for step, did in zip(condition.steps, following, strict=True):
            within_ms = duration_ms(step.within)
            # Events before the first step, or too long after it, cannot be in a chain.
            end_ms += within_ms
            reachable = Interval(first.interval.start_ms, end_ms)
            occurrences = occurrences_of(did, index, context, among, within=reachable)
            chain.append(sequences.Step(occurrences, within_ms, step.negated))
        return lambda: sequences.members(first, chain, context.now_ms)

    def is_quick(self, condition: Sequence, index: Index, context: Context) -> bool:
        return False

    def intervals(self, condition: Sequence, index: Index, context: Context) -> tuple[Interval, ...]:
        intervals = super().intervals(condition, index, context)
        return (*intervals, Interval(context.now_ms, context.now_ms)) if _waits(condition) else intervals

    def moved(self, condition: Sequence, before_ms: int, index: Index, context: Context) -> Iterable[BitMap]:
        yield from super().moved(condition, before_ms, index, context)
        if _waits(condition):
            # The users whose time for the last step has run out since, or has not run out yet at an earlier moment.
            awaited = steps(condition)[-2]
            within_ms = duration_ms(condition.steps[-1].within)
            ended = between(before_ms - within_ms, context.now_ms - within_ms)
            yield users_with_events(awaited, ended, index, context)

    def valid_until_ms(self, condition: Sequence, index: Index, context: Context) -> int:
        if _waits(condition):
            return context.now_ms + 1
        return super().valid_until_ms(condition, index, context)

    def check_names(self, condition: Sequence, index: Index, warnings: Warnings) -> None:
        for did in steps(condition):
            check_where(did.where, check_event(did.event, index, warnings), warnings)

    def evidence(self, condition: Sequence, user: int, index: Index, context: Context) -> Evidence:
        """The events of all steps, in order of time; those that form the chain are not singled out."""
        events = [
            event
            for did in steps(condition)
            for event in events_of(user, occurrences_of(did, index, context, BitMap([user])))
        ]
        distinct = {(event.event, event.timestamp_ms, str(event.properties)): event for event in events}
        ordered = tuple(sorted(distinct.values(), key=lambda event: event.timestamp_ms))
        return Evidence(None, resolved(condition.window, context), ordered)


def _waits(condition: Sequence) -> bool:
    """Whether the last step is negated, so that users start to match as time goes by."""
    return condition.steps[-1].negated
