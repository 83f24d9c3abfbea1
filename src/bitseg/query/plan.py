"""In what order and by which set operations a normalised tree is worked out."""

from collections.abc import Callable
from dataclasses import dataclass

from bitseg.segment.nodes import And, Condition, Not, Or


@dataclass(frozen=True, slots=True)
class Leaf:
    """A condition that the index answers."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Intersect:
    """Users in every one of `parts`, in order of estimated size, and in none of `excluded`."""

    parts: "tuple[Plan, ...]"
    excluded: "tuple[Plan, ...]" = ()


@dataclass(frozen=True, slots=True)
class Union:
    """Users in any of `parts`."""

    parts: "tuple[Plan, ...]"


@dataclass(frozen=True, slots=True)
class Complement:
    """Every user who is not in `part`."""

    part: "Plan"


Plan = Leaf | Intersect | Union | Complement


def plan(condition: Condition, estimate: Callable[[Condition], int]) -> Plan:
    """The plan of a normalised tree; `estimate` tells about how many members a condition has.

    An and takes its smallest part first and subtracts what is negated; a complement is left only where nothing
    positive bounds it, and then it is the last step, so that a count needs no complement at all.
    """
    match condition:
        case Not(part):
            return _complement(plan(part, estimate))
        case And(parts):
            positive = sorted((each for each in parts if not isinstance(each, Not)), key=estimate)
            # The largest goes first among what is subtracted: it leaves the least for the others.
            negated = sorted((each.condition for each in parts if isinstance(each, Not)), key=estimate, reverse=True)
            excluded = tuple(plan(each, estimate) for each in negated)
            if not positive:
                return Complement(_union(excluded))
            return Intersect(tuple(plan(each, estimate) for each in positive), excluded)
        case Or(parts):
            positives = tuple(plan(each, estimate) for each in parts if not isinstance(each, Not))
            negated = sorted((each.condition for each in parts if isinstance(each, Not)), key=estimate)
            if not negated:
                return Union(positives)
            # a or not b or not c is everyone but those in b and c and not a.
            return Complement(Intersect(tuple(plan(each, estimate) for each in negated), positives))
    return Leaf(condition)


def _union(parts: tuple[Plan, ...]) -> Plan:
    return parts[0] if len(parts) == 1 else Union(parts)


def _complement(part: Plan) -> Plan:
    return part.part if isinstance(part, Complement) else Complement(part)
