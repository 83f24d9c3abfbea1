"""Packed columns give back the same bits."""

import numpy as np
import pytest

from bitseg.index.packing import pack
from bitseg.values import ValueType


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [
        ([1.0, 2.0, -3.0], 1),
        ([1.0, 300.0], 2),
        ([1.0, 70_000.0], 4),
        ([59.99, 0.1, -12.34], 2),
        ([19_999_999.99], 4),
        ([-128.0, 127.0], 2),
        ([0.001], 8),
        ([1e308, 1.0], 8),
        ([-0.0, 1.0], 8),
        ([2.0**31], 8),
        ([float("nan"), 5.0], 1),
        ([float("nan")], 1),
    ],
)
def test_Numbers_take_the_fewest_bytes_that_represent_them(values, bytes_each):
    data = np.array(values)
    packed = pack(ValueType.NUMBER, data)
    assert packed.data.itemsize == bytes_each
    assert packed.values().view(np.int64).tolist() == data.view(np.int64).tolist()
    assert packed.values(np.array([0])).tolist() == pytest.approx([values[0]], nan_ok=True)
    assert packed.has_gaps == (bool(np.isnan(data).any()) or bytes_each == 8)


@pytest.mark.parametrize(("highest", "bytes_each"), [(5, 1), (127, 1), (128, 2), (40_000, 4)])
def test_Codes_are_as_narrow_as_the_largest_allows(highest, bytes_each):
    codes = np.array([-1, 0, highest], np.int32)
    packed = pack(ValueType.STRING, codes)
    assert packed.data.itemsize == bytes_each
    assert packed.values().tolist() == [-1, 0, highest]


def test_Hundredths_are_packed_exactly():
    source = np.random.default_rng(1)
    data = np.round(source.lognormal(4, 2, 100_000), 2)
    packed = pack(ValueType.NUMBER, data)
    assert packed.scale == 100
    assert np.array_equal(packed.values(), data)
