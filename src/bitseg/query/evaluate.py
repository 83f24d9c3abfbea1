"""Working out a plan: bitmaps of members, or their count without making the last bitmap.

No function here changes a bitmap that the index or the materialised conditions own.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from pyroaring import BitMap

from bitseg.index.bitmaps import union
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.cache import AnswerCache, CachedAnswer
from bitseg.query.estimate import estimate
from bitseg.query.freshness import Stale, Stamp, stale_users, stamp, valid_until_ms
from bitseg.query.leaves import Work, compile_leaf, is_quick, occurrences_of
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Planner, Union
from bitseg.query.wordwise import BITSET_SHARE, DENSE_SHARE, WordCounter
from bitseg.segment.nodes import Condition, Did, InSegment

# So many users are asked about one by one rather than worked out with all others: of a condition that has not been
# asked for before, where what else a segment asks leaves so few.
FEW_USERS = 1_000
# An answer is brought up to date while at most one user in so many has to be asked about again.
_STALE_SHARE = 50
# Conditions nested in others are worked out for all users, to be shared, unless at most one in so many is asked about.
_SMALL_SHARE = 16


@dataclass(frozen=True, slots=True)
class Task:
    """A condition that takes long to work out: `work` does so while others go on, and `result` stamps what it found."""

    work: Work
    result: Callable[[BitMap], CachedAnswer]


class Evaluator:
    """Answers plans over one index at one moment. Each distinct part is worked out once.

    `is_live` says that the moment is the present one, so that answers kept from a while ago are brought up to date.
    `computed` has what came of earlier tasks.
    """

    def __init__(
        self,
        index: Index,
        context: Context,
        materialised: AnswerCache,
        planner: Planner,
        dense: WordCounter,
        segments: Mapping[str, Condition] | None = None,
        *,
        is_live: bool = False,
        computed: Mapping[Hashable, CachedAnswer] | None = None,
    ) -> None:
        self.index = index
        self.context = context
        self._planner = planner
        self._dense = dense
        self._segments = segments or {}
        self._materialised = materialised
        self._is_live = is_live
        self._worked_out = computed or {}
        self._found: dict[Plan, BitMap] = {}
        self._tasks: dict[Plan, Mapping[Hashable, Task]] = {}

    def members(self, condition: Condition) -> BitMap:
        """The users in the condition, as a bitmap that must not be changed."""
        return self.members_of_plan(self._planner.plan(condition))

    def count_plan(self, node: Plan) -> int:
        """How many users are in a plan; the last operation counts what it would have made."""
        if node in self._found:
            return len(self._found[node])
        match node:
            case Complement(part):
                return len(self.index.users.everyone) - self.count_plan(part)
            case Intersect():
                return self._count_intersection(node)
            case Union((first, second)):
                return self.members_of_plan(first).union_cardinality(self.members_of_plan(second))
        return len(self.members_of_plan(node))

    def _count_intersection(self, node: Intersect) -> int:
        ordered = self.ordered(node)
        part, is_excluded = ordered[-1]
        if len(ordered) == 1:
            return self.count_plan(part)
        if self._is_dense(node):
            parts, excluded = (
                [(part, self.members_of_plan(part)) for part in each] for each in (node.parts, node.excluded)
            )
            return self._dense.count(parts, excluded, len(self.index.users))
        rest = self._narrowed(ordered[:-1])
        if not rest:
            return 0
        if isinstance(part, Leaf) or part in self._found:
            last = self._leaf_within(part, rest)
            return rest.difference_cardinality(last) if is_excluded else rest.intersection_cardinality(last)
        met = len(self._within(part, rest))
        return len(rest) - met if is_excluded else met

    def _is_dense(self, node: Intersect) -> bool:
        """Whether all parts are known and large, and not two of bitsets alone, which Roaring counts fastest."""
        if len(node.parts) < 2:
            return False
        ids = len(self.index.users)
        sizes = [self.size_if_known(part) or 0 for part in node.parts]
        if min(sizes) <= ids // DENSE_SHARE or None in map(self.size_if_known, node.excluded):
            return False
        return len(sizes) + len(node.excluded) > 2 or min(sizes) < ids // BITSET_SHARE

    def members_of_plan(self, node: Plan) -> BitMap:
        """The users in a plan, as a bitmap that must not be changed."""
        found = self._found.get(node)
        if found is None:
            found = self._found[node] = self._members(node)
        return found

    def contains(self, node: Plan, user: int) -> bool:
        """Whether a user, who exists, is in a plan; only the members of its leaves are worked out."""
        found = self._found.get(node)
        if found is not None:
            return user in found
        match node:
            case Leaf(InSegment(name)):
                return self.contains(self._planner.plan(self._segments[name]), user)
            case Leaf():
                return user in self._leaf(node)
            case Complement(part):
                return not self.contains(part, user)
            case Union(parts):
                return any(self.contains(part, user) for part in parts)
            case Intersect(parts, excluded):
                return all(self.contains(part, user) for part in parts) and not any(
                    self.contains(part, user) for part in excluded
                )

    def _members(self, node: Plan) -> BitMap:
        match node:
            case Leaf():
                return self._leaf(node)
            case Complement(part):
                return self.index.users.everyone - self.members_of_plan(part)
            case Union(parts):
                return union([self.members_of_plan(part) for part in parts])
            case Intersect():
                return self._narrowed(self.ordered(node))

    def _narrowed(self, ordered: list[tuple[Plan, bool]]) -> BitMap:
        """The users in every part and in none that is marked as excluded; it stops where none are left."""
        (first, _), *others = ordered
        return self._met(others, self.members_of_plan(first))

    def _met(self, parts: list[tuple[Plan, bool]], rest: BitMap) -> BitMap:
        """The users of the rest in every part and in none that is marked as excluded."""
        for part, is_excluded in parts:
            met = self._within(part, rest)
            rest = rest - met if is_excluded else met
        return rest

    def ordered(self, node: Intersect) -> list[tuple[Plan, bool]]:
        """The parts, smallest first, then the excluded, largest first, which leaves the least for the others.

        Each goes with whether it is excluded.
        """
        parts = sorted(node.parts, key=self.size) if len(node.parts) > 1 else node.parts
        excluded = sorted(node.excluded, key=self.size, reverse=True) if len(node.excluded) > 1 else node.excluded
        return [(part, False) for part in parts] + [(part, True) for part in excluded]

    def _within(self, node: Plan, rest: BitMap) -> BitMap:
        """The users of the rest that are in a plan.

        Of what is nested only those who are left are asked about, ever fewer, unless they are so many that an answer
        for all, which others can share, costs no more.
        """
        if not rest:
            return rest
        if isinstance(node, Leaf) or node in self._found:
            return rest & self._leaf_within(node, rest)
        if len(rest) > len(self.index.users) // _SMALL_SHARE:
            return rest & self.members_of_plan(node)
        match node:
            case Complement(part):
                return rest - self._within(part, rest)
            case Intersect():
                return self._met(self.ordered(node), rest)
            case Union(parts):
                met_in: list[BitMap] = []
                for part in parts:
                    if rest:
                        met_in.append(self._within(part, rest))
                        rest = rest - met_in[-1]
                return union(met_in)

    def _leaf_within(self, node: Plan, rest: BitMap) -> BitMap:
        """The users in a leaf, or in what is known already, or at least those among the rest."""
        found = self._found.get(node)
        if found is not None:
            return found
        if isinstance(node, Leaf) and len(rest) <= FEW_USERS and self._is_unknown(node):
            self._materialised.note_miss(self._key(node.condition))
            return compile_leaf(node.condition, self.index, self.context, rest)()
        return self.members_of_plan(node)

    def _is_unknown(self, leaf: Leaf) -> bool:
        """Whether a leaf has to be worked out, takes long, and was never missed before."""
        condition = leaf.condition
        if isinstance(condition, InSegment) or self.size_if_known(leaf) is not None:
            return False
        if is_quick(condition, self.index, self.context):
            return False
        return not self._materialised.was_missed(self._key(condition))

    def tasks(self, node: Plan) -> Mapping[Hashable, Task]:
        """What has to be worked out for a plan and takes long, by key."""
        found = self._tasks.get(node)
        if found is None:
            found = self._tasks[node] = self._tasks_of(node)
        return found

    def _tasks_of(self, node: Plan) -> Mapping[Hashable, Task]:
        match node:
            case Leaf(InSegment(name)):
                return self.tasks(self._planner.plan(self._segments[name]))
            case Leaf(condition):
                task = None if node in self._found else self._task(condition)
                return {} if task is None else {self._key(condition): task}
            case Complement(part):
                return self.tasks(part)
            case Union(parts):
                return {key: task for part in parts for key, task in self.tasks(part).items()}
        by_part = {part: self.tasks(part) for part in (*node.parts, *node.excluded)}
        ready = [(part, False) for part in node.parts if not by_part[part]]
        is_few = any(by_part.values()) and ready and len(self._narrowed(ready)) <= FEW_USERS
        return {
            key: task
            for part, tasks in by_part.items()
            if not (is_few and isinstance(part, Leaf) and self._is_unknown(part))
            for key, task in tasks.items()
        }

    def _task(self, condition: Condition) -> Task | None:
        """The task of a condition that takes long: to work it out, or to bring much of it up to date."""
        if is_quick(condition, self.index, self.context):
            return None
        at = stamp(condition, self.index, self.context)
        before = self._find(condition)
        stale = None if before is None else self._stale(condition, before, at)
        if before is None or stale is None:
            self._materialised.misses += 1
            work = compile_leaf(condition, self.index, self.context)
        elif len(stale.users) > FEW_USERS:
            self._materialised.refreshes += 1
            work = self._refresh(condition, before.bitmap, stale)
        else:
            return None
        version, now_ms = self.index.version, self.context.now_ms
        until_ms = valid_until_ms(condition, self.index, self.context)
        return Task(work, lambda bitmap: CachedAnswer(bitmap, at, version, now_ms, until_ms))

    def _known(self, node: Plan) -> BitMap | None:
        """The users in a plan, if that takes no work; a leaf that is kept is brought up to date."""
        found = self._found.get(node)
        if found is None and isinstance(node, Leaf):
            condition = node.condition
            found = self.index.held(condition)
            if found is None and not isinstance(condition, InSegment):
                found = self._kept(condition)
            if found is not None:
                self._found[node] = found
        return found

    def size_if_known(self, node: Plan) -> int | None:
        """How many users are in a plan, if that takes no work."""
        found = self._known(node)
        return None if found is None else len(found)

    def size(self, node: Plan) -> int:
        """How many users are in a plan: exactly where that is known, else about."""
        known = self.size_if_known(node)
        if known is not None:
            return known
        everyone = len(self.index.users.everyone)
        match node:
            case Leaf(InSegment(name)):
                return self.size(self._planner.plan(self._segments[name]))
            case Leaf(condition):
                return estimate(condition, self.index, self.context)
            case Intersect(parts):
                return min(map(self.size, parts))
            case Union(parts):
                return min(sum(map(self.size, parts)), everyone)
            case Complement(part):
                return everyone - self.size(part)

    # Leaves

    def _leaf(self, leaf: Leaf) -> BitMap:
        condition = leaf.condition
        if isinstance(condition, InSegment):
            return self.members(self._segments[condition.name])
        found = self._known(leaf)
        if found is None:
            self._materialised.misses += 1
            found = compile_leaf(condition, self.index, self.context)()
            self._keep(condition, found, stamp(condition, self.index, self.context))
        return found

    def _key(self, condition: Condition) -> Hashable:
        return condition if self._is_live else (condition, self.context.now_ms)

    def _find(self, condition: Condition) -> CachedAnswer | None:
        key = self._key(condition)
        return self._materialised.find(key) or self._worked_out.get(key)

    def _kept(self, condition: Condition) -> BitMap | None:
        """The materialised members, brought up to date where need be; None where they have to be worked out."""
        kept = self._find(condition)
        if kept is None:
            return None
        now_ms, version = self.context.now_ms, self.index.version
        if kept.version == version and kept.now_ms <= now_ms < kept.until_ms:
            self._materialised.hits += 1
            return kept.bitmap
        now = stamp(condition, self.index, self.context)
        stale = self._stale(condition, kept, now)
        if stale is None:
            return None
        if stale.users:
            self._materialised.refreshes += 1
            bitmap = self._refresh(condition, kept.bitmap, stale)()
            self._keep(condition, bitmap, now)
            return bitmap
        self._materialised.hits += 1
        kept.stamp, kept.version, kept.now_ms = now, version, now_ms
        kept.until_ms = valid_until_ms(condition, self.index, self.context)
        return kept.bitmap

    def _stale(self, condition: Condition, kept: CachedAnswer, now: Stamp) -> Stale | None:
        """Who has to be asked about again; None where that is not known, or nearly everyone."""
        if now == kept.stamp:
            return Stale(BitMap(), None)
        stale = stale_users(condition, kept.stamp, kept.now_ms, now, self.index, self.context)
        most = FEW_USERS + len(self.index.users.everyone) // _STALE_SHARE
        return None if stale is None or len(stale.users) > most else stale

    def _refresh(self, condition: Condition, before: BitMap, stale: Stale) -> Work:
        if isinstance(condition, Did) and condition.quantity is None and stale.added is not None:
            arrived = occurrences_of(condition, self.index, self.context, stale.users, within=stale.added)
            if arrived.interval == stale.added and arrived.is_any:
                return lambda: union([before, stale.users])
            return lambda: union([before, arrived.users()])
        again = compile_leaf(condition, self.index, self.context, stale.users)
        return lambda: (before - stale.users) | again()

    def _keep(self, condition: Condition, bitmap: BitMap, at: Stamp) -> None:
        until_ms = valid_until_ms(condition, self.index, self.context)
        kept = CachedAnswer(bitmap, at, self.index.version, self.context.now_ms, until_ms)
        self._materialised.keep(self._key(condition), kept)
