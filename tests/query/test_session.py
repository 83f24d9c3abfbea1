"""Queries are prepared once, checked when names change, and bounded in bytes."""

import threading
import time

import pytest

from bitseg.errors import InvalidSegmentError, UnknownAttributeError
from bitseg.operations import Identify, Track
from bitseg.query import session as sessions
from bitseg.query.session import Moment
from bitseg.query.sizes import tree_bytes
from bitseg.runtime.cancellation import interruptible
from bitseg.segment import nodes as n
from bitseg.segment import parse
from tests.conftest import NOW_MS

LEVELS = 28


@pytest.fixture
def session(engine):
    engine.ingest([Identify("u", {"a": 1, "b": 2}, NOW_MS), Identify("v", {"a": 1, "b": 1}, NOW_MS)])
    engine.catalog.save_segment("saved", "a = 1")
    return engine._shard.queries.session


LONG = " or ".join(f"a = {number}" for number in range(200))


@pytest.mark.parametrize("query", ["a = 1", LONG, parse(LONG), n.InSegment("saved"), n.Everyone()])
def test_Query_is_prepared_once(session, query):
    prepared = session.prepare(query)
    again = n.InSegment("saved") if isinstance(query, n.InSegment) else query
    assert session.prepare(again) is prepared


def test_Prepared_query_in_use_is_not_evicted(session, monkeypatch):
    monkeypatch.setattr(session._prepared, "_max_entries", 100)
    first = session.prepare("a = 1")
    for number in range(1_000):
        session.prepare(f"b = {number}")
        assert session.prepare("a = 1") is first
    assert len(session._prepared) == len(session._checked) == 100


def test_Prepared_queries_are_bounded_in_bytes(session, monkeypatch):
    monkeypatch.setattr(session._prepared, "_max_bytes", 500_000)
    for number in range(40):
        session.prepare(f"{LONG} or b = {number}")
    assert 400_000 < session.prepared_bytes <= 500_000
    assert len(session._prepared) < 20


def test_Query_that_takes_most_of_the_memory_evicts_nothing(session, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_PREPARED_BYTES", 100_000)
    first = session.prepare("a = 1")
    size = session.prepared_bytes
    large = session.prepare(LONG)
    assert session.prepare(LONG) is not large
    assert session.prepare("a = 1") is first
    assert session.prepared_bytes == size


def test_Size_of_a_tree_counts_all_its_nodes_and_values():
    few, many = (parse("a in (" + ", ".join(f'"{"x" * 50}{n}"' for n in range(total)) + ")") for total in (10, 1_000))
    assert tree_bytes(many) - tree_bytes(few) > 990 * 100


def test_Names_are_checked_again_only_when_the_schema_has_changed(engine, session, monkeypatch):
    checks = []
    check_names = sessions.check_names
    monkeypatch.setattr(sessions, "check_names", lambda *each: checks.append(each[0]) or check_names(*each))
    for query in ("a = 1", parse("a = 1 and b = 2"), n.InSegment("saved")):
        checks.clear()
        for _ in range(3):
            engine.count(query)
        assert len(checks) == 1
        engine.ingest([Track("u", f"E{len(str(query))}", {}, NOW_MS)])
        engine.count(query)
        engine.count(query)
        assert len(checks) == 2


def test_Fault_disappears_when_the_name_arrives(engine, session):
    for query in ("c = 1", n.Comparison("c", n.Compare(n.Operator.EQUAL, n.Number(1.0)))):
        with pytest.raises(UnknownAttributeError):
            engine.count(query)
    engine.ingest([Identify("u", {"c": 1}, NOW_MS + 1)])
    assert engine.count("c = 1").count == 1
    engine.catalog.save_segment("saved", "a = 1 and c = 1")
    assert engine.count(n.InSegment("saved")).count == 1


def test_Tree_too_deep_for_a_hash_is_refused_as_too_deep(session):
    tree = n.Everyone()
    for _ in range(5_000):
        tree = n.Not(tree)
    with pytest.raises(InvalidSegmentError, match="levels deep"):
        session.prepare(tree)


def test_Same_query_prepared_by_many_threads_has_one_plan(session):
    plans, barrier = [], threading.Barrier(8)

    def prepare(number):
        barrier.wait()
        plans.extend(session.prepare(f"{LONG} or b = {each}").plan.parts[0] for each in range(20))
        assert number in range(8)

    threads = [threading.Thread(target=prepare, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plans) == 160
    assert len(set(plans)) == 1


def test_All_shards_can_answer_at_one_moment(engine, session):
    engine.ingest([Track("u", "A", {}, NOW_MS)])
    query = session.prepare('did "A" in last 1 hour')

    def count(now_ms):
        moment = Moment(now_ms)
        return session.answer([query], moment, lambda evaluator, checked: evaluator.count(checked[0].plan))

    assert [count(NOW_MS + minutes * 60_000) for minutes in (0, 59, 61, 30)] == [1, 1, 0, 1]


@pytest.fixture
def diamond(engine, session):
    """Segments that refer twice to the segment before them."""
    engine.catalog.save_segment("s0", "a = 1")
    for level in range(1, LEVELS):
        below = f'in segment "s{level - 1}"'
        engine.catalog.save_segment(f"s{level}", f"{below} and b = 1 or {below} and b = 2")
    return engine


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda engine: engine.count(f'in segment "s{LEVELS - 1}"').count, 2),
        (lambda engine: engine.count(f'not in segment "s{LEVELS - 1}" or a = 1').count, 2),
        (lambda engine: engine.count(f'in segment "s{LEVELS - 1}" and a = 1 and b = 2').count, 1),
        (lambda engine: engine.evaluate(n.InSegment(f"s{LEVELS - 1}"), sample_size=5).count, 2),
        (lambda engine: len(engine.user_segments("u").segments), LEVELS + 1),
        (lambda engine: engine.explain("u", n.InSegment(f"s{LEVELS - 1}")).explanation.matches, True),
        (lambda engine: engine.explain_plan(n.InSegment(f"s{LEVELS - 1}")).members, 2),
        (lambda engine: engine.pin_segment(f"s{LEVELS - 1}") or engine.count(f'in segment "s{LEVELS - 1}"').count, 2),
    ],
)
def test_Saved_segments_that_refer_to_each_other_like_a_diamond_take_linear_time(diamond, ask, expected):
    started = time.process_time()
    assert ask(diamond) == expected
    diamond.ingest([Identify("u", {"b": 1}, NOW_MS + 1)])
    ask(diamond)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.count("a = 1 and b = 2"),
        lambda engine: engine.user_segments("u"),
        lambda engine: engine.explain("u", "a = 1"),
        lambda engine: engine.explain_plan("a = 1"),
        lambda engine: engine.count(n.InSegment("s5")),
    ],
)
def test_Cancelled_work_ends(diamond, ask):
    def unwanted():
        raise TimeoutError

    with interruptible(unwanted), pytest.raises(TimeoutError):
        ask(diamond)
    ask(diamond)
