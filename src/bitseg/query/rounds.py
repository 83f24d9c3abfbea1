"""Answering in rounds: what takes long is worked out without the engine's lock, the rest with it held."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, TypeVar

from bitseg.query.cache import CachedAnswer, Task
from bitseg.query.evaluate import Evaluator
from bitseg.query.plan import Leaf, Plan
from bitseg.runtime import cancellation

# Rounds of work without the lock, before the answer is settled with the lock held whatever is left to do.
MAX_ROUNDS = 4

T = TypeVar("T")


class Round(NamedTuple, Generic[T]):
    """One look at the data: what evaluates, the plans to be answered, and the function that answers them."""

    evaluator: Evaluator
    plans: Iterable[Plan]
    settle: Callable[[], T]


def answer_in_rounds(lock: AbstractContextManager[None], begin: Callable[[Mapping[Leaf, CachedAnswer]], Round[T]]) -> T:
    """The answer of the round that has nothing left to work out; `begin` is called with the lock held.

    `begin` gets the results of the rounds before. Each round refreshes these for what was written meanwhile, which
    takes less time each time; all plans are then answered in one go, at one version.
    """
    computed: dict[Leaf, CachedAnswer] = {}
    for rounds_left in range(MAX_ROUNDS, -1, -1):
        with lock:
            current = begin(computed)
            tasks: dict[Leaf, Task] = {}
            if rounds_left:
                for plan in current.plans:
                    tasks.update(current.evaluator.tasks(plan))
            if not tasks:
                return current.settle()
        for leaf, task in tasks.items():
            cancellation.check()
            computed[leaf] = task.result(task.work())
    raise AssertionError("the last round has no tasks")
