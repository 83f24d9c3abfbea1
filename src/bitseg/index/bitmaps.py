"""Conversion between numpy arrays and Roaring bitmaps without touching items one by one.

Large bitmaps are assembled in the portable serialised form (github.com/RoaringBitmap/RoaringFormatSpec), which
CRoaring reads at the speed of a copy: containers of 65,536 ids, each a sorted array of 16-bit items up to 4,096 of
them and a bitset beyond.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.runs import first_of_runs

CONTAINER_IDS = 65_536
_LARGEST_ARRAY = 4_096
_COOKIE = 12_346
# Up to this many ids, the plain constructor is faster than the assembly of containers.
_FEW = 2_000
# Up to this many bitmaps, with up to this many ids together, are united one by one.
_FEW_BITMAPS, _FEW_IDS = 4, 150_000
# Up to this many ids, merging arrays is faster than uniting bitmaps of them.
_FEW_IN_RUNS = 100_000


def from_array(users: NDArray[Any]) -> BitMap:
    """The bitmap of an array of dense ids, in any order and with repeats."""
    if len(users) <= _FEW:
        return _plain(users)
    users = users.astype(np.uint32, copy=False)
    later, before = users[1:], users[:-1]
    if (later > before).all():
        return from_sorted(users)
    if (later >= before).all():
        return from_sorted(users[np.append(True, later > before)])
    return _plain(users)


def from_sorted(users: NDArray[np.uint32]) -> BitMap:
    """The bitmap of ascending, distinct dense ids."""
    if len(users) <= _FEW:
        return _plain(users)
    first, last = int(users[0]) >> 16, int(users[-1]) >> 16
    edges = np.arange(first, last + 2, dtype=np.int64) * CONTAINER_IDS
    cardinalities = np.diff(np.searchsorted(users, edges))
    if cardinalities.max() > _LARGEST_ARRAY:
        base = first * CONTAINER_IDS
        mask = np.zeros((last + 1 - first) * CONTAINER_IDS, bool)
        mask[users - np.uint32(base)] = True
        return from_mask(mask, first_container=first)
    used = np.flatnonzero(cardinalities)
    lows = users.astype(np.uint16)
    return _assembled(used + first, cardinalities[used], [lows.tobytes()])


def from_runs(arrays: Sequence[NDArray[np.uint32]]) -> BitMap:
    """The bitmap of the ids in some arrays, each ascending, with repeats."""
    if len(arrays) < 2 or sum(map(len, arrays)) > _FEW_IN_RUNS:
        return union([from_array(users) for users in arrays])
    # `stable` is a timsort, which merges runs that are already sorted.
    users = np.sort(np.concatenate(arrays), kind="stable")
    return from_sorted(users[first_of_runs(users)])


def from_mask(mask: NDArray[np.bool_], first_container: int = 0) -> BitMap:
    """The bitmap of the positions that are True, counted from where container number `first_container` begins."""
    containers = -(-len(mask) // CONTAINER_IDS)
    packed = np.zeros(containers * (CONTAINER_IDS // 8), np.uint8)
    packed[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    return from_bits(packed, first_container)


def from_bits(packed: NDArray[np.uint8], first_container: int = 0) -> BitMap:
    """The bitmap of the bits that are set. `packed` has whole containers, the lowest bit of each byte first."""
    containers = len(packed) // (CONTAINER_IDS // 8)
    if containers == 0:
        return BitMap()
    bits = packed.reshape(containers, -1)
    cardinalities = np.bitwise_count(packed.view(np.uint64)).reshape(containers, -1).sum(axis=1, dtype=np.int64)
    used = np.flatnonzero(cardinalities)
    dense = cardinalities[used] > _LARGEST_ARRAY
    if dense.all():
        payload = [bits.tobytes() if len(used) == containers else bits[used].tobytes()]
    elif not dense.any():
        payload = [_positions(packed).astype(np.uint16).tobytes()]
    else:
        payload = [
            bits[container].tobytes() if is_dense else _positions(bits[container]).astype(np.uint16).tobytes()
            for container, is_dense in zip(used.tolist(), dense.tolist(), strict=True)
        ]
    return _assembled(used + first_container, cardinalities[used], payload)


def to_array(bitmap: BitMap) -> NDArray[np.uint32]:
    """The ids of a bitmap in ascending order."""
    return np.frombuffer(bitmap.to_array(), np.uint32)


def words_of(bitmap: BitMap, ids: int) -> NDArray[np.uint64]:
    """The ids as bits: id i is bit i % 64 of word i // 64. The words end with the container of id `ids` - 1.

    All ids must be below `ids`.
    """
    containers = -(-ids // CONTAINER_IDS)
    data = np.frombuffer(bitmap.serialize(), np.uint8)
    cookie, count = data[:8].view("<u4").tolist()
    # Another cookie means that there are runs, and then the header has another layout.
    lengths = data[8 : 8 + 4 * count].view("<u2")[1::2] if cookie == _COOKIE else ()
    if len(lengths) != containers or min(lengths) < _LARGEST_ARRAY:
        mask = np.zeros(containers * CONTAINER_IDS, bool)
        mask[to_array(bitmap)] = True
        return np.packbits(mask, bitorder="little").view(np.uint64)
    # All containers are bitsets without gaps between them, so their bytes are the words.
    return data[8 + 8 * count :].copy().view(np.uint64)


def union(bitmaps: Sequence[BitMap]) -> BitMap:
    """The ids in any of the bitmaps. A single bitmap is returned itself, not copied."""
    if len(bitmaps) == 1:
        return bitmaps[0]
    if not bitmaps:
        return BitMap()
    if len(bitmaps) > _FEW_BITMAPS or (len(bitmaps) > 2 and sum(map(len, bitmaps)) > _FEW_IDS):
        # CRoaring gathers many bitmaps in bitsets, which beats a pairwise union.
        return BitMap.union(*bitmaps)
    largest, *others = sorted(bitmaps, key=len, reverse=True)
    # Optimising the containers would take ten times as long as the copy.
    result = BitMap(largest, optimize=False)
    for bitmap in others:
        result |= bitmap
    return result


def everyone_below(limit: int) -> BitMap:
    """All ids below a limit and up to the end of its container, in bitsets, which take removals fast."""
    containers = -(-limit // CONTAINER_IDS)
    payload = b"\xff" * (containers * (CONTAINER_IDS // 8))
    return _assembled(np.arange(containers), np.full(containers, CONTAINER_IDS), [payload])


def size_bytes(bitmap: BitMap) -> int:
    """Bytes of memory that the containers of a bitmap take."""
    statistics = bitmap.get_statistics()
    return int(
        statistics["n_bytes_array_containers"]
        + statistics["n_bytes_run_containers"]
        + statistics["n_bytes_bitset_containers"]
    )


def _positions(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The positions of bits that are set, ascending; fast where few words have any."""
    words = packed.view(np.uint64)
    places = np.flatnonzero(words)
    words = words[places]
    positions: list[NDArray[np.int64]] = []
    while len(places):
        # Each round takes the lowest remaining bit of every word.
        below = words - np.uint64(1)
        positions.append(places * 64 + np.bitwise_count(~words & below))
        words = words & below
        more = np.flatnonzero(words)
        words, places = words[more], places[more]
    return np.sort(np.concatenate(positions), kind="stable") if positions else places


def _plain(users: NDArray[Any]) -> BitMap:
    buffer = array("I")
    buffer.frombytes(np.ascontiguousarray(users, np.uint32).tobytes())
    return BitMap(buffer)


def _assembled(keys: NDArray[Any], cardinalities: NDArray[Any], payload: list[bytes]) -> BitMap:
    """A bitmap of containers, given by number, size and contents end to end."""
    count = len(keys)
    if not count:
        return BitMap()
    sizes = np.where(cardinalities > _LARGEST_ARRAY, CONTAINER_IDS // 8, 2 * cardinalities)
    header = np.empty((count, 2), "<u2")
    header[:, 0] = keys
    header[:, 1] = cardinalities - 1
    offsets = 8 + 8 * count + np.cumsum(sizes) - sizes
    head = np.array([_COOKIE, count], "<u4").tobytes()
    return BitMap.deserialize(b"".join([head, header.tobytes(), offsets.astype("<u4").tobytes(), *payload]))
