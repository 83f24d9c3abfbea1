"""By which set operations a normalised tree is worked out. In what order is for the evaluator, which knows sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from bitseg.query.normalise import normalise
from bitseg.segment.nodes import And, Condition, Not, Or


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Leaf:
    """A condition that the index answers."""

    condition: Condition


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Intersect:
    """Users in every one of `parts` and in none of `excluded`."""

    parts: "tuple[Plan, ...]"
    excluded: "tuple[Plan, ...]" = ()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Union:
    """Users in any of `parts`."""

    parts: "tuple[Plan, ...]"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Complement:
    """Every user who is not in `part`."""

    part: "Plan"


Plan = Leaf | Intersect | Union | Complement


class Planner:
    """Makes plans, one object for all equal conditions that are in use, so that their work is shared by identity."""

    def __init__(self) -> None:
        self._plans: WeakValueDictionary[Condition, Plan] = WeakValueDictionary()

    def plan(self, condition: Condition) -> Plan:
        """The plan of a tree."""
        return self._of(normalise(condition))

    def _of(self, condition: Condition) -> Plan:
        found = self._plans.get(condition)
        if found is None:
            found = self._plans[condition] = build(condition, self._of)
        return found


def build(condition: Condition, of: Callable[[Condition], Plan]) -> Plan:
    """The plan of a normalised tree; `of` makes the plans of the conditions below it.

    An and subtracts what is negated; a complement is left only where nothing positive bounds it, and then it is the
    last step, so that a count needs no complement at all.
    """
    match condition:
        case Not(part):
            below = of(part)
            return below.part if isinstance(below, Complement) else Complement(below)
        case And(parts):
            positive = tuple(of(each) for each in parts if not isinstance(each, Not))
            excluded = tuple(of(each.condition) for each in parts if isinstance(each, Not))
            if not positive:
                return Complement(excluded[0] if len(excluded) == 1 else Union(excluded))
            return Intersect(positive, excluded)
        case Or(parts):
            positives = tuple(of(each) for each in parts if not isinstance(each, Not))
            negated = tuple(of(each.condition) for each in parts if isinstance(each, Not))
            if not negated:
                return Union(positives)
            # a or not b or not c is everyone but those in b and c and not a.
            return Complement(Intersect(negated, positives))
    return Leaf(condition)
