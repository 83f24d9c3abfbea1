"""The events of one user."""

from collections.abc import Iterator

import numpy as np
from pyroaring import BitMap

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS
from bitseg.index.events import Event
from bitseg.index.operators.occurrences import Among, Occurrences
from bitseg.results import EventSummary, UserEvent
from bitseg.values import decode


def events_of(user: int, occurrences: Occurrences) -> list[UserEvent]:
    """The user's events among the occurrences, oldest first."""
    return sorted(_decoded(user, occurrences), key=lambda event: event.timestamp_ms)


def summary_of(user: int, event: Event) -> EventSummary | None:
    """How often the user did an event, with the first and last time; None where the user never did it."""
    count, first_ms, last_ms = 0, LAST_INSTANT_MS, FIRST_INSTANT_MS
    for partition in event.partitions.values():
        if user not in partition.bitmap:
            continue
        rows = partition.content().rows_of(np.array([user], np.uint32))
        count += len(rows)
        first_ms = min(first_ms, rows.start_ms + int(rows.offsets_ms.min()))
        last_ms = max(last_ms, rows.start_ms + int(rows.offsets_ms.max()))
    return EventSummary(event.name, count, first_ms, last_ms) if count else None


def _decoded(user: int, occurrences: Occurrences) -> Iterator[UserEvent]:
    for block in occurrences.only(Among(BitMap([user]))).blocks():
        columns = {name: column for name in block.event.properties if (column := block.column(name))}
        for row, time_ms in enumerate(block.times_ms.tolist()):
            properties = {}
            for name, (definition, data) in columns.items():
                entries = definition.dictionary.entries if definition.dictionary else ()
                value = decode(definition.type, data[row], entries)
                if value is not None:
                    properties[name] = value
            yield UserEvent(block.event.name, time_ms, properties)
