"""The evaluator: bitmaps of the members of a plan, or their count without making the last bitmap.

No function here changes a bitmap that the index or a cache owns.
"""

from collections.abc import Mapping, Sequence

from pyroaring import BitMap

from bitseg.index.bitmaps import union
from bitseg.query.cache import FEW_USERS, Answers, Task
from bitseg.query.known import KnownPlans
from bitseg.query.pins import Pins
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Planner, Reference, SavedPlans, Union, parts_of
from bitseg.query.wordwise import BITSET_DIVISOR, DENSE_DIVISOR, WordCounter
from bitseg.runtime import cancellation
from bitseg.segment.nodes import Condition

# A nested plan is computed for all users, which other plans can share, unless at most one user in this many is left.
_SMALL_DIVISOR = 16

# A part of an intersection, and whether it is excluded.
Term = tuple[Plan, bool]


class Evaluator(KnownPlans):
    """Answers plans over one index at one moment. Every distinct plan and every saved segment is computed once.

    Call with the engine's lock held. `plans` are the plans of conditions by `id`, for as long as these are alive.
    """

    def __init__(
        self,
        answers: Answers,
        planner: Planner,
        saved: SavedPlans,
        word_counter: WordCounter,
        pins: Pins,
        plans: Mapping[int, Plan] | None = None,
    ) -> None:
        super().__init__(answers, saved, pins)
        self._planner = planner
        self._word_counter = word_counter
        self._plans = plans or {}
        self._tasks: dict[Plan, Mapping[Leaf, Task]] = {}
        self._contains: dict[tuple[Plan, int], bool] = {}

    def plan(self, condition: Condition) -> Plan:
        """The plan of a condition."""
        plan = self._plans.get(id(condition))
        return self._planner.plan(condition) if plan is None else plan

    # Counts

    def count(self, node: Plan) -> int:
        """How many users are in a plan. The last operation only counts; it makes no bitmap."""
        if node in self._ready or (self._pins is not None and node in self._pins):
            return len(self.members(node))
        match node:
            case Complement(part):
                return len(self.index.users.everyone) - self.count(part)
            case Intersect():
                return self._count_intersection(node)
            case Union((first, second)):
                return self.members(first).union_cardinality(self.members(second))
            case Reference(name):
                return self.count(self._saved.plan(name))
        return len(self.members(node))

    def _count_intersection(self, node: Intersect) -> int:
        terms = self.ordered(node)
        part, is_excluded = terms[-1]
        if len(terms) == 1:
            return self.count(part)
        if self._is_dense(node):
            parts, excluded = ([(part, self.members(part)) for part in plans] for plans in (node.parts, node.excluded))
            return self._word_counter.count(parts, excluded, len(self.index.users))
        candidates = self._intersect(terms[:-1])
        if not candidates:
            return 0
        if isinstance(part, Leaf | Reference) or part in self._ready:
            last = self._restrict_leaf(part, candidates)
            return candidates.difference_cardinality(last) if is_excluded else candidates.intersection_cardinality(last)
        restricted = len(self._restrict(part, candidates))
        return len(candidates) - restricted if is_excluded else restricted

    def _is_dense(self, node: Intersect) -> bool:
        """Whether all parts are known and large, and not just two bitsets, which Roaring counts fastest."""
        if len(node.parts) < 2:
            return False
        ids = len(self.index.users)
        sizes = [self.size_if_known(part) or 0 for part in node.parts]
        if min(sizes) <= ids // DENSE_DIVISOR or None in map(self.size_if_known, node.excluded):
            return False
        return len(sizes) + len(node.excluded) > 2 or min(sizes) < ids // BITSET_DIVISOR

    # Members

    def members(self, node: Plan) -> BitMap:
        """The users in a plan, as a bitmap that must not be changed."""
        bitmap = self._known(node)
        if bitmap is None:
            cancellation.check()
            bitmap = self._ready[node] = self._compute(node)
            if self._pins is not None:
                self._keep_pin(node, bitmap)
        return bitmap

    def _compute(self, node: Plan) -> BitMap:
        match node:
            case Reference(name):
                return self.members(self._saved.plan(name))
            case Leaf():
                return self.answers.compute(node)
            case Complement(part):
                return self.index.users.everyone - self.members(part)
            case Union(parts):
                return union([self.members(part) for part in parts])
            case Intersect():
                return self._intersect(self.ordered(node))
        raise TypeError(f"unknown kind of plan: {type(node).__name__}")

    def _intersect(self, terms: Sequence[Term]) -> BitMap:
        """The users in every included term and in no excluded term; stops early when no candidates are left."""
        (first, _), *others = terms
        return self._restrict_to(others, self.members(first))

    def _restrict_to(self, terms: Sequence[Term], candidates: BitMap) -> BitMap:
        """The candidates in every included term and in no excluded term."""
        for part, is_excluded in terms:
            restricted = self._restrict(part, candidates)
            candidates = candidates - restricted if is_excluded else restricted
        return candidates

    def ordered(self, node: Intersect) -> list[Term]:
        """The parts, smallest first, then the excluded plans, largest first, so that candidates shrink quickly."""
        parts = sorted(node.parts, key=self.size) if len(node.parts) > 1 else node.parts
        excluded = sorted(node.excluded, key=self.size, reverse=True) if len(node.excluded) > 1 else node.excluded
        return [(part, False) for part in parts] + [(part, True) for part in excluded]

    def _restrict(self, node: Plan, candidates: BitMap) -> BitMap:
        """The candidates who are in a plan.

        Nested plans are restricted to the candidates. With many candidates, an answer for all users costs no more, and
        other plans can share it.
        """
        if not candidates:
            return candidates
        if isinstance(node, Leaf | Reference) or node in self._ready or self._is_pinned(node):
            return candidates & self._restrict_leaf(node, candidates)
        if len(candidates) > len(self.index.users) // _SMALL_DIVISOR:
            return candidates & self.members(node)
        match node:
            case Complement(part):
                return candidates - self._restrict(part, candidates)
            case Intersect():
                return self._restrict_to(self.ordered(node), candidates)
            case Union(parts):
                restricted: list[BitMap] = []
                for part in parts:
                    if candidates:
                        restricted.append(self._restrict(part, candidates))
                        candidates = candidates - restricted[-1]
                return union(restricted)
        raise TypeError(f"unknown kind of plan: {type(node).__name__}")

    def _restrict_leaf(self, node: Plan, candidates: BitMap) -> BitMap:
        """The users in a leaf or in a plan that is ready. Only candidates are sure to be tested."""
        if isinstance(node, Leaf) and len(candidates) <= FEW_USERS and self._is_slow_first_use(node):
            return self.answers.among(node, candidates)
        return self.members(node)

    def _is_slow_first_use(self, leaf: Leaf) -> bool:
        """Whether a leaf must be computed, takes long, and is used for the first time."""
        return self._known(leaf) is None and self.answers.is_slow_first_use(leaf)

    # One user

    def contains(self, node: Plan, user: int) -> bool:
        """Whether an existing user, given by dense id, is in a plan. Bitmaps are computed for leaves only."""
        key = (node, user)
        is_member = self._contains.get(key)
        if is_member is None:
            cancellation.check()
            is_member = self._contains[key] = self._compute_contains(node, user)
        return is_member

    def _compute_contains(self, node: Plan, user: int) -> bool:
        if node in self._ready or self._is_pinned(node):
            return user in self.members(node)
        match node:
            case Reference(name):
                return self.contains(self._saved.plan(name), user)
            case Leaf():
                return user in self.members(node)
            case Complement(part):
                return not self.contains(part, user)
            case Union(parts):
                return any(self.contains(part, user) for part in parts)
            case Intersect(parts, excluded):
                return all(self.contains(part, user) for part in parts) and not any(
                    self.contains(part, user) for part in excluded
                )
        raise TypeError(f"unknown kind of plan: {type(node).__name__}")

    # Work to do without the lock

    def tasks(self, node: Plan) -> Mapping[Leaf, Task]:
        """The tasks for a plan by leaf: what must be computed and takes long."""
        tasks = self._tasks.get(node)
        if tasks is None:
            tasks = self._tasks[node] = self._tasks_of(node)
        return tasks

    def _tasks_of(self, node: Plan) -> Mapping[Leaf, Task]:
        if node in self._ready or (self._pins is not None and self._look_up_pin(node) is not None):
            return {}
        if isinstance(node, Leaf):
            task = self.answers.task(node)
            return {} if task is None else {node: task}
        cancellation.check()
        match node:
            case Intersect():
                return self._tasks_of_intersection(node)
            case Complement() | Union():
                return {leaf: task for part in parts_of(node) for leaf, task in self.tasks(part).items()}
            case Reference(name):
                return self.tasks(self._saved.plan(name))
        raise TypeError(f"unknown kind of plan: {type(node).__name__}")

    def _tasks_of_intersection(self, node: Intersect) -> Mapping[Leaf, Task]:
        by_part = {part: self.tasks(part) for part in parts_of(node)}
        if not any(by_part.values()):
            return {}
        ready = [(part, False) for part in node.parts if not by_part[part]]
        is_few = ready and len(self._intersect(ready)) <= FEW_USERS
        return {
            leaf: task
            for part, tasks in by_part.items()
            if not (is_few and isinstance(part, Leaf) and self._is_slow_first_use(part))
            for leaf, task in tasks.items()
        }
