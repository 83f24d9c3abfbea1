"""Records and snapshots of earlier formats, converted to those that this version applies.

Up to format 4 of snapshots and 2 of journals, values are journalled untyped and get their type when they are applied. A
record has the version before it, and raises the version by 0 to n.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.columns import Columns
from bitseg.entries import LISTS, SEGMENTS
from bitseg.index import part_shapes
from bitseg.index.lists import require_user_ids
from bitseg.index.schema import SchemaDraft
from bitseg.records import (
    Batch,
    Change,
    Deletion,
    EntriesChanged,
    EntryChange,
    EventsExpired,
    Record,
    TypeDeclared,
)
from bitseg.shard.checks import require_fitting
from bitseg.shard.resolve import Resolver
from bitseg.shard.state import ENTRIES_SHAPE, PRODUCERS_SHAPE, WorkspaceState
from bitseg.storage import frames, shapes
from bitseg.storage.shapes import PartShape
from bitseg.storage.snapshot import Key
from bitseg.strings import StringArray, require_texts
from bitseg.values import Column, SparseValues, ValueType

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
    match parts:
        case [
            list(changes),
            list(blocks),
            bytes(message_ids),
            (None | int()) as oldest_day,
            (None | str()) as producer,
            sequence,
        ] if type(sequence) is int:
            pass
        case _:
            raise ValueError("a batch has other parts")
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
    _apply(state, Batch(schema.take_fields(), resolved, message_ids, producer, sequence))
    expired = False
    if oldest_day is not None and state.index.has_events_before(oldest_day):
        expired = True
        state.apply(EventsExpired(oldest_day))
    return bool(changes) + len(blocks) + (producer is not None) + expired


def _catalogue(state: WorkspaceState, parts: Sequence[Any]) -> int:
    match parts:
        case [dict(segments), dict(lists)] if all(
            payload is None or isinstance(payload, list) for payload in (*segments.values(), *lists.values())
        ):
            pass
        case _:
            raise ValueError("changes of the catalogue have other parts")
    changes = [EntryChange(SEGMENTS.name, name, payload) for name, payload in segments.items()]
    changes += [EntryChange(LISTS.name, name, payload) for name, payload in lists.items()]
    _apply(state, EntriesChanged(changes))
    return len(lists) + bool(segments)


def _segment(state: WorkspaceState, parts: Sequence[Any]) -> int:
    match parts:
        case [str(name), text]:
            return _catalogue(state, [{name: None if text is None else [text, *_NO_DETAILS]}, {}])
    raise ValueError("a segment has other parts")


def _list(state: WorkspaceState, parts: Sequence[Any]) -> int:
    match parts:
        case [str(name), user_ids]:
            return _catalogue(state, [{}, {name: None if user_ids is None else [user_ids, *_NO_DETAILS]}])
    raise ValueError("a list has other parts")


def _type(state: WorkspaceState, parts: Sequence[Any]) -> int:
    match parts:
        case [str(name), str(type_name), (None | str()) as event]:
            _apply(state, TypeDeclared(event, name, ValueType(type_name)))
            return 1
    raise ValueError("a type has other parts")


def _apply(state: WorkspaceState, record: Record) -> None:
    require_fitting(state, record)
    state.apply(record)


_APPLIERS: dict[str, Callable[[WorkspaceState, Sequence[Any]], int]] = {
    "batch": _batch,
    "catalogue": _catalogue,
    "segment": _segment,
    "list": _list,
    "type": _type,
}


def _change(packed: Any) -> Columns | Deletion:
    match frames.unpack(packed) if isinstance(packed, bytes) else None:
        case [None, list(user_ids)]:
            return Deletion(require_user_ids(user_ids))
        case [list(ids), (None | str()) as event, np.ndarray() as times_ms, list(values)]:
            return _columns(_user_ids(ids), event, times_ms, values)
    raise ValueError("a change has other parts")


def _columns(user_ids: StringArray, event: str | None, times_ms: NDArray[Any], values: list[Any]) -> Columns:
    columns = Columns(event, user_ids, times_ms, dict(map(_values, values)), np.arange(len(user_ids)))
    columns.check()
    return columns


def _user_ids(packed: list[Any]) -> StringArray:
    match packed:
        case [bytes(data), np.ndarray() as lengths] if lengths.ndim == 1 and lengths.dtype.kind in "iu":
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.astype(np.int64))])
            if ends[-1] != len(data) or (lengths < 0).any():
                raise ValueError("the user ids have other lengths than they say")
            require_texts(data, ends[1:])
            return StringArray.from_buffer(data, ends)
    return StringArray.of(require_user_ids(packed))


def _values(packed: Any) -> tuple[str, Column | SparseValues]:
    match packed:
        case [str(name), np.ndarray() as rows, list(values)]:
            return name, SparseValues(rows.tolist(), values)
        case [str(name), str(type_name), np.ndarray() as data, list(entries)]:
            value_type = ValueType(type_name)
            if value_type is ValueType.LIST:
                entries = [tuple(entry) if isinstance(entry, list) else entry for entry in entries]
            return name, Column(value_type, data, entries)
    raise ValueError("values have other parts")
