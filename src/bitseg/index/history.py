"""What one user did: the events behind an answer."""

from collections.abc import Iterator

import numpy as np

from bitseg.index.occurrences import Occurrences
from bitseg.results import UserEvent
from bitseg.values import decode


def events_of(user: int, occurrences: Occurrences) -> list[UserEvent]:
    """The user's events among the occurrences, oldest first."""
    return sorted(_found(user, occurrences), key=lambda each: each.timestamp_ms)


def _found(user: int, occurrences: Occurrences) -> Iterator[UserEvent]:
    for block in occurrences.blocks():
        if user not in block.partition.bitmap:
            continue
        first, last = np.searchsorted(block.users, [user, user + 1])
        times_ms = block.times_ms
        for row in range(first, last):
            properties = {}
            for name, column in block.event.properties.items():
                found = block.column(name)
                entries = column.dictionary.entries if column.dictionary else ()
                value = decode(column.type, found[1][row], entries) if found else None
                if value is not None:
                    properties[name] = value
            yield UserEvent(block.event.name, int(times_ms[row]), properties)
