"""A reader that is interrupted at any point (Ctrl-C, MemoryError) leaves an index that answers as before."""

import pickle
import sys
from functools import partial

import numpy as np
import pytest

from bitseg.calendar import Calendar
from bitseg.index import attributes, ranges
from bitseg.index.context import Context
from bitseg.index.index import Index, Touched
from bitseg.query.leaves.registry import kind_of
from bitseg.records import Batch, Deletion, EventRows, Field, UserRows, Values
from bitseg.segment import parse
from bitseg.values import ValueType

DAY_MS = 86_400_000
NOW_MS = 40 * DAY_MS
USERS = 12
FIELDS = (
    Field(None, "plan", ValueType.STRING),
    Field(None, "age", ValueType.NUMBER),
    *(
        Field(event, name, value_type)
        for event in "AB"
        for name, value_type in (("n", ValueType.NUMBER), ("colour", ValueType.STRING))
    ),
)


def events(source, name, first_day, last_day, count=30):
    """Random events of some days, as in a record."""
    users = [f"u{number}" for number in source.integers(0, USERS, count)]
    times_ms = source.integers(first_day * DAY_MS, last_day * DAY_MS, count)
    colours = Values(ValueType.STRING, None, source.integers(0, 3, count).astype(np.int32), ["red", "green", "blue"])
    some = np.arange(0, count, 2, dtype=np.uint32)
    numbers = Values(ValueType.NUMBER, some, source.integers(0, 9, len(some)).astype(np.float64))
    return EventRows(name, users, times_ms, {"n": numbers, "colour": colours})


def values(source):
    """Values of all users, as in a record."""
    plans = Values(ValueType.STRING, None, source.integers(0, 2, USERS).astype(np.int32), ["free", "gold"])
    ages = Values(ValueType.NUMBER, None, source.integers(18, 40, USERS).astype(np.float64))
    return UserRows([f"u{number}" for number in range(USERS)], np.full(USERS, NOW_MS), {"plan": plans, "age": ages})


def filled():
    """An index whose partitions have sorted rows, their bitmaps, and tails that are not merged yet."""
    source = np.random.default_rng(7)
    index = Index(Calendar("UTC"))

    def apply(*changes, fields=()):
        index.apply(Batch(fields, changes), Touched())

    apply(
        values(source),
        events(source, "A", 38, 40),
        events(source, "B", 39, 40),
        Deletion(["u5"]),
        fields=FIELDS,
    )
    index.change_list("vips", ["u1", "u3", "u5", "nobody"])
    index.prepare()
    apply(values(source))
    for _ in range(2):
        apply(events(source, "A", 38, 40, 12), events(source, "B", 39, 40, 12))
    return index


def answer(index, condition, few):
    """The users in a condition; `few` are looked up one by one."""
    among = index.users.everyone if few else None
    return sorted(kind_of(condition).compile(condition, index, Context(NOW_MS, index.calendar), among)())


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


# An interrupt while a generator is closed is printed, not raised. The query then goes on, and its answer must be right.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("case", "options"), CASES.items(), ids=CASES)
@pytest.mark.slow
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
        # The partitions may now adopt what that reader merged.
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
            assert [fault for check in index.checks() for fault in check()] == []
            right_states.add(state)
    assert step > 30
