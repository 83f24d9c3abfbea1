"""Bins answer ranges as a scan of the column does, also after values have changed."""

import numpy as np
import pytest

from bitseg.index.bitmaps import to_array
from bitseg.index.ranges import RangeIndex

SIZE = 30_000
LIMITS = (-1e308, -5.0, -0.0, 0.0, 0.5, 1.0, 2.5, 3.0, 99.9, 100.0, 1e6, 1e308)


def columns(source):
    yield "normal", source.normal(0, 30, SIZE)
    yield "few values", source.integers(0, 4, SIZE).astype(np.float64)
    yield "one value", np.full(SIZE, 3.0)
    yield "skewed", np.where(source.random(SIZE) < 0.9, 0.5, source.lognormal(3, 2, SIZE))
    yield "days", source.integers(-20, 120, SIZE).astype(np.int32)
    yield "with gaps", np.where(source.random(SIZE) < 0.3, np.nan, source.normal(0, 30, SIZE))


def is_missing(values):
    return np.isnan(values) if values.dtype == np.float64 else values == np.iinfo(values.dtype).min


def check(index, column):
    for limit in LIMITS:
        assert to_array(index.below(limit, column)).tolist() == np.flatnonzero(column < limit).tolist()
        for high in LIMITS:
            users = to_array(index.between(limit, high, column)).tolist()
            assert users == np.flatnonzero((column >= limit) & (column < high)).tolist()


@pytest.mark.parametrize("number", range(6))
def test_Bins_answer_as_a_scan_does(number):
    source = np.random.default_rng(number)
    _, column = list(columns(source))[number]
    users = np.flatnonzero(~is_missing(column)).astype(np.uint32)
    index = RangeIndex(users, column[users])
    check(index, column)
    for _ in range(3):
        moved = np.sort(source.choice(SIZE, 500, replace=False)).astype(np.uint32)
        before = column[moved]
        after = source.permutation(column)[:500]
        if column.dtype == np.float64:
            after[:50] = np.nan
        column[moved] = after
        index.move(moved, before, after, is_missing)
    check(index, column)
    assert index.size_bytes > 0


def test_Bins_are_skewed_after_many_values_have_moved():
    column = np.arange(SIZE, dtype=np.float64)
    users = np.arange(SIZE, dtype=np.uint32)
    index = RangeIndex(users, column)
    assert not index.is_skewed
    for _ in range(4):
        index.move(users, column, column + 1, is_missing)
        column = column + 1
    assert index.is_skewed
