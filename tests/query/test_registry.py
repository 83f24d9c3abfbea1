"""Every kind of node has its place in every layer; what is unknown is refused by name."""

from typing import get_args

import pytest

from bitseg.index.operators import aggregates, predicates
from bitseg.query.estimate import estimate
from bitseg.query.leaves import compile_leaf
from bitseg.segment import nodes as n
from bitseg.segment.format import _text

# What the evaluator answers without the index: from other conditions, or from the directory.
ELSEWHERE = (n.And, n.Or, n.Not, n.Everyone, n.InSegment)


def kinds(union):
    return [each for arg in get_args(union) for each in (kinds(arg) if get_args(arg) else [arg])]


@pytest.mark.parametrize("kind", kinds(n.Condition))
def test_Condition_is_evaluated_by_the_index_or_elsewhere(kind):
    registered = compile_leaf.dispatch(kind) is not compile_leaf.dispatch(object)
    assert registered == (kind not in ELSEWHERE)


@pytest.mark.parametrize("kind", [each for each in kinds(n.Quantity) if each not in (n.FirstTime, n.LastTime)])
def test_Quantity_other_than_first_and_last_is_evaluated(kind):
    assert aggregates.members.dispatch(kind) is not aggregates.members.dispatch(object)


@pytest.mark.parametrize("kind", kinds(n.Predicate))
def test_Predicate_knows_its_types(kind):
    samples = {
        n.Compare: n.Compare(n.Operator.EQUAL, n.Number(1.0)),
        n.OneOf: n.OneOf((n.Text("a"),)),
        n.InRange: n.InRange(n.Number(1.0), n.Number(2.0)),
        n.IsSet: n.IsSet(),
        n.Contains: n.Contains("a"),
        n.StartsWith: n.StartsWith("a"),
        n.EndsWith: n.EndsWith("a"),
        n.Matches: n.Matches("a"),
        n.Has: n.Has(n.Quantifier.ANY, ("a",)),
        n.Falls: n.Falls(n.OnToday(0)),
        n.Anniversary: n.Anniversary(n.OnToday(0)),
        n.WithinRadius: n.WithinRadius(1.0, 2.0, 3.0),
    }
    assert predicates.fitting_types(samples[kind])
    assert _text.dispatch(kind) is not _text.dispatch(object)


def test_Unknown_nodes_raise_and_are_named():
    for function, arguments in ((compile_leaf, (None, None)), (aggregates.members, (None,)), (_text, ())):
        with pytest.raises(TypeError, match="object"):
            function(object(), *arguments)
    assert estimate.dispatch(n.Comparison) is not estimate.dispatch(object)
