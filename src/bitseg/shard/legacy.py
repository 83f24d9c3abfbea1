"""Records and snapshots of earlier formats, converted to those that this version applies.

Up to format 4 of snapshots and 2 of journals, values are journalled untyped and get their type when they are applied. A
record has the version before it, and raises the version by 0 to n.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bitseg.columns import Columns
from bitseg.entries import LISTS, SEGMENTS
from bitseg.index import part_shapes
from bitseg.index.schema import SchemaDraft
from bitseg.records import Batch, Change, Deletion, EntriesChanged, EntryChange, EventsExpired, TypeDeclared
from bitseg.shard.resolve import Resolver
from bitseg.shard.state import ENTRIES_SHAPE, PRODUCERS_SHAPE, WorkspaceState
from bitseg.storage import frames, shapes
from bitseg.storage.shapes import PartShape
from bitseg.storage.snapshot import Key
from bitseg.strings import StringArray
from bitseg.values import DICTIONARY_TYPES, Column, SparseValues, ValueType, empty

# The details of segments and lists in formats without them.
_NO_DETAILS: Sequence[Any] = ("", {}, 0, 0)

_SHAPES: Mapping[str, PartShape] = {
    "index": PartShape(
        (),
        shapes.fields(
            version=shapes.integer,
            attributes=part_shapes.TYPES,
            events=part_shapes.EVENTS,
            producers=PRODUCERS_SHAPE.value,
        ),
    ),
    "segments": PartShape((), shapes.by_name(shapes.text)),
    "catalogue": PartShape((), shapes.fields(segments=ENTRIES_SHAPE, lists=ENTRIES_SHAPE)),
}


def restore(state: WorkspaceState, key: Key, value: Any, revision: int) -> None:
    """Restore a part of a snapshot of format 3 or 4; ValueError for unexpected contents."""
    shape = _SHAPES.get(key[0]) if key and isinstance(key[0], str) else None
    if shape is not None:
        shape.check(key, value)
    match key:
        case ("index",):
            state.index.version = value["version"]
            schema = {"attributes": value["attributes"], "events": value["events"]}
            state.restore(("schema",), schema, revision)
            state.producers.restore(value["producers"])
        case ("segments",):
            segments = {name: [text, *_NO_DETAILS] for name, text in value.items()}
            state.catalog.segments.restore(segments)
        case ("catalogue",):
            state.catalog.segments.restore(value["segments"])
            state.catalog.lists.restore({name: [name, *details] for name, details in value["lists"].items()})
        case _:
            state.restore(key, value, revision)


def complete(state: WorkspaceState) -> None:
    """Create what these snapshots lack, after the last part: entries of lists without details."""
    missing = [name for name in state.index.lists if name not in state.catalog.lists]
    if missing:
        entries = {name: LISTS.unpack(name, [name, *_NO_DETAILS]) for name in missing}
        state.catalog.lists.change(entries)


def replay(state: WorkspaceState, value: Any) -> None:
    """Apply a record of journal format 1 or 2; ValueError if it is invalid or does not follow the last one."""
    if not isinstance(value, list) or len(value) < 2 or not isinstance(value[0], str):
        raise ValueError("not a record")
    kind, before, *parts = value
    if before != state.version:
        raise ValueError(f"it follows version {before!r}, not {state.version}")
    apply = _APPLIERS.get(kind)
    if apply is None:
        raise ValueError(f"unknown kind of record {kind!r}")
    state.index.version = before + apply(state, parts)


def _batch(state: WorkspaceState, parts: Sequence[Any]) -> int:
    changes, blocks, message_ids, oldest_day, producer, sequence = parts
    schema = SchemaDraft(state.index)
    resolver = Resolver(schema, state.index.calendar)
    resolved: list[Change] = []
    for packed in (*changes, *blocks):
        change = _change(packed)
        if isinstance(change, Columns):
            rows, _ = resolver.resolve(change)
            resolved += [] if rows is None else [rows]
        else:
            resolved.append(change)
    state.apply(Batch(schema.take_fields(), resolved, message_ids, producer, sequence))
    expired = oldest_day is not None and state.index.has_events_before(oldest_day)
    if expired:
        state.apply(EventsExpired(oldest_day))
    return bool(changes) + len(blocks) + (producer is not None) + expired


def _catalogue(state: WorkspaceState, parts: Sequence[Any]) -> int:
    segments, lists = parts
    changes = [EntryChange(SEGMENTS.name, name, payload) for name, payload in segments.items()]
    changes += [EntryChange(LISTS.name, name, payload) for name, payload in lists.items()]
    state.apply(EntriesChanged(changes))
    return len(lists) + bool(segments)


def _segment(state: WorkspaceState, parts: Sequence[Any]) -> int:
    name, text = parts
    return _catalogue(state, [{name: None if text is None else [text, *_NO_DETAILS]}, {}])


def _list(state: WorkspaceState, parts: Sequence[Any]) -> int:
    name, user_ids = parts
    return _catalogue(state, [{}, {name: None if user_ids is None else [user_ids, *_NO_DETAILS]}])


def _type(state: WorkspaceState, parts: Sequence[Any]) -> int:
    name, value_type, event = parts
    state.apply(TypeDeclared(event, name, ValueType(value_type)))
    return 1


_APPLIERS: dict[str, Callable[[WorkspaceState, Sequence[Any]], int]] = {
    "batch": _batch,
    "catalogue": _catalogue,
    "segment": _segment,
    "list": _list,
    "type": _type,
}


def _change(packed: bytes) -> Columns | Deletion:
    user_ids, *parts = frames.unpack(packed)
    if user_ids is None:
        return Deletion(parts[0])
    event, times_ms, values = parts
    if user_ids and isinstance(user_ids[0], bytes):
        data, lengths = user_ids
        ends = np.cumsum(lengths.astype(np.int64))
        if (ends[-1] if len(ends) else 0) != len(data):
            raise ValueError("the lengths of the user ids do not add up")
        user_ids = StringArray.from_buffer(data, np.concatenate([np.zeros(1, np.int64), ends]))
    columns: dict[str, Column | SparseValues] = {}
    for name, *column in values:
        if len(column) == 2:
            columns[name] = SparseValues(column[0].tolist(), column[1])
            continue
        value_type, data, entries = ValueType(column[0]), column[1], column[2]
        if value_type is ValueType.LIST:
            entries = [tuple(entry) for entry in entries]
        if len(data) != len(times_ms) or data.dtype != empty(value_type, 0).dtype:
            raise ValueError(f"the values of {name!r} have the wrong length or type")
        if value_type in DICTIONARY_TYPES and len(data) and data.max() >= len(entries):
            raise ValueError(f"the values of {name!r} point beyond the dictionary")
        columns[name] = Column(value_type, data, entries)
    if len(user_ids) != len(times_ms):
        raise ValueError("the numbers of user ids and of times differ")
    return Columns(event, StringArray.of(user_ids), times_ms, columns, np.arange(len(times_ms)))
