"""Whether a record that was read fits the state that it is applied to.

What is journalled always fits. A record that does not was damaged, or written on purpose, and is told as such before
anything of it is applied.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS
from bitseg.entries import SEGMENTS, entry_kind, leaves
from bitseg.index.deduplication import split
from bitseg.index.lists import require_user_ids
from bitseg.names import MAX_ID_BYTES, MAX_NAME_BYTES, malformed_text
from bitseg.records import Batch, Deletion, EntriesChanged, EventsExpired, Field, Record, TypeDeclared
from bitseg.segment.nodes import Condition, InList, InSegment
from bitseg.shard.state import WorkspaceState
from bitseg.strings import StringArray
from bitseg.values import ValueType

# The types of attributes (event None) and properties that a batch begins.
_Begun = dict[tuple[str | None, str], ValueType | None]


def require_fitting(state: WorkspaceState, record: Record) -> None:
    """Raise ValueError for a record that cannot be applied."""
    _CHECKS[type(record)](state, record)


def _check_batch(state: WorkspaceState, batch: Batch) -> None:
    begun: _Begun = {}
    for field in batch.fields:
        _require_name(field)
        known = _type(state, begun, field.event, field.name)
        if known is not None and field.type is not known:
            raise ValueError(f"the type of {field.name!r} changes")
        begun[field.event, field.name] = field.type
    for change in batch.changes:
        if StringArray.of(change.user_ids).lengths.max(initial=0) > MAX_ID_BYTES:
            raise ValueError("a user id is too long")
        if isinstance(change, Deletion):
            continue
        times_ms = change.timestamps_ms
        if len(times_ms) and not FIRST_INSTANT_MS <= times_ms.min() <= times_ms.max() <= LAST_INSTANT_MS:
            raise ValueError("a timestamp is outside the years that can be kept")
        event = getattr(change, "event", None)
        if event is not None:
            _require_text(event, "event name")
        for name, values in change.values.items():
            known = _type(state, begun, event, name)
            if values.type is None:
                fits = event is None and ((None, name) in begun or state.index.has_attribute(name))
            else:
                fits = values.type is known
            if not fits:
                raise ValueError(f"the values of {name!r} are not of its type")
    split(batch.message_ids)
    if batch.producer is not None:
        _require_text(batch.producer, "producer name")
        if batch.sequence < 1:
            raise ValueError(f"{batch.sequence} is not the number of a batch")


def _type(state: WorkspaceState, begun: _Begun, event: str | None, name: str) -> ValueType | None:
    index = state.index
    known = index.attribute_type(name) if event is None else index.property_type(event, name)
    return known or begun.get((event, name))


def _check_entries(state: WorkspaceState, record: EntriesChanged) -> None:
    segments, lists = dict(state.catalog), set(state.catalog.lists)
    for change in record.entries:
        kind = entry_kind(change.kind)
        _require_text(change.name, f"{kind.name} name")
        names: Container[str] = segments if kind is SEGMENTS else lists
        if change.payload is None:
            if change.name not in names:
                raise ValueError(f"there is no {kind.name} {change.name!r}")
            if kind is SEGMENTS:
                del segments[change.name]
            else:
                lists.remove(change.name)
            continue
        entry = kind.unpack(change.name, change.payload)
        if kind is SEGMENTS:
            segments[change.name] = entry.definition
            continue
        contents = change.payload[0]
        if not isinstance(contents, str):
            require_user_ids(contents)
        elif contents not in state.index.lists:
            raise ValueError(f"there is no list {contents!r}")
        lists.add(change.name)
    gone: set[Condition] = {InSegment(name) for name in state.catalog.keys() - segments}
    gone |= {InList(name) for name in state.catalog.lists.keys() - lists}
    for name, condition in segments.items() if gone else ():
        if not gone.isdisjoint(leaves(condition)):
            raise ValueError(f"the segment {name!r} refers to what is deleted")
    changed = {change.name: segments.get(change.name) for change in record.entries if change.kind == SEGMENTS.name}
    state.catalog.require_references(changed, segments, lists)


def _check_type(state: WorkspaceState, record: TypeDeclared) -> None:
    _require_name(Field(record.event, record.name, record.type))
    known = _type(state, {}, record.event, record.name)
    if known is not None and known is not record.type:
        raise ValueError(f"the type of {record.name!r} changes")


def _require_name(field: Field) -> None:
    if field.event is not None:
        _require_text(field.event, "event name")
    _require_text(field.name, "attribute name" if field.event is None else "property name")


def _require_text(text: str, what: str) -> None:
    reason = malformed_text(text, what, MAX_NAME_BYTES)
    if reason is not None:
        raise ValueError(reason)


def _check_expiry(state: WorkspaceState, record: EventsExpired) -> None:
    """Any day will do."""


_CHECKS: Mapping[type[Record], Callable[[WorkspaceState, Any], None]] = {
    Batch: _check_batch,
    EntriesChanged: _check_entries,
    TypeDeclared: _check_type,
    EventsExpired: _check_expiry,
}
