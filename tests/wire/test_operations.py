"""Row operations to protobuf and back."""

from datetime import UTC, date, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitseg.columns import Rejection
from bitseg.operations import Delete, Identify, Page, Track
from bitseg.wire.operations import from_operation, to_operation, to_operations
from tests.conftest import NOW_MS

texts = st.text(st.characters(codec="utf-8"), max_size=8)
names = texts.filter(bool)
scalars = st.none() | st.booleans() | texts | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
values = st.dictionaries(names, scalars | st.lists(texts, max_size=3), max_size=4)
times = st.integers(0, 4_000_000_000_000)
ids = st.none() | names
operations = st.one_of(
    st.builds(Identify, names, values, times, ids),
    st.builds(Track, names, names, values, times, ids),
    st.builds(Page, names, ids, values, times, ids),
    st.builds(Delete, names, ids),
)


@given(st.lists(operations, max_size=5))
def test_Operations_survive_the_round_trip(given_operations):
    messages, refused = to_operations(given_operations)
    assert refused == []
    assert [from_operation(each, 0) for each in messages] == given_operations


def test_Operation_without_a_time_gets_that_of_the_server():
    for operation in (Identify("u", {}, 5), Track("u", "E", {}, 5), Page("u", "Home", {}, 5)):
        message = to_operation(operation)
        message_body = getattr(message, message.WhichOneof("operation"))
        message_body.ClearField("timestamp")
        assert from_operation(message, NOW_MS) == operation._replace(timestamp_ms=NOW_MS)


def test_Values_of_numpy_and_datetimes_are_sent_as_plain_ones():
    traits = {
        "a": np.int64(3),
        "b": np.float32(0.5),
        "c": np.bool_(True),
        "d": np.str_("x"),
        "e": datetime(2024, 1, 31, 10, tzinfo=UTC),
        "f": date(2024, 1, 31),
        "g": {"lat": np.float64(1.5), "lon": 2},
        "h": np.datetime64("2024-01-31T10:00:00", "ms"),
    }
    ((message,), refused) = to_operations([Identify("u", traits, NOW_MS)])
    assert refused == []
    assert from_operation(message, 0).traits == {
        "a": 3,
        "b": 0.5,
        "c": True,
        "d": "x",
        "e": "2024-01-31T10:00:00+00:00",
        "f": "2024-01-31",
        "g": {"lat": 1.5, "lon": 2},
        "h": "2024-01-31T10:00:00",
    }


def test_Unsupported_value_is_rejected_by_row_and_name():
    operations = [
        Identify("u", {"good": 1, "bad": {1}}, NOW_MS),
        Track("u", "E", {"large": 2**53 + 1, "exact": 2**53}, NOW_MS),
    ]
    (first, second), refused = to_operations(operations)
    assert from_operation(first, 0).traits == {"good": 1}
    assert from_operation(second, 0).properties == {"exact": 2**53}
    assert refused == [
        Rejection(0, "a value of type set cannot be stored", "bad"),
        Rejection(1, "an integer beyond 2^53 cannot be stored exactly; send it as a string", "large"),
    ]


def test_Unsupported_row_is_rejected_and_keeps_its_place():
    messages, refused = to_operations([Identify("u", {}, NOW_MS), Identify(b"v", {}, NOW_MS), Delete("w")])
    assert [each.WhichOneof("operation") for each in messages] == ["identify", None, "delete_user"]
    assert refused == [Rejection(1, "the user id b'v' is of type bytes, not text")]
