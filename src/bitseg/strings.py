"""Many texts in one buffer: user ids as the engine takes, stores and compares them, without an object for each."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

# Words are read eight bytes at a time, also at the end of the last text.
PADDING_BYTES = 8


class StringArray(Sequence[str]):
    """UTF-8 texts, one after the other: text i is `data[starts[i] : ends[i]]`.

    `data` has shape (bytes + PADDING_BYTES,) and dtype uint8, `starts` and `ends` shape (n,) and dtype int64. None of
    them may be changed while the texts are in use.
    """

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> "StringArray":
        """The texts of a sequence; UnicodeEncodeError for one that is not Unicode, such as a lone surrogate."""
        if isinstance(texts, StringArray):
            return texts
        joined = "".join(texts).encode()
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if int(lengths.sum()) != len(joined):
            lengths = np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts))
        return cls.from_buffer(joined, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))

    @classmethod
    def from_buffer(cls, data: bytes | memoryview, offsets: NDArray[np.int64]) -> "StringArray":
        """The texts of a buffer of valid UTF-8, text i from `offsets[i]` to `offsets[i + 1]`; copies it."""
        first, last = int(offsets[0]), int(offsets[-1])
        padded = np.zeros(last - first + PADDING_BYTES, np.uint8)
        padded[: last - first] = np.frombuffer(data, np.uint8, last - first, first)
        offsets = offsets.astype(np.int64) - first
        return cls(padded, offsets[:-1], offsets[1:])

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "StringArray": ...
    def __getitem__(self, place: int | slice) -> "str | StringArray":
        if isinstance(place, slice):
            return StringArray(self.data, self.starts[place], self.ends[place])
        return self.data[self.starts[place] : self.ends[place]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each text; shape (n,)."""
        return self.ends - self.starts

    def take(self, places: NDArray[np.integer] | NDArray[np.bool_]) -> "StringArray":
        """Some of the texts, by place or by mask, sharing the buffer."""
        return StringArray(self.data, self.starts[places], self.ends[places])

    def compact(self) -> "StringArray":
        """The same texts end to end in a buffer that has nothing else."""
        is_whole = len(self.starts) and not self.starts[0] and self.ends[-1] + PADDING_BYTES == len(self.data)
        if is_whole and np.array_equal(self.starts[1:], self.ends[:-1]):
            return self
        lengths = self.lengths
        ends = np.cumsum(lengths)
        starts = ends - lengths
        total = int(ends[-1]) if len(ends) else 0
        data = np.zeros(total + PADDING_BYTES, np.uint8)
        if total and np.array_equal(self.starts[1:], self.ends[:-1]):
            data[:total] = self.data[self.starts[0] : self.ends[-1]]
        elif total:
            data[:total] = self.data[np.arange(total) + np.repeat(self.starts - starts, lengths)]
        return StringArray(data, starts, ends)

    def strings(self) -> list[str]:
        """Each text as a Python string."""
        if not len(self.starts):
            return []
        compact = self.compact()
        buffer = compact.data[:-PADDING_BYTES].tobytes()
        places = zip(compact.starts.tolist(), compact.ends.tolist(), strict=True)
        if buffer.isascii():
            text = buffer.decode("ascii")
            return [text[start:end] for start, end in places]
        return [buffer[start:end].decode() for start, end in places]

    def words(self, number: int) -> NDArray[np.uint64]:
        """Bytes 8 * number to 8 * number + 8 of each text, little-endian, zero beyond its end; shape (n,).

        Every text must be longer than 8 * number bytes.
        """
        places = self.starts + 8 * number
        # Each row of the view is the eight bytes from there on, aligned or not.
        view = np.ndarray(max(len(self.data) - 7, 0), "<u8", self.data, 0, (1,))
        words = view[places]
        missing = np.maximum(8 - (self.ends - places), 0).astype(np.uint64)
        words &= np.uint64(0xFFFF_FFFF_FFFF_FFFF) >> (missing * np.uint64(8))
        return words

    def hashes(self, seed: int = 0) -> NDArray[np.uint64]:
        """A 64-bit hash of each text, for tables in memory alone: it is not stable between versions; shape (n,).

        Multiply, fold and add word by word, and the finaliser of SplitMix64 (Steele, Lea, Flood 2014) at the end.
        """
        lengths = self.lengths
        hashes = lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        for number in range((int(lengths.max(initial=0)) + 7) // 8):
            rows = np.flatnonzero(lengths > 8 * number)
            mixed = (hashes[rows] ^ self.take(rows).words(number)) * np.uint64(0xFF51AFD7ED558CCD)
            hashes[rows] = mixed ^ (mixed >> np.uint64(32))
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
        return hashes

    def equal(self, others: "StringArray") -> NDArray[np.bool_]:
        """Which texts are the same as the other of the same place; shape (n,)."""
        lengths = self.lengths
        same: NDArray[np.bool_] = lengths == others.lengths
        for number in range((int(lengths.max(initial=0)) + 7) // 8):
            rows = np.flatnonzero(same & (lengths > 8 * number))
            if not len(rows):
                break
            same[rows] = self.take(rows).words(number) == others.take(rows).words(number)
        return same


def require_texts(data: bytes, ends: NDArray[np.int64]) -> None:
    """Raise ValueError where a buffer is not UTF-8, or a text ends within a character; shape of `ends`: (n,)."""
    # UnicodeDecodeError is a ValueError.
    data.decode()
    inner = ends[ends < len(data)]
    if ((np.frombuffer(data, np.uint8)[inner] & 0xC0) == 0x80).any():
        raise ValueError("a text ends within a character")
