"""An attribute agrees with a dict of last writes, and so do its bitmaps after every update."""

from contextlib import nullcontext

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from bitseg.calendar import Calendar
from bitseg.index import attributes
from bitseg.index.attributes import Attribute
from bitseg.index.context import Context
from bitseg.segment import nodes as n
from bitseg.storage import frames
from bitseg.values import Column, ValueType, empty, encode

CONTEXT = Context(0, Calendar("UTC"))
VALUES = {
    ValueType.STRING: ["US", "CA", "ES", None],
    ValueType.BOOLEAN: [True, False, None],
    ValueType.NUMBER: [1.0, 2.0, None],
}


def equal_to(value):
    literal = (
        n.Boolean(value) if isinstance(value, bool) else n.Number(value) if isinstance(value, float) else n.Text(value)
    )
    return n.Compare(n.Operator.EQUAL, literal)


@st.composite
def writes(draw):
    kind = draw(st.sampled_from(list(VALUES)))
    row = st.tuples(st.integers(0, 9), st.integers(0, 5), st.sampled_from(VALUES[kind]))
    step = st.lists(row, min_size=1, max_size=8) | st.integers(0, 9)
    return kind, draw(st.lists(step, max_size=8)), draw(st.sampled_from([2, 1_024]))


@given(writes())
def test_Attribute_is_a_dict_of_last_writes(case):
    kind, plan, most = case
    kept_limit, attributes.MAX_VALUE_BITMAPS = attributes.MAX_VALUE_BITMAPS, most
    try:
        attribute, model = Attribute("a", kind), {}
        for step in plan:
            if isinstance(step, int):
                attribute.clear(np.array([step], np.uint32))
                model.pop(step, None)
            else:
                users, times, values = zip(*step, strict=True)
                column, _ = encode(values, kind, CONTEXT.calendar)
                attribute.write(np.array(users, np.uint32), np.array(times, np.int64), column)
                for user, time, value in step:
                    if time >= model.get(user, (-1, None))[0]:
                        model[user] = (time, value)
            context = Context(0, CONTEXT.calendar)
            for value in VALUES[kind][:-1]:
                holders = {user for user, (_, last) in model.items() if last == value}
                assert set(attribute.members(equal_to(value), context)) == holders
                assert attribute.estimate(equal_to(value), context) >= len(holders)
            assert set(attribute.members(n.IsSet(), context)) == {
                user for user, (_, v) in model.items() if v is not None
            }
            assert all(attribute.value(user) == model.get(user, (0, None))[1] for user in range(12))
        again = restored(attribute)
        assert all(again.value(user) == model.get(user, (0, None))[1] for user in range(12))
        assert again.faults(BitMap(range(12))) == []
    finally:
        attributes.MAX_VALUE_BITMAPS = kept_limit


def restored(attribute):
    """The attribute restored from a snapshot, during which it went on changing."""
    captured = attribute.capture(12, nullcontext())
    changed = np.array([0, 11, 3], np.uint32)
    attribute.write(changed, np.array([99] * 3), Column(attribute.type, empty(attribute.type, 3)))
    again = Attribute(attribute.name, attribute.type)
    for part in captured.parts(captured.find_unused()):
        state = frames.unpack(frames.pack(part.state()))
        if part.key[0] == "entries":
            again.dictionary.restore(state, part.revision, () if attribute.type is ValueType.LIST else "")
        else:
            again.restore(part.key[2], state, part.revision, 12)
    attribute.release()
    again.restored()
    return again


def test_Bitmap_of_members_does_not_change_with_later_writes():
    attribute = Attribute("a", ValueType.STRING)

    def write(user, time, value):
        column, _ = encode([value], ValueType.STRING, CONTEXT.calendar)
        attribute.write(np.array([user], np.uint32), np.array([time], np.int64), column)

    write(1, 0, "US")
    before = attribute.members(equal_to("US"), CONTEXT)
    is_set = attribute.members(n.IsSet(), CONTEXT)
    write(2, 0, "US")
    write(1, 1, "CA")
    assert set(before) == {1}
    assert set(is_set) == {1}
