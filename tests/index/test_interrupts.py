"""A reader interrupted anywhere, by Ctrl-C or for want of memory, leaves an index that answers as before."""

import pickle
import sys
from functools import partial

import numpy as np
import pytest

from bitseg.calendar import Calendar
from bitseg.columns import Columns, Deletion
from bitseg.index import attributes, ranges
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.leaves import compile_leaf
from bitseg.segment import parse
from bitseg.values import Column, SparseValues, ValueType

DAY_MS = 86_400_000
NOW_MS = 40 * DAY_MS
USERS = 12


def events(source, name, first_day, last_day, count=30):
    """Random events of some days, in one block as they are ingested."""
    users = [f"u{number}" for number in source.integers(0, USERS, count)]
    times_ms = source.integers(first_day * DAY_MS, last_day * DAY_MS, count)
    colours = Column(ValueType.STRING, source.integers(-1, 3, count).astype(np.int32), ["red", "green", "blue"])
    numbers = Column(ValueType.NUMBER, source.integers(0, 9, count).astype(np.float64), ())
    return Columns(name, users, times_ms, {"n": numbers, "colour": colours}, np.arange(count))


def values(source):
    """Values of all users, as they are ingested."""
    users = [f"u{number}" for number in range(USERS)]
    plans = SparseValues(np.arange(USERS), [["free", "gold"][number] for number in source.integers(0, 2, USERS)])
    ages = SparseValues(np.arange(USERS), [float(number) for number in source.integers(18, 40, USERS)])
    return Columns(None, users, np.full(USERS, NOW_MS), {"plan": plans, "age": ages}, np.arange(USERS))


def filled():
    """An index whose partitions have sorted rows, a bitmap of them, and tails that nobody has merged."""
    source = np.random.default_rng(7)
    index = Index(Calendar("UTC"))
    index.apply([values(source), events(source, "A", 38, 40), events(source, "B", 39, 40), Deletion(["u5"])])
    index.change_lists({"vips": ["u1", "u3", "u5", "nobody"]})
    index.prepare()
    index.apply([values(source)])
    for _ in range(2):
        index.apply([events(source, "A", 38, 40, 12), events(source, "B", 39, 40, 12)])
    return index


def answer(index, condition, few):
    """The users in a condition; `few` are looked up one by one."""
    among = index.users.everyone if few else None
    return sorted(compile_leaf(condition, index, Context(NOW_MS, index.calendar), among)())


def is_interrupted(action, step, *, by_line):
    """Run an action and raise KeyboardInterrupt in it at the n-th call or return, or the n-th line of the index.

    Whether it came so far.
    """
    steps, harness = 0, sys._getframe()

    def count(event):
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt(event)

    def profile(frame, event, argument):
        if frame is not harness:
            count(event)

    def trace(frame, event, argument):
        if "bitseg/index" not in frame.f_code.co_filename:
            return None
        if event == "line":
            count(event)
        return trace

    before = sys.gettrace() if by_line else sys.getprofile()
    install = sys.settrace if by_line else sys.setprofile
    install(trace if by_line else profile)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        install(before)
    return steps >= step


CONDITIONS = {
    "did": 'did "A"',
    "did in a window": "did any event in last 30 hours",
    "did where": 'did "A" where colour = "red" in last 3 days',
    "count": 'did "A" at least 3 times',
    "sum": 'did "A" with sum(n) > 12',
    "distinct": 'did "A" with distinct(colour) >= 2',
    "first time": 'did "A" for the first time in last 30 hours',
    "last time at an hour": 'did "A" for the last time at 9:00 to 21:00 in last 3 days',
    "sequence": 'did "A" then did "B" within 2 days',
    "value": 'plan in ("gold", "silver")',
    "pattern": 'plan contains "ol"',
    "range": "age between 20 and 30",
    "list": 'in list "vips"',
    "bucket": 'in bucket 0 to 4 of 10 seed "s"',
}
CASES = {
    **{name: {} for name in CONDITIONS},
    **{f"{name}, few users": {"few": True} for name in ("did", "did where", "pattern")},
    **{f"{name}, by line": {"by_line": True} for name in ("did", "value", "range", "list", "bucket")},
    **{f"{name}, read before": {"was_read": True} for name in ("did where", "count")},
    **{f"{name}, read before, by line": {"was_read": True, "by_line": True} for name in ("did where", "count")},
}


# An interrupt while a generator is closed is printed, not raised; then the query goes on, and its answer counts.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("case", "options"), CASES.items(), ids=CASES)
def test_Interrupted_reader_leaves_an_index_that_answers_right(monkeypatch, case, options):
    few, by_line = options.get("few", False), options.get("by_line", False)
    monkeypatch.setattr(attributes, "SMALLEST", 1)
    monkeypatch.setattr(ranges, "BINS", 4)
    condition = parse(CONDITIONS[case.split(",")[0]])
    index = filled()
    untouched = pickle.dumps(index)
    expected = answer(index, condition, few)
    assert expected, "a condition without members shows nothing"
    if options.get("was_read"):
        # What that reader merged is there to be taken over.
        untouched = pickle.dumps(index)
    right_states = set()
    step, was_interrupted = 0, True
    while was_interrupted:
        step += 1
        index = pickle.loads(untouched)
        was_interrupted = is_interrupted(partial(answer, index, condition, few), step, by_line=by_line)
        state = pickle.dumps(index)
        if state not in right_states:
            assert answer(index, condition, few) == expected
            assert index.faults() == []
            right_states.add(state)
    assert step > 30
