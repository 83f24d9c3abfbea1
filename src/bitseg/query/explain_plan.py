"""Explaining a plan: every part with its estimated size, its true size and the time it took."""

import time

from bitseg.query.evaluate import Evaluator
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Reference, Union
from bitseg.results import PlanStep
from bitseg.runtime import cancellation
from bitseg.segment import format
from bitseg.segment.nodes import InSegment


def explain_plan(node: Plan, evaluator: Evaluator) -> PlanStep:
    """The steps of a plan. Every part is computed for all users; a part that occurs twice is computed once.

    `count` may do less: it tests nested parts only for remaining candidates, and does not make the last bitmap.
    """
    cancellation.check()
    is_cached = evaluator.size_if_known(node) is not None
    estimated = evaluator.size(node)
    title, below = _title(node, evaluator)
    steps = tuple(explain_plan(part, evaluator) for part in below)
    started = time.perf_counter()
    members = len(evaluator.members(node))
    return PlanStep(title, estimated, members, time.perf_counter() - started, is_cached, steps)


def _title(node: Plan, evaluator: Evaluator) -> tuple[str, tuple[Plan, ...]]:
    match node:
        case Leaf(condition):
            return format(condition), ()
        case Reference(name):
            return format(InSegment(name)), ()
        case Complement(part):
            return "all but", (part,)
        case Union(parts):
            return "any of", parts
        case Intersect():
            parts = tuple(part for part, _ in evaluator.ordered(node))
            if not node.excluded:
                return "all of", parts
            first = len(node.parts)
            return "the first, but not" if first == 1 else f"all of the first {first}, but not", parts
    raise TypeError(f"unknown kind of plan: {type(node).__name__}")
