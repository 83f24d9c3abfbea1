"""What an index was at a moment: for snapshots and exports, while it goes on changing."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from pyroaring import BitMap

from bitseg.columns import Columns
from bitseg.index.attributes import CapturedAttribute
from bitseg.index.dictionary import CapturedDictionary, Dictionary
from bitseg.index.events import CapturedEvent
from bitseg.index.users import CapturedIds
from bitseg.storage.snapshot import Part
from bitseg.values import ValueType

# Users in one block of an export.
_BLOCK_USERS = 2**16


@dataclass(slots=True)
class CapturedIndex:
    """An index at one moment. `parts` yields the parts of a snapshot and fills `unused`: codes without a value."""

    plain: list[Part]
    attributes: list[CapturedAttribute]
    events: list[CapturedEvent]
    ids: CapturedIds
    has_deleted: bool
    unused: list[tuple[Dictionary, BitMap]] = field(default_factory=list)

    def parts(self) -> Iterator[Part]:
        """The parts of a snapshot, made one by one to bound memory."""
        yield from self.plain
        for attribute in self.attributes:
            yield from attribute.parts(self._noted(attribute.dictionary, attribute.find_unused()))
        for event in self.events:
            unused = {
                name: self._noted(dictionary, event.find_unused(name))
                for name, dictionary in event.dictionaries.items()
            }
            yield from event.parts(unused)

    def attribute_types(self) -> dict[str, ValueType]:
        """The type of every attribute."""
        return {captured.attribute.name: captured.attribute.type for captured in self.attributes}

    def user_blocks(self) -> Iterator[Columns]:
        """All users with their values, in blocks of dense ids."""
        for first in range(0, self.ids.total, _BLOCK_USERS):
            last = min(first + _BLOCK_USERS, self.ids.total)
            users = self.ids.alive(first, last)
            values = {captured.attribute.name: captured.column(users, first, last) for captured in self.attributes}
            rows = np.arange(len(users))
            yield Columns(None, self.ids.texts(users), np.zeros(len(users), np.int64), values, rows)

    def event_blocks(self, event: CapturedEvent) -> Iterator[Columns]:
        """All events of a name, day by day."""
        for users, times_ms, values in event.columns():
            yield Columns(event.name, self.ids.texts(users), times_ms, values, np.arange(len(users)))

    def _noted(self, dictionary: CapturedDictionary | None, unused: BitMap) -> BitMap:
        if dictionary is not None and unused:
            self.unused.append((dictionary.dictionary, unused))
        return unused
