"""What is known about plans before they are computed: members that are cached or pinned, and sizes."""

from pyroaring import BitMap

from bitseg.query.cache import Answers
from bitseg.query.pins import Pins
from bitseg.query.plan import Complement, Intersect, Leaf, Plan, Reference, SavedPlans, Union
from bitseg.runtime import cancellation


class KnownPlans:
    """The members of plans that are stored in the index, cached, pinned or already computed, at one moment.

    Call with the engine's lock held.
    """

    def __init__(self, answers: Answers, saved: SavedPlans, pins: Pins) -> None:
        self.answers = answers
        self.index = answers.index
        self.context = answers.context
        self._saved = saved
        self._pins = pins if answers.is_live and len(pins) else None
        self._ready: dict[Plan, BitMap] = {}
        # Plans that must be computed.
        self._unknown: set[Plan] = set()
        self._sizes: dict[Plan, int] = {}

    def size_if_known(self, node: Plan) -> int | None:
        """How many users are in a plan; None if its members are not known."""
        bitmap = self._known(node)
        return None if bitmap is None else len(bitmap)

    def size(self, node: Plan) -> int:
        """How many users are in a plan: exact if its members are known, an estimate otherwise."""
        known = self._known(node)
        if known is not None:
            return len(known)
        size = self._sizes.get(node)
        if size is None:
            cancellation.check()
            size = self._sizes[node] = self._estimate(node)
        return size

    def _estimate(self, node: Plan) -> int:
        everyone = len(self.index.users.everyone)
        match node:
            case Reference(name):
                return self.size(self._saved.plan(name))
            case Leaf():
                return self.answers.estimate(node)
            case Intersect(parts):
                return min(map(self.size, parts))
            case Union(parts):
                return min(sum(map(self.size, parts)), everyone)
            case Complement(part):
                return everyone - self.size(part)
        raise TypeError(f"unknown kind of plan: {type(node).__name__}")

    def _known(self, node: Plan) -> BitMap | None:
        """The users in a plan if they need not be computed; a stale leaf or pinned plan is refreshed."""
        bitmap = self._ready.get(node)
        if bitmap is not None or node in self._unknown:
            return bitmap
        if self._pins is not None:
            bitmap = self._look_up_pin(node)
            if bitmap is not None:
                self._ready[node] = bitmap
                return bitmap
        if isinstance(node, Leaf):
            bitmap = self.answers.current(node)
        elif isinstance(node, Reference):
            bitmap = self._known(self._saved.plan(node.name))
        if bitmap is None:
            self._unknown.add(node)
        else:
            self._ready[node] = bitmap
            if self._pins is not None:
                self._keep_pin(node, bitmap)
        return bitmap

    def _keep_pin(self, node: Plan, bitmap: BitMap) -> None:
        """Store the members of a plan if it is pinned; its pin was stale."""
        if self._pins is not None and node in self._pins:
            self._pins.keep(node, bitmap, self.answers, self._saved)

    def _look_up_pin(self, node: Plan) -> BitMap | None:
        return None if self._pins is None else self._pins.current(node, self.answers, self._saved)

    def _is_pinned(self, node: Plan) -> bool:
        return self._pins is not None and node in self._pins
