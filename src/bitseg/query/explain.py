"""Why a user is in a segment or not: the truth of every condition, with the values and events behind it."""

from collections.abc import Mapping

from bitseg.query.evaluate import Evaluator
from bitseg.query.leaves.base import Evidence
from bitseg.query.leaves.registry import kind_of
from bitseg.results import Explanation
from bitseg.runtime import cancellation
from bitseg.segment import format
from bitseg.segment.nodes import And, Condition, InSegment, Not, Or, children

MAX_EVENTS = 20


def explain(condition: Condition, user: int, evaluator: Evaluator, segments: Mapping[str, Condition]) -> Explanation:
    """The truth of a condition and of all conditions below it for one user, given by dense id.

    A saved segment is explained where it first appears. TypeError for an unknown kind of condition.
    """
    return _explain(condition, user, evaluator, segments, set())


def _explain(
    condition: Condition, user: int, evaluator: Evaluator, segments: Mapping[str, Condition], explained: set[str]
) -> Explanation:
    cancellation.check()
    evidence = Evidence()
    below: tuple[Condition, ...] = ()
    if isinstance(condition, And | Or | Not):
        below = children(condition)
    elif not isinstance(condition, InSegment):
        evidence = kind_of(condition).evidence(condition, user, evaluator.index, evaluator.context)
    elif condition.name in explained:
        evidence = Evidence(note="explained above")
    else:
        explained.add(condition.name)
        below = (segments[condition.name],)
    interval = evidence.interval
    return Explanation(
        format(condition),
        evaluator.contains(evaluator.plan(condition), user),
        evidence.value,
        None if interval is None else (interval.start_ms, interval.end_ms),
        len(evidence.events),
        evidence.events[-MAX_EVENTS:],
        evidence.note,
        tuple(_explain(child, user, evaluator, segments, explained) for child in below),
    )
