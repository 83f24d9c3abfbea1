"""The shape of plans: differences for negations, complements last, one object for equal parts."""

import pytest

from bitseg.query.plan import Complement, Intersect, Leaf, Planner, Reference, Union
from bitseg.segment import parse


def shape(plan):
    """A plan as nested tuples, since plans are equal only if they are the same object."""
    match plan:
        case Leaf(condition):
            return condition.name
        case Reference(name):
            return ("saved", name)
        case Intersect(parts, excluded):
            return ("and", *map(shape, parts), *(("not", shape(each)) for each in excluded))
        case Union(parts):
            return ("or", *map(shape, parts))
        case Complement(part):
            return ("all but", shape(part))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('in segment "saved" and not a = 1', ("and", ("saved", "saved"), ("not", "a"))),
        ("a = 1 and b = 1 and c = 1", ("and", "a", "b", "c")),
        ("a = 1 and not b = 1 and not c = 1", ("and", "a", ("not", "b"), ("not", "c"))),
        ("not a = 1", ("all but", "a")),
        ("not a = 1 and not b = 1", ("all but", ("or", "a", "b"))),
        ("a = 1 or b = 1", ("or", "a", "b")),
        ("a = 1 or not b = 1", ("all but", ("and", "b", ("not", "a")))),
        ("not (a = 1 or not b = 1)", ("and", "b", ("not", "a"))),
    ],
)
def test_Plan_has_the_shape(text, expected):
    assert shape(Planner().plan(parse(text))) == expected


def test_Equal_parts_of_different_segments_are_one_object():
    planner = Planner()
    one = planner.plan(parse("(a = 1 or b = 1) and c = 1"))
    other = planner.plan(parse("d = 1 and (a = 1 or b = 1)"))
    assert one.parts[0] is other.parts[1]
