"""Every kind of node is handled in every layer; an unknown kind raises an error that names it."""

from dataclasses import dataclass
from inspect import isabstract
from typing import get_args

import pytest
from pyroaring import BitMap

from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.entries import leaves
from bitseg.errors import InvalidArgumentError
from bitseg.index.context import Context
from bitseg.index.operators import aggregates, predicates
from bitseg.operations import Identify, Track
from bitseg.query.check_names import check_names
from bitseg.query.evaluate import Evaluator
from bitseg.query.explain import explain
from bitseg.query.explain_plan import explain_plan
from bitseg.query.freshness import Stamp, stale_users, stamp, valid_until_ms
from bitseg.query.leaves.base import LeafKind, Stale
from bitseg.query.leaves.registry import KINDS, kind_of
from bitseg.query.leaves.windows import next_move_ms, window_of
from bitseg.query.plan import Planner, SavedPlans, build, parts_of
from bitseg.query.session import Moment, QuerySession
from bitseg.segment import nodes as n
from bitseg.segment import validate
from bitseg.segment.format import _text
from bitseg.segment.validate import check
from tests.conftest import NOW_MS


@dataclass(frozen=True, slots=True)
class Unheard:
    """An unknown condition, predicate, window or quantity."""


# Conditions that the evaluator answers from other conditions.
COMPOUNDS = (n.And, n.Or, n.Not, n.InSegment)
SAMPLES = {
    n.Comparison: n.Comparison("a", n.Compare(n.Operator.EQUAL, n.Number(1.0))),
    n.Did: n.Did("E"),
    n.Sequence: n.Sequence("E", (n.Then("E", n.Duration(1, n.Unit.HOURS)),)),
    n.Everyone: n.Everyone(),
    n.InList: n.InList("list"),
    n.InBucket: n.InBucket(0, 4, 10),
    n.InSegment: n.InSegment("saved"),
    n.Not: n.Not(n.Everyone()),
    n.And: n.And((n.Did("E"), n.InBucket(0, 4, 10))),
    n.Or: n.Or((n.Did("E"), n.InBucket(0, 4, 10))),
}


def kinds(union):
    return [each for arg in get_args(union) for each in (kinds(arg) if get_args(arg) else [arg])]


@pytest.fixture
def engine():
    engine = Engine(clock=FixedClock(NOW_MS))
    engine.ingest([Identify("u", {"a": 1}, NOW_MS), Track("u", "E", {}, NOW_MS)])
    engine.catalog.save_list("list", ["u"])
    engine.catalog.save_segment("saved", "a = 1")
    return engine


@pytest.fixture
def index(engine):
    return engine._shard.state.index


def questions(condition, index):
    """All methods of the kind of a leaf, as calls without arguments."""
    context = Context(NOW_MS, index.calendar)
    now = stamp(condition, index, context) if type(condition) in KINDS else Stamp((), (), None)
    methods = {name: getattr(LeafKind, name) for name in LeafKind.__abstractmethods__ | {"refresh"}}
    arguments = {
        "compile": (index, context),
        "is_quick": (index, context),
        "stored": (index,),
        "estimate": (index, context),
        "sources": (index,),
        "intervals": (index, context),
        "inner_windows": (context,),
        "moved": (NOW_MS, index, context),
        "valid_until_ms": (index, context),
        "check_names": (index, {}),
        "evidence": (0, index, context),
        "refresh": (BitMap(), Stale(BitMap([0]), None), index, context),
    }
    assert methods.keys() == arguments.keys()
    for name in methods:
        yield name, lambda name=name: getattr(kind_of(condition), name)(condition, *arguments[name])
    yield "stamp", lambda: stamp(condition, index, context)
    yield "validity", lambda: valid_until_ms(condition, index, context)
    yield "stale users", lambda: stale_users(condition, now, NOW_MS, now, index, context)
    yield "plan", lambda: build(condition, Planner().plan)


@pytest.mark.parametrize("kind", kinds(n.Condition))
def test_Every_kind_of_condition_is_a_leaf_or_a_compound(kind):
    assert (kind in KINDS) == (kind not in COMPOUNDS)
    assert type(SAMPLES[kind]) is kind


@pytest.mark.parametrize("kind", kinds(n.Leaf))
def test_Every_leaf_answers_every_question(kind, index):
    if kind is n.InSegment:
        with pytest.raises(TypeError, match="InSegment"):
            kind_of(SAMPLES[kind])
        return
    assert not isabstract(type(KINDS[kind]))
    assert len([ask() for _, ask in questions(SAMPLES[kind], index)]) == 16


