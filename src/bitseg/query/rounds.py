"""Answering in rounds: what takes long is computed without the engine's lock, everything else with it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, TypeVar

from bitseg.query.cache import CachedAnswer, Task
from bitseg.query.evaluate import Evaluator
from bitseg.query.plan import Leaf, Plan
from bitseg.runtime import cancellation

# The number of rounds without the lock. After them, what remains is computed with the lock held.
MAX_ROUNDS = 4

T = TypeVar("T")


class Round(NamedTuple, Generic[T]):
    """One round: the evaluator of the present data, the plans to answer, and the function that answers them."""

    evaluator: Evaluator
    plans: Iterable[Plan]
    settle: Callable[[], T]


def answer_in_rounds(lock: AbstractContextManager[None], begin: Callable[[Mapping[Leaf, CachedAnswer]], Round[T]]) -> T:
    """The answer of the first round that has no tasks; `begin` is called with the lock held.

    `begin` gets the results of the earlier rounds. A round refreshes them for the writes of the meantime, which takes
    less time every time. The last round answers all plans together, at one version.
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
