"""The shape of plans: order of work, differences for negations, complements last."""

import pytest

from bitseg.query.normalise import normalise
from bitseg.query.plan import Complement, Intersect, Leaf, Union, plan
from bitseg.segment import parse

SIZES = {"small": 1, "middle": 10, "large": 100}


def leaf(name):
    return Leaf(parse(f"{name} = 1"))


SMALL, MIDDLE, LARGE = map(leaf, SIZES)


def size(condition):
    inner = getattr(condition, "condition", condition)
    return SIZES[inner.name] if hasattr(inner, "name") else 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("large = 1 and small = 1 and middle = 1", Intersect((SMALL, MIDDLE, LARGE))),
        ("large = 1 and not middle = 1 and not small = 1", Intersect((LARGE,), (MIDDLE, SMALL))),
        ("not small = 1", Complement(SMALL)),
        ("not small = 1 and not middle = 1", Complement(Union((MIDDLE, SMALL)))),
        ("large = 1 or small = 1", Union((LARGE, SMALL))),
        ("large = 1 or not small = 1", Complement(Intersect((SMALL,), (LARGE,)))),
        ("not (large = 1 or not small = 1)", Intersect((SMALL,), (LARGE,))),
    ],
)
def test_Plan_has_the_shape(text, expected):
    assert plan(normalise(parse(text)), size) == expected