@pytest.mark.parametrize("kind", kinds(n.Condition))
def test_Every_kind_is_validated_counted_explained_and_planned(kind, engine):
    condition = SAMPLES[kind]
    validate(condition)
    assert engine.count(condition).count in (0, 1)
    assert engine.explain("u", condition).explanation.matches == bool(engine.count(condition).count)
    assert engine.explain_plan(condition).members == engine.count(condition).count
    assert check_names(condition, engine._shard.state.index, engine._shard.state.catalog) == ()
    assert leaves(condition)


def test_Unknown_condition_raises_in_every_question(index):
    for name, ask in questions(Unheard(), index):
        with pytest.raises((TypeError, InvalidArgumentError), match="Unheard"):
            pytest.fail(f"{name} answered {ask()!r}")


@pytest.mark.parametrize("wrap", [lambda each: each, n.Not, lambda each: n.And((each, n.Everyone()))])
def test_Unknown_condition_raises_wherever_a_condition_goes(engine, wrap):
    condition, index = wrap(Unheard()), engine._shard.state.index

    def evaluator_of(session):
        query = session.prepare("everyone")
        return session.answer([query], Moment(NOW_MS), lambda evaluator, checked: evaluator)

    evaluator = evaluator_of(QuerySession(index, engine._shard.state.catalog, lambda: 0, engine._shard.lock, 2**20))
    for ask in (
        lambda: validate(condition),
        lambda: check(Unheard()),
        lambda: n.children(Unheard()),
        lambda: leaves(condition),
        lambda: check_names(condition, index, {}),
        lambda: explain(condition, 0, evaluator, {}),
        lambda: Planner().plan(condition),
        lambda: engine.count(condition),
        lambda: engine.evaluate(condition),
        lambda: engine.explain("u", condition),
        lambda: engine.explain_plan(condition),
        lambda: engine.catalog.save_segment("unheard", condition),
        lambda: _text(Unheard()),
    ):
        with pytest.raises((TypeError, InvalidArgumentError), match="Unheard"):
            ask()


@pytest.mark.parametrize(
    "ask",
    [
        Evaluator.members,
        Evaluator.count,
        Evaluator.size,
        Evaluator.tasks,
        lambda evaluator, plan: evaluator.contains(plan, 0),
        lambda evaluator, plan: parts_of(plan),
        lambda evaluator, plan: explain_plan(plan, evaluator),
        lambda evaluator, plan: SavedPlans(Planner(), {}).reached(plan),
    ],
)
def test_Unknown_plan_raises(engine, ask):
    session = QuerySession(engine._shard.state.index, engine._shard.state.catalog, lambda: 0, engine._shard.lock, 2**20)
    query = session.prepare("everyone")
    with pytest.raises((TypeError, InvalidArgumentError), match="Unheard"):
        session.answer([query], Moment(NOW_MS), lambda evaluator, checked: ask(evaluator, Unheard()))


def test_Leaf_kind_without_an_answer_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        LeafKind()


@pytest.mark.parametrize("kind", [each for each in kinds(n.Quantity) if each not in (n.FirstTime, n.LastTime)])
def test_Quantity_other_than_first_and_last_is_evaluated(kind):
    assert aggregates.members.dispatch(kind) is not aggregates.members.dispatch(object)


PREDICATES = {
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


@pytest.mark.parametrize("kind", kinds(n.Predicate))
def test_Predicate_knows_its_types_and_its_window(kind):
    sample = PREDICATES[kind]
    assert predicates.fitting_types(sample)
    assert (window_of(sample) is not None) == hasattr(sample, "window")
    assert _text.dispatch(kind) is not _text.dispatch(object)


@pytest.mark.parametrize("unit", n.Unit)
@pytest.mark.parametrize("kind", [n.InLast, n.InNext, n.MoreThanAgo])
def test_Window_of_hours_moves_at_every_instant_and_one_of_days_at_midnight(index, unit, kind):
    context = Context(NOW_MS, index.calendar)
    moves_ms = next_move_ms([kind(n.Duration(1, unit))], context)
    assert moves_ms == NOW_MS + (1 if unit in (n.Unit.MINUTES, n.Unit.HOURS) else 12 * 3_600_000)


def test_Unknown_predicate_window_and_quantity_raise(index):
    context = Context(NOW_MS, index.calendar)
    for ask in (
        lambda: window_of(Unheard()),
        lambda: next_move_ms([Unheard()], context),
        lambda: aggregates.members(Unheard(), None),
        lambda: kind_of(n.Did("E")).compile(n.Did("E", quantity=Unheard()), index, context)(),
    ):
        with pytest.raises((TypeError, InvalidArgumentError), match="Unheard"):
            ask()
