"""Distinct strings or lists of a column, numbered."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitseg.values import Entry


class Dictionary:
    """Numbers distinct entries 0, 1, 2, … in order of arrival; numbers never change."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries: list[Entry] = list(entries)
        self._codes: dict[Entry, int] = {entry: code for code, entry in enumerate(self.entries)}

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, entry: Entry) -> int | None:
        """The number of an entry, or None."""
        return self._codes.get(entry)

    def recode(self, codes: NDArray[np.int32], entries: Sequence[Entry]) -> NDArray[np.int32]:
        """Codes into `entries`, with -1 for none, as codes into this dictionary, which grows as needed."""
        mapping = np.empty(len(entries) + 1, np.int32)
        mapping[-1] = -1
        for position, entry in enumerate(entries):
            code = self._codes.setdefault(entry, len(self.entries))
            if code == len(self.entries):
                self.entries.append(entry)
            mapping[position] = code
        recoded: NDArray[np.int32] = mapping[codes]
        return recoded
