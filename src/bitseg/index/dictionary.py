"""Dictionaries: the distinct strings or lists of a column, each with a code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_array
from bitseg.storage.snapshot import Key, Part
from bitseg.values import Entry

# Entries in one part of a snapshot.
_PART_ENTRIES = 2**16
_REVISION_BITS = 32


class Dictionary:
    """Gives distinct entries the codes 0, 1, 2, … in order of arrival. The code of an entry never changes.

    Entries that no value uses are dropped; their codes are not reused.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._codes: dict[Entry, int] = {}
        # Codes that were taken from a value, so that no value may have them.
        self._suspects = BitMap()
        # Codes whose entries were dropped.
        self._gone = BitMap()
        # By part of a snapshot: how often entries of it were dropped.
        self._revisions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, entry: Entry) -> int | None:
        """The code of an entry, or None."""
        return self._codes.get(entry)

    def recode(self, codes: NDArray[np.int32], entries: Sequence[Entry]) -> NDArray[np.int32]:
        """Codes into `entries`, with -1 for none, as codes into this dictionary, which grows as needed; shape (n,)."""
        mapping = np.empty(len(entries) + 1, np.int32)
        mapping[-1] = -1
        known = self._codes
        for position, entry in enumerate(entries):
            code = known.get(entry)
            if code is None:
                code = len(self.entries)
                # The entry comes first: after an interrupt in between, no other entry gets its code.
                self.entries.append(entry)
                known[entry] = code
            mapping[position] = code
        if self._suspects:
            self._suspects -= from_array(mapping[:-1].astype(np.uint32))
        recoded: NDArray[np.int32] = mapping[codes]
        return recoded

    def suspect(self, codes: NDArray[Any]) -> None:
        """Mark the codes of values that were removed; -1 stands for no value."""
        self._suspects |= from_array(np.unique(codes[codes >= 0]).astype(np.uint32))

    def capture(self) -> "CapturedDictionary":
        """A view of the dictionary that later changes do not affect."""
        return CapturedDictionary(self, len(self.entries), self._suspects.copy(), self._gone, dict(self._revisions))

    def forget(self, unused: BitMap) -> None:
        """Drop the entries of codes that had no value in the last capture and have got no value since."""
        dropped = unused & self._suspects
        for code in dropped:
            entry = self.entries[code]
            del self._codes[entry]
            self.entries[code] = type(entry)()
        self._gone = self._gone | dropped
        for part in {code // _PART_ENTRIES for code in unused}:
            self._revisions[part] = self._revisions.get(part, 0) + 1
        for part in {code // _PART_ENTRIES for code in unused - dropped}:
            # These entries are missing from the snapshot but are in use, so the part must be written again.
            self._revisions[part] += 1
        self._suspects -= unused

    def restore(self, entries: Sequence[Any], revision: int, nothing: Entry) -> None:
        """Take back the next part of a snapshot: strings or lists of them, and None for those that are gone.

        `nothing` is put in their place.
        """
        first = len(self.entries)
        gone: list[int] = []
        for code, stored in enumerate(entries, first):
            entry: Entry = tuple(stored) if isinstance(stored, list) else stored
            if stored is None:
                gone.append(code)
                entry = nothing
            else:
                self._codes[entry] = code
            self.entries.append(entry)
        self._gone = self._gone | BitMap(gone)
        self._revisions[first // _PART_ENTRIES] = revision % (1 << _REVISION_BITS)


@dataclass(frozen=True, slots=True)
class CapturedDictionary:
    """A dictionary at one moment. `suspects` are the codes that may have no value, `gone` those of dropped entries."""

    dictionary: Dictionary
    length: int
    suspects: BitMap
    gone: BitMap
    revisions: Mapping[int, int]

    def parts(self, key: Key, unused: BitMap) -> Iterator[Part]:
        """The parts for a snapshot, without the entries of unused codes."""
        gone = self.gone | unused
        changed = {code // _PART_ENTRIES for code in unused}
        for part, first in enumerate(range(0, self.length, _PART_ENTRIES)):
            last = min(first + _PART_ENTRIES, self.length)
            revision = self.revisions.get(part, 0) + (part in changed)
            yield Part((*key, part), (last << _REVISION_BITS) + revision, partial(self._state, first, last, gone))

    def _state(self, first: int, last: int, gone: BitMap) -> list[Entry | None]:
        entries: list[Entry | None] = list(self.dictionary.entries[first:last])
        for code in gone & BitMap(range(first, last)):
            entries[code - first] = None
        return entries
