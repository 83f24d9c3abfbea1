"""How many users are in a segment."""

from collections.abc import Sequence
from typing import NamedTuple

from bitseg.query.evaluate import Evaluator
from bitseg.segment.nodes import Condition


class Count(NamedTuple):
    """The number of users in a condition."""

    condition: Condition

    def conditions(self) -> Sequence[Condition]:
        return (self.condition,)

    def partial(self, evaluator: Evaluator) -> int:
        return evaluator.count(evaluator.plan(self.condition))

    def merge(self, one: int, other: int) -> int:
        return one + other

    def finish(self, partial: int) -> int:
        return partial
