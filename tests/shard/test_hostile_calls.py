"""Whatever a caller gives, the workspace takes it as it will be recovered, or refuses it before the journal."""

import enum
import shutil

import numpy as np
import pytest

from bitseg import Columns, Engine, Identify, Page, Track
from bitseg.clock import FixedClock
from bitseg.errors import InvalidArgumentError
from bitseg.values import Column, SparseValues, ValueType
from tests.conftest import NOW_MS


class Plan(enum.StrEnum):
    GOLD = "gold"


class Level(enum.IntEnum):
    THREE = 3


class AnyCase(str):
    """Text that is equal to others."""

    __slots__ = ()

    def __eq__(self, other):
        return self.lower() == str(other).lower()

    def __hash__(self):
        return hash(self.lower())


def columns(**changes):
    parts = {
        "event": "Paid",
        "user_ids": ["u", "v", "w"],
        "timestamps_ms": np.full(3, NOW_MS),
        "values": {},
        "rows": np.arange(3),
    }
    return Columns(**{**parts, **changes})


def recovered(path):
    """What another process finds when this one is killed now."""
    copy = path.with_name("crashed")
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("lock"))
    return Engine.open(copy, clock=FixedClock(NOW_MS), create=False)


@pytest.mark.parametrize("sequence", [True, 1.0, np.int64(1), "1", None], ids=repr)
def test_Sequence_that_is_no_integer_is_refused(tmp_path, sequence):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        with pytest.raises(InvalidArgumentError, match="not a whole number"):
            engine.ingest_all([Track("u", "Paid", {}, NOW_MS)], (), producer="shop", sequence=sequence)
        assert engine.version == 0
        engine.ingest_all([Track("u", "Paid", {}, NOW_MS)], (), producer="shop", sequence=1)
        with recovered(tmp_path / "a") as again:
            assert again.last_sequence("shop") == 1


@pytest.mark.parametrize("properties", [None, 7, "text", ["a"]], ids=repr)
def test_Page_without_a_mapping_is_refused_and_the_rest_stands(engine, properties):
    result = engine.ingest([Track("u", "E", {}, NOW_MS), Page("u", "Home", properties, NOW_MS)])
    (rejection,) = result.rejections
    assert (rejection.row, rejection.is_whole_row) == (1, True)
    assert "not a mapping" in rejection.reason
    assert engine.count('did "E"').count == 1


@pytest.mark.parametrize("message_id", [0, b"", [], False], ids=repr)
def test_Message_id_that_is_empty_but_no_text_is_refused_wherever_it_stands(engine, message_id):
    track = Track("u", "E", {}, NOW_MS)
    result = engine.ingest([track._replace(message_id=message_id), track, track._replace(message_id=message_id)])
    assert [rejection.row for rejection in result.rejections] == [0, 2]


def test_Values_of_other_classes_are_taken_as_what_they_derive_from(tmp_path):
    sparse = SparseValues([0, 1], [AnyCase("Gold"), AnyCase("GOLD")])
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        engine.ingest(
            [
                Identify("a", {"plan": Plan.GOLD, "level": Level.THREE, "names": [AnyCase("Ada")]}, NOW_MS),
                Identify("b", {"plan": np.str_("gold"), "level": np.float32(3), "names": ["ADA"]}, NOW_MS),
            ]
        )
        engine.ingest_columns(columns(event=None, values={"other": sparse}))
        with recovered(tmp_path / "a") as again:
            for each in (engine, again):
                assert {type(value) for value in each.user("a").attributes.values()} == {str, float, list}
                assert each.count('plan = "gold" and level = 3').count == 2
                assert each.count('names has "Ada"').count == 1
                assert each.count('other = "Gold"').count == 1


def test_Number_that_numpy_alone_has_is_refused(engine):
    (rejection,) = engine.ingest([Identify("a", {"n": np.longdouble(1)}, NOW_MS)]).rejections
    assert "a value of type longdouble cannot be stored" in rejection.reason


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8, np.uint64, ">i8"])
@pytest.mark.parametrize("event", ["Paid", None])
def test_Times_in_integers_of_any_width_are_taken(tmp_path, kind, event):
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS), default_segments=False) as engine:
        values = {"n": SparseValues([0], [1])}
        engine.ingest_columns(columns(event=event, timestamps_ms=np.array([1, 5, 100]).astype(kind), values=values))
        with recovered(tmp_path / "a") as again:
            assert again.user("u") == engine.user("u")
            assert again.verify() == engine.verify() == []


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (columns(values={"n": SparseValues(np.array([5, 0], np.uint64), [1, 2])}), "ascending"),
        (columns(values={"n": SparseValues(np.array([200, 0], np.uint8), [1, 2])}), "ascending"),
        (columns(values={"n": SparseValues(np.array([[0], [1]]), [1, 2])}), "ascending"),
        (columns(values={"n": SparseValues({0, 1}, [1, 2])}), "not a sequence"),
        (columns(values={"n": SparseValues([0], None)}), "not a sequence"),
        (columns(values={"n": Column(ValueType.NUMBER, np.array(["1e400", 1, 2], np.longdouble))}), "not finite"),
        (columns(values={"n": Column(ValueType.NUMBER, np.array([-(2**63), 1, 2]))}), "2\\^53"),
        (columns(values={"s": Column(ValueType.STRING, np.zeros(3, np.int32), None)}), "not a sequence"),
        (columns(values={"s": Column(ValueType.STRING, np.zeros(3, np.int32), {"a"})}), "not a sequence"),
        (columns(values=None), "not a mapping"),
        (columns(user_ids=None), "not a sequence"),
        (columns(user_ids={"u", "v", "w"}), "not a sequence"),
        (None, "not Columns"),
        ("Paid", "not Columns"),
    ],
)
def test_Columns_of_other_classes_are_refused_before_anything_changes(engine, block, reason):
    with pytest.raises(InvalidArgumentError, match=reason):
        engine.ingest_all([Track("w", "Paid", {}, NOW_MS)], [columns(), block])
    assert (engine.version, engine.user_count) == (0, 0)
