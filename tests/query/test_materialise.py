"""Kept bitmaps: good only while their data stands, and bounded in bytes."""

from pyroaring import BitMap

from bitseg.query.materialise import MAX_CONDITIONS, MaterialisedConditions


def test_Kept_bitmap_is_used_until_its_stamp_changes():
    kept = MaterialisedConditions(1_000_000)
    first = kept.get("a", 1, lambda: BitMap([1]))
    assert kept.get("a", 1, lambda: BitMap([2])) is first
    assert kept.get("a", 2, lambda: BitMap([2])) == BitMap([2])
    assert (kept.hits, kept.misses) == (1, 2)


def test_Least_recently_used_goes_first():
    kept = MaterialisedConditions(3_000)
    for key in "abcdefgh":
        kept.get(key, 0, lambda: BitMap(range(0, 1_000, 3)))
        kept.get("a", 0, lambda: BitMap(range(0, 1_000, 3)))
    assert kept.size_bytes <= 3_000
    hits = kept.hits
    kept.get("a", 0, BitMap)
    assert kept.hits == hits + 1
    kept.get("b", 0, BitMap)
    assert kept.hits == hits + 1


def test_Bitmap_larger_than_the_bound_is_not_kept():
    kept = MaterialisedConditions(100)
    assert len(kept.get("a", 0, lambda: BitMap(range(10)))) == 10
    assert kept.size_bytes == 0


def test_Number_of_kept_bitmaps_is_bounded():
    kept = MaterialisedConditions(2**40)
    for key in range(MAX_CONDITIONS + 5):
        kept.get(key, 0, BitMap)
    assert kept.get(MAX_CONDITIONS, 0, lambda: BitMap([1])) == BitMap()
    assert kept.get(0, 0, lambda: BitMap([1])) == BitMap([1])
