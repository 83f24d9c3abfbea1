"""What one user did: the events behind an answer."""

from collections.abc import Iterator

from pyroaring import BitMap

from bitseg.index.occurrences import Among, Occurrences
from bitseg.results import UserEvent
from bitseg.values import decode


def events_of(user: int, occurrences: Occurrences) -> list[UserEvent]:
    """The user's events among the occurrences, oldest first."""
    return sorted(_found(user, occurrences), key=lambda each: each.timestamp_ms)


def _found(user: int, occurrences: Occurrences) -> Iterator[UserEvent]:
    for block in occurrences.only(Among(BitMap([user]))).blocks():
        columns = {name: found for name in block.event.properties if (found := block.column(name))}
        for row, time_ms in enumerate(block.times_ms.tolist()):
            properties = {}
            for name, (column, data) in columns.items():
                entries = column.dictionary.entries if column.dictionary else ()
                value = decode(column.type, data[row], entries)
                if value is not None:
                    properties[name] = value
            yield UserEvent(block.event.name, time_ms, properties)
