"""Plans: the set operations that answer a normalised tree. The evaluator decides their order by size."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from bitseg.query.leaves.base import LeafKind
from bitseg.query.leaves.registry import kind_of
from bitseg.query.normalise import normalise
from bitseg.query.sizes import tree_bytes
from bitseg.segment.nodes import And, Condition, Everyone, InSegment, Not, Or

# Bytes of a node of a plan, with its entries in tables.
_NODE_BYTES = 256


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Leaf:
    """A condition that the index answers, with its kind. `size_bytes` are the bytes of memory of the condition."""

    condition: Condition
    kind: LeafKind[Any]
    size_bytes: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Reference:
    """The users in a saved segment, by its definition at the time of evaluation."""

    name: str


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Intersect:
    """Users in every plan of `parts` and in no plan of `excluded`."""

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


Plan = Leaf | Reference | Intersect | Union | Complement


def parts_of(plan: Plan) -> tuple[Plan, ...]:
    """The plans directly below a plan."""
    match plan:
        case Leaf() | Reference():
            return ()
        case Complement(part):
            return (part,)
        case Union(parts):
            return parts
        case Intersect(parts, excluded):
            return (*parts, *excluded)
    raise TypeError(f"unknown kind of plan: {type(plan).__name__}")


def plan_bytes(plan: Plan) -> int:
    """About how many bytes a plan takes in memory, with the conditions of its leaves."""
    total = 0
    pending = [plan]
    while pending:
        node = pending.pop()
        total += _NODE_BYTES + (node.size_bytes if isinstance(node, Leaf) else 0)
        pending += parts_of(node)
    return total


class Planner:
    """Makes plans, safe to use from many threads.

    Equal conditions share one plan object while it is in use, so that equal plans are recognised by identity.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: WeakValueDictionary[Condition, Plan] = WeakValueDictionary()

    def plan(self, condition: Condition) -> Plan:
        """The plan of a tree; TypeError for an unknown kind of condition."""
        return self._plan(normalise(condition))

    def _plan(self, condition: Condition) -> Plan:
        plan = self._plans.get(condition)
        if plan is None:
            plan = build(condition, self._plan)
            with self._lock:
                plan = self._plans.setdefault(condition, plan)
        return plan


class SavedPlans:
    """The plans of saved segments, made on first use and again after an edit.

    Call with the engine's lock held.
    """

    def __init__(self, planner: Planner, segments: Mapping[str, Condition]) -> None:
        self._planner = planner
        self._segments = segments
        self._everyone = planner.plan(Everyone())
        # By name: the definition, and the plan made from it.
        self._plans: dict[str, tuple[Condition, Plan]] = {}

    def plan(self, name: str) -> Plan:
        """The plan of a saved segment; KeyError if there is no segment of that name."""
        definition = self._segments[name]
        entry = self._plans.get(name)
        if entry is None or entry[0] is not definition:
            if len(self._plans) > len(self._segments):
                self._plans = {known: planned for known, planned in self._plans.items() if known in self._segments}
            entry = self._plans[name] = (definition, self._planner.plan(definition))
        return entry[1]

    def reached(self, plan: Plan) -> tuple[tuple[Leaf, ...], Mapping[str, Plan]]:
        """The leaves that a plan depends on, and by name the plans of the saved segments that it refers to.

        References are followed, every saved segment once. A complement depends on the leaf `everyone`.
        """
        leaves: dict[Plan, None] = {}
        saved: dict[str, Plan] = {}
        pending = [plan]
        while pending:
            node = pending.pop()
            match node:
                case Reference(name):
                    if name not in saved:
                        saved[name] = self.plan(name)
                        pending.append(saved[name])
                case Leaf():
                    leaves[node] = None
                case _:
                    if isinstance(node, Complement):
                        leaves[self._everyone] = None
                    pending += parts_of(node)
        return tuple(leaf for leaf in leaves if isinstance(leaf, Leaf)), saved


def build(condition: Condition, plan: Callable[[Condition], Plan]) -> Plan:
    """The plan of a normalised tree; `plan` makes the plans of the conditions below it.

    Negated conditions of an `and` are subtracted. A complement is needed only where every condition is negated. It is
    then the last step, so that a count does not have to build it.
    """
    match condition:
        case Not(part):
            below = plan(part)
            return below.part if isinstance(below, Complement) else Complement(below)
        case And(parts):
            positive = tuple(plan(part) for part in parts if not isinstance(part, Not))
            excluded = tuple(plan(part.condition) for part in parts if isinstance(part, Not))
            if not positive:
                return Complement(excluded[0] if len(excluded) == 1 else Union(excluded))
            return Intersect(positive, excluded)
        case Or(parts):
            positives = tuple(plan(part) for part in parts if not isinstance(part, Not))
            negated = tuple(plan(part.condition) for part in parts if isinstance(part, Not))
            if not negated:
                return Union(positives)
            # `a or not b or not c` is everyone who is not in `b and c and not a`.
            return Complement(Intersect(negated, positives))
        case InSegment(name):
            return Reference(name)
    return Leaf(condition, kind_of(condition), tree_bytes(condition))
