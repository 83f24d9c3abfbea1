"""The moment at which a query is evaluated, shared by everything that evaluates it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import Calendar
from bitseg.index.dictionary import Dictionary
from bitseg.segment.nodes import Predicate


@dataclass(slots=True)
class Context:
    """`now_ms` is the instant that stands for now, in milliseconds since 1970.

    `entry_masks` caches, by dictionary and predicate, which dictionary entries satisfy the predicate.
    """

    now_ms: int
    calendar: Calendar
    entry_masks: dict[tuple[int, Predicate], tuple[Dictionary, NDArray[np.bool_]]] = field(default_factory=dict)
