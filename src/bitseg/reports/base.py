"""What a report is: partial results of parts of the users, and how they merge."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from bitseg.query.evaluate import Evaluator
from bitseg.segment.nodes import Condition

P = TypeVar("P")
R_co = TypeVar("R_co", covariant=True)


class Report(Protocol[P, R_co]):
    """A question about segments that can be answered for parts of the users and then merged.

    Each user is in one part, and all parts stand at one moment. `merge` is associative and commutative, so that one
    part and many give the same result.
    """

    def conditions(self) -> Sequence[Condition]:
        """The conditions that `partial` asks the evaluator for; they are worked out before, without the lock."""
        ...

    def partial(self, evaluator: Evaluator) -> P:
        """The result over the users of one index; called with the engine's lock held."""
        ...

    def merge(self, one: P, other: P) -> P:
        """The result over the users of both."""
        ...

    def finish(self, partial: P) -> R_co:
        """What the caller gets."""
        ...
