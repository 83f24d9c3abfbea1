"""Stable buckets: a split of users that depends on their ids and a seed alone.

A user's bucket of n is `mix(xxh3_64(user id) ^ xxh3_64(seed)) mod n`, ids and seeds as UTF-8, xxh3_64 with seed 0
(xxhash.com) and `mix` the finaliser of SplitMix64 (Steele, Lea, Flood 2014). Neither machine, version nor the order of
arrival enters, so the answer is the same everywhere and forever.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_sorted, to_array
from bitseg.segment.nodes import InBucket


def members(condition: InBucket, id_hashes: NDArray[np.uint64], among: BitMap) -> BitMap:
    """The users in `among` whose bucket is `first` to `last`; `id_hashes` has xxh3_64 of every id by dense id."""
    users = to_array(among)
    numbers = bucket_of(id_hashes[users], condition.seed, condition.of)
    return from_sorted(users[(numbers >= condition.first) & (numbers <= condition.last)])


def bucket_of(id_hashes: NDArray[np.uint64], seed: str, of: int) -> NDArray[np.uint64]:
    """The bucket, 0 to `of` - 1, of each user, given by xxh3_64 of the id; shape (n,)."""
    mixed = id_hashes ^ np.uint64(xxhash.xxh3_64_intdigest(seed.encode()))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    buckets: NDArray[np.uint64] = mixed % np.uint64(of)
    return buckets
