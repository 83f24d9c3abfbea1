"""Versions in the order of semver.org, and texts that are not versions."""

import itertools

import pytest

from bitseg.segment.versions import parse

# The example of semver.org, item 11, with neighbours.
ASCENDING = [
    "0.9",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0.1",
    "1.0.1",
    "1.9.9",
    "1.10",
    "2",
    "10.0",
]


def test_Versions_ascend():
    for lower, higher in itertools.combinations(ASCENDING, 2):
        assert parse(lower) < parse(higher), (lower, higher)


@pytest.mark.parametrize(
    ("one", "other"), [("4.10", "4.10.0"), ("v5", "5"), ("1.0+build", "1.0.0+other"), ("0", "0.0")]
)
def test_Versions_are_equal(one, other):
    assert parse(one) == parse(other)


@pytest.mark.parametrize("text", ["", "four", "1.", ".1", "1..2", "1.2-", "1-a..b", "1 2", "١.٢", "1" * 300])
def test_Text_is_not_a_version(text):
    assert parse(text) is None
