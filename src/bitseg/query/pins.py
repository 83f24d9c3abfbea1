"""Pinned segments: the bitmap of a whole saved segment is stored, refreshed on use, and never evicted."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyroaring import BitMap

from bitseg.errors import InvalidArgumentError
from bitseg.index.bitmaps import size_bytes, union
from bitseg.query.cache import FEW_USERS, Answers
from bitseg.query.freshness import Stamp, stale_users, stamp, valid_until_ms
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Reference, SavedPlans, Union, plan_bytes
from bitseg.segment.nodes import Condition

MAX_PINS = 1_000


@dataclass(slots=True)
class _PinnedAnswer:
    """The members of a plan, current at index version `version` from `now_ms` until before `until_ms`.

    `stamps` has the stamp of every leaf that the members depend on, `saved` the plans of the saved segments that the
    plan refers to.
    """

    bitmap: BitMap
    stamps: Mapping[Leaf, Stamp]
    saved: Mapping[str, Plan]
    version: int
    now_ms: int
    until_ms: int
    size_bytes: int


class Pins:
    """The pinned segments by name. Call with the engine's lock held.

    `refreshes` counts refreshes for a few users, `misses` computations of a segment for all users.
    """

    def __init__(self) -> None:
        self.refreshes = 0
        self.misses = 0
        self._plans: dict[str, Plan] = {}
        self._answers: dict[Plan, _PinnedAnswer | None] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def __contains__(self, plan: Plan) -> bool:
        return plan in self._answers

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the pinned segments, in alphabetical order."""
        return tuple(sorted(self._plans))

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the bitmaps and plans take."""
        return sum(answer.size_bytes for answer in self._answers.values() if answer is not None)

    def pin(self, name: str, plan: Plan) -> None:
        """Store the members of a plan from now on; InvalidArgumentError if there are MAX_PINS pins already."""
        if name not in self._plans and len(self._plans) >= MAX_PINS:
            raise InvalidArgumentError(
                f"there are {MAX_PINS:,} pinned segments already, the limit", hint="unpin one that is not needed"
            )
        self._plans[name] = plan
        self._forget_unpinned()

    def unpin(self, name: str) -> None:
        """Remove a pin; nothing happens if the segment is not pinned."""
        self._plans.pop(name, None)
        self._forget_unpinned()

    def follow(self, segments: Mapping[str, Condition], saved: SavedPlans) -> None:
        """Adopt edits of pinned segments; the pins of deleted segments are removed."""
        self._plans = {name: saved.plan(name) for name in self._plans if name in segments}
        self._forget_unpinned()

    def clear(self) -> None:
        """Remove all stored members; the segments stay pinned."""
        self._answers = dict.fromkeys(self._answers)

    def current(self, plan: Plan, answers: Answers, saved: SavedPlans) -> BitMap | None:
        """The members of a pinned plan, refreshed if stale; None if they must be computed.

        A refresh tests at most FEW_USERS users.
        """
        answer = self._answers.get(plan)
        if answer is None:
            return None
        now_ms, version = answers.context.now_ms, answers.index.version
        if answer.version == version and answer.now_ms <= now_ms < answer.until_ms:
            return answer.bitmap
        if any(saved.plan(name) is not before for name, before in answer.saved.items()):
            return None
        stamps, users = self._stale_users(answer, answers)
        if users is None or len(users) > FEW_USERS:
            return None
        bitmap = answer.bitmap
        if users:
            self.refreshes += 1
            present = users & answers.index.users.everyone
            bitmap = (bitmap - users) | (_Among(present, answers, saved).members(plan) if present else present)
        self._keep(plan, bitmap, stamps, answer.saved, answers)
        return bitmap

    def keep(self, plan: Plan, bitmap: BitMap, answers: Answers, saved: SavedPlans) -> None:
        """Store the members of a pinned plan, computed at the moment of the answers."""
        self.misses += 1
        leaves, referred = saved.reached(plan)
        stamps = {leaf: stamp(leaf.condition, answers.index, answers.context) for leaf in leaves}
        self._keep(plan, bitmap, stamps, referred, answers)

    def _stale_users(self, answer: _PinnedAnswer, answers: Answers) -> tuple[Mapping[Leaf, Stamp], BitMap | None]:
        """The present stamps of all leaves, and the users for whom a leaf is stale; None if they are not known."""
        index, context = answers.index, answers.context
        stamps: dict[Leaf, Stamp] = {}
        users: list[BitMap] = []
        for leaf, before in answer.stamps.items():
            stamps[leaf] = now = stamp(leaf.condition, index, context)
            if now != before:
                stale = stale_users(leaf.condition, before, answer.now_ms, now, index, context)
                if stale is None:
                    return stamps, None
                users.append(stale.users)
        return stamps, union(users)

    def _keep(
        self, plan: Plan, bitmap: BitMap, stamps: Mapping[Leaf, Stamp], saved: Mapping[str, Plan], answers: Answers
    ) -> None:
        index, context = answers.index, answers.context
        until_ms = min(valid_until_ms(leaf.condition, index, context) for leaf in stamps)
        size = size_bytes(bitmap) + plan_bytes(plan) + sum(map(plan_bytes, stamps))
        self._answers[plan] = _PinnedAnswer(bitmap, stamps, saved, index.version, context.now_ms, until_ms, size)

    def _forget_unpinned(self) -> None:
        self._answers = {plan: self._answers.get(plan) for plan in self._plans.values()}


class _Among:
    """Tests a few users for membership in plans. Leaves are computed for these users only, every plan once."""

    def __init__(self, users: BitMap, answers: Answers, saved: SavedPlans) -> None:
        self._users = users
        self._answers = answers
        self._saved = saved
        self._members: dict[Plan, BitMap] = {}

    def members(self, plan: Plan) -> BitMap:
        """The users who are in a plan."""
        members = self._members.get(plan)
        if members is None:
            members = self._members[plan] = self._compute(plan)
        return members

    def _compute(self, plan: Plan) -> BitMap:
        match plan:
            case Reference(name):
                return self.members(self._saved.plan(name))
            case Leaf(condition, kind):
                index = self._answers.index
                stored = kind.stored(condition, index)
                if stored is not None:
                    return self._users & stored
                members: BitMap = kind.compile(condition, index, self._answers.context, self._users)()
                return members
            case Complement(part):
                return self._users - self.members(part)
            case Union(parts):
                return union([self.members(part) for part in parts])
            case Intersect(parts, excluded):
                candidates = self._users
                for part in parts:
                    candidates = candidates & self.members(part)
                for part in excluded:
                    candidates = candidates - self.members(part)
                return candidates
        raise TypeError(f"unknown kind of plan: {type(plan).__name__}")
