"""Every kind of record, snapshot section and named entry is in every registry, and an unknown one raises."""

import re

import numpy as np
import pytest

from bitseg import records
from bitseg.entries import ENTRY_KINDS, Details, entry_kind, leaves
from bitseg.operations import Identify, Track
from bitseg.records import Batch, EntriesChanged, EntryChange, EventsExpired, Field, TypeDeclared, UserRows, Values
from bitseg.reports.registry import REPORTS, report_of
from bitseg.segment.nodes import InSegment
from bitseg.shard import state as state_module
from bitseg.shard.state import WorkspaceState
from bitseg.storage import frames
from bitseg.storage.record_codec import RECORD_KINDS, pack_record, unpack_record
from bitseg.strings import StringArray
from bitseg.values import ValueType
from tests.conftest import NOW_MS

PLAN = Values(ValueType.STRING, None, np.array([0], np.int32), ["gold"])
EXAMPLES = {
    Batch: Batch(
        [Field(None, "plan", ValueType.STRING), Field(None, "nothing", None)],
        [UserRows(StringArray.of(["u"]), np.array([5], np.int64), {"plan": PLAN})],
        bytes(16),
        "shop",
        1,
    ),
    EntriesChanged: EntriesChanged([EntryChange("list", "l", [["u"], "", {}, 0, 0])]),
    TypeDeclared: TypeDeclared("Paid", "amount", ValueType.NUMBER),
    EventsExpired: EventsExpired(19_000),
}


def test_Every_type_of_record_is_packed_applied_and_read_again(engine):
    assert set(records.RECORD_TYPES) == set(EXAMPLES) == {kind.type for kind in RECORD_KINDS}
    assert set(state_module._APPLIERS) == set(EXAMPLES)
    for number, record in enumerate(EXAMPLES.values(), 1):
        version, again = unpack_record(frames.unpack(pack_record(number, record)))
        assert (version, type(again)) == (number, type(record))
        assert pack_record(number, again) == pack_record(number, record)
        assert engine._shard.write(again).version == number
    assert engine.count('plan = "gold" and in list "l"').count == 1


def test_Unknown_type_of_record_raises_everywhere(engine):
    with pytest.raises(TypeError, match="str"):
        pack_record(1, "record")
    with pytest.raises(TypeError, match="str"):
        engine._shard.state.apply("record")
    with pytest.raises(ValueError, match="unknown kind of record 'unheard of'"):
        unpack_record(["unheard of", 1])


@pytest.mark.parametrize("kind", RECORD_KINDS, ids=lambda kind: kind.name)
def test_Record_with_unexpected_parts_is_refused(kind):
    _, _, *parts = frames.unpack(pack_record(1, EXAMPLES[kind.type]))
    for others in ([], parts[:-1], [*parts, None], *([*parts[:at], 0.5, *parts[at + 1 :]] for at in range(len(parts)))):
        with pytest.raises(ValueError, match=r"\w"):
            unpack_record([kind.name, 1, *others])


def test_Every_section_of_a_snapshot_is_restored(engine):
    operations = [
        operation
        for user in ("u", "v")
        for operation in (
            Identify(user, {"plan": "gold", "nothing": None}, NOW_MS),
            Track(user, "Paid", {"color": "red"}, NOW_MS, f"message of {user}"),
        )
    ]
    engine.ingest_all(operations, (), producer="shop", sequence=1)
    engine.catalog.save_list("l", ["u"])
    engine.catalog.save_segment("s", 'plan = "gold"')
    shard = engine._shard
    with shard.lock:
        captured = shard.state.capture(shard.lock)
    state = WorkspaceState(engine.calendar)
    sections = set()
    for part in captured.parts():
        sections.add(part.key[0])
        # As read from a file.
        state.restore(part.key, frames.unpack(frames.pack(part.state())), part.revision)
    state.index.version = captured.version
    state.restored()
    with shard.lock:
        shard.state.release(captured, is_stored=False)
    assert sections == set(state.sections)
    assert (state.version, len(state.index.users.everyone), set(state.catalog.lists)) == (engine.version, 2, {"l"})
    assert state.producers.last("shop") == 1
    assert not [fault for check in state.index.checks() for fault in check()]


@pytest.mark.parametrize("key", [(), ("unheard of",), (7,), (None,), ("users",), ("users", "0"), ("list", 1)], ids=str)
def test_Unknown_part_of_a_snapshot_is_refused(engine, key):
    with pytest.raises(ValueError, match="unknown part"):
        engine._shard.state.restore(key, {}, 0)


def test_Every_kind_of_entry_is_packed_renamed_and_read_again(engine):
    engine.catalog.save_list("members", ["u"])
    engine.catalog.save_segment("other", "everyone")
    engine.catalog.save_segment("example", 'in segment "other" and in list "members"', labels={"a": "b"})
    catalog = engine._shard.state.catalog
    entries = {"segment": catalog.segments["example"], "list": catalog.lists["members"]}
    assert set(entries) == set(ENTRY_KINDS) == set(catalog.collections)
    for name, kind in ENTRY_KINDS.items():
        entry = entries[name]
        again = kind.unpack(entry.name, frames.unpack(frames.pack(kind.pack(entry))))
        assert (again.name, again.details) == (entry.name, entry.details)
        assert kind.pack(again) == kind.pack(entry)
        moved = kind.replaced(entry, "moved", Details("another"))
        assert (moved.name, moved.details.description, kind.conditions(moved)) == (
            "moved",
            "another",
            kind.conditions(entry),
        )
        for condition in kind.conditions(kind.renamed(entry, (InSegment, "other", "new"))):
            assert InSegment("new") in leaves(condition)
            assert InSegment("other") not in leaves(condition)
        with pytest.raises(ValueError, match=r"\w"):
            kind.unpack("x", ["text", 7])


def test_Unknown_kind_of_entry_raises(engine):
    with pytest.raises(ValueError, match="entries of kind 'campaign' are not known"):
        entry_kind("campaign")
    with pytest.raises(ValueError, match="entries of kind 'campaign' are not known"):
        engine._shard.state.catalog.change([EntryChange("campaign", "c", ["x"])])


def test_Every_report_can_be_named_and_an_unknown_one_raises():
    for name, report in REPORTS.items():
        assert report_of(name) is report
        assert re.fullmatch("[a-z_]+", name)
    with pytest.raises(TypeError, match="unknown kind of report"):
        report_of("unheard of")
