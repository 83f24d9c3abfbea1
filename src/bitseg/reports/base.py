"""The interface of reports: partial results over parts of the users, and their merge."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from bitseg.query.evaluate import Evaluator
from bitseg.segment.nodes import Condition

P = TypeVar("P")
R_co = TypeVar("R_co", covariant=True)


class Report(Protocol[P, R_co]):
    """A question about segments that is answered for parts of the users and then merged.

    Every user is in one part, and all parts are evaluated at one moment. `merge` is associative and commutative, so
    that any split of the users gives the same result.
    """

    def conditions(self) -> Sequence[Condition]:
        """The conditions that `partial` evaluates; what takes long of them is computed first, without the lock."""
        ...

    def partial(self, evaluator: Evaluator) -> P:
        """The result over the users of one index; called with the engine's lock held."""
        ...

    def merge(self, one: P, other: P) -> P:
        """The result over the users of both partial results."""
        ...

    def finish(self, partial: P) -> R_co:
        """The result for the caller, from the partial result over all users."""
        ...
