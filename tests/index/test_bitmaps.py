"""Bitmaps assembled from arrays, masks and words have the right ids, in every kind of container."""

import numpy as np
import pytest
from pyroaring import BitMap

from bitseg.index import bitmaps


def cases():
    source = np.random.default_rng(5)
    yield "nobody", np.empty(0, np.int64)
    yield "one", np.array([70_000])
    yield "sparse", np.unique(source.integers(0, 3_000_000, 5_000))
    yield "dense", np.flatnonzero(source.random(400_000) < 0.4)
    yield (
        "dense and sparse containers",
        np.union1d(np.arange(65_536, 120_000), source.integers(500_000, 900_000, 3_000)),
    )
    yield "full", np.arange(200_000)
    yield "a container of 4,096", np.arange(0, 4_096 * 16, 16)
    yield "a container of 4,097", np.append(np.arange(0, 4_096 * 16, 16), 3)
    yield "runs with gaps", np.concatenate([np.arange(3 * 65_536, 4 * 65_536), np.arange(7 * 65_536, 8 * 65_536)])
    yield "the largest ids", np.arange(2**32 - 10_000, 2**32)


@pytest.mark.parametrize(("name", "ids"), list(cases()), ids=lambda value: value if isinstance(value, str) else "")
def test_Bitmap_has_the_ids(name, ids):
    expected = BitMap(sorted(set(ids.tolist())))
    ascending = np.array(sorted(set(ids.tolist())), np.uint32)
    assert bitmaps.from_sorted(ascending) == expected
    assert bitmaps.from_array(np.repeat(ascending, 2)) == expected
    assert bitmaps.from_array(np.random.default_rng(1).permutation(ascending)) == expected
    assert bitmaps.to_array(expected).tolist() == ascending.tolist()
    if len(ids) and ids.max() < 2**25:
        mask = np.zeros(int(ids.max()) + 1, bool)
        mask[ascending] = True
        made = bitmaps.from_mask(mask)
        assert made == expected
        # The containers are those that CRoaring itself makes from arrays and bitsets.
        assert made.serialize() == BitMap(ids, optimize=False).serialize()


@pytest.mark.parametrize(
    ("name", "ids"),
    [case for case in cases() if case[0] != "the largest ids"],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("optimized", [False, True])
def test_Words_have_the_bits(name, ids, optimized):
    """With runs, the serialised form has another header; read as the header of bitsets, it gives wrong words."""
    bitmap = bitmaps.from_array(ids)
    if optimized:
        bitmap.run_optimize()
    words = bitmaps.words_of(bitmap, int(ids.max(initial=0)) + 1)
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == sorted(set(ids.tolist()))
    wider = bitmaps.words_of(bitmap, int(ids.max(initial=0)) + 200_000)
    assert int(np.bitwise_count(wider).sum()) == len(bitmap)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_Union_has_the_ids_of_all_bitmaps_and_does_not_change_them(count):
    source = np.random.default_rng(count)
    each = [bitmaps.from_array(source.integers(0, 200_000, 500 * 4**place)) for place in range(count)]
    before = [bitmap.serialize() for bitmap in each]
    assert bitmaps.union(each) == BitMap().union(*each) if each else bitmaps.union(each) == BitMap()
    assert [bitmap.serialize() for bitmap in each] == before


def test_Everyone_below_reaches_the_end_of_a_container():
    assert bitmaps.everyone_below(65_537) == BitMap(range(131_072))
