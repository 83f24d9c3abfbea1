"""The bytes of records in the journal.

A record is msgpack of [kind, version, …]. `version` is that of the workspace after the record. The rest is, by kind:

| kind    | what follows                                                              |
|---------|---------------------------------------------------------------------------|
| batch   | fields, changes, message ids, producer or nil, sequence                    |
| entries | changed entries, each [kind, name, payload or nil if deleted]             |
| type    | event or nil, name, type                                                  |
| expired | the first day whose events are retained                                   |

A field is [event or nil, name, type or nil]. A change is bytes: msgpack of [user ids] for a deletion, of
[user ids, times, values, nil] for rows of users, and of [user ids, times, values, event] for events. User ids are
[bytes, lengths].
Each of the values is [name, type or nil, rows or nil, array, entries].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitseg.columns import misfit
from bitseg.records import (
    Batch,
    Change,
    Deletion,
    EntriesChanged,
    EntryChange,
    EventRows,
    EventsExpired,
    Field,
    Record,
    TypeDeclared,
    UserRows,
    Values,
)
from bitseg.storage import frames
from bitseg.strings import PADDING_BYTES, StringArray, require_texts
from bitseg.values import Column, ValueType, empty

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class RecordKind:
    """The codec of one type of record: `pack` returns its `parts`, and `unpack` takes them as arguments."""

    name: str
    type: type[Record]
    parts: int
    pack: Callable[[Any], list[Any]]
    unpack: Callable[..., Record]


def pack_record(version: int, record: Record, packed_changes: Sequence[bytes] | None = None) -> bytes:
    """The payload of a record; TypeError for an unknown type of record.

    `packed_changes` are the changes of a batch if `pack_change` was called before.
    """
    kind = _BY_TYPE.get(type(record))
    if kind is None:
        raise TypeError(f"no record kind for {type(record).__name__}")
    if packed_changes is not None and isinstance(record, Batch):
        return frames.pack([kind.name, version, *_pack_batch(record, packed_changes)])
    return frames.pack([kind.name, version, *kind.pack(record)])


def unpack_record(value: Any) -> tuple[int, Record]:
    """The version and the record of an unpacked payload; ValueError if it is not a valid record."""
    if not isinstance(value, list) or len(value) < 2 or type(value[1]) is not int:
        raise ValueError("not a record")
    kind = _BY_NAME.get(value[0]) if isinstance(value[0], str) else None
    if kind is None:
        raise ValueError(f"unknown kind of record {value[0]!r}")
    if len(value) - 2 != kind.parts:
        raise ValueError(f"a record of kind {kind.name!r} has {len(value) - 2} parts")
    return value[1], kind.unpack(*value[2:])


def pack_change(change: Change) -> bytes:
    """The bytes of one change of a batch."""
    texts = StringArray.of(change.user_ids).compact()
    user_ids = [texts.data[:-PADDING_BYTES].tobytes(), texts.lengths.astype(np.uint16)]
    if isinstance(change, Deletion):
        return frames.pack([user_ids])
    values = [
        [name, values.type and values.type.value, values.rows, np.ascontiguousarray(values.data), list(values.entries)]
        for name, values in change.values.items()
    ]
    event = change.event if isinstance(change, EventRows) else None
    return frames.pack([user_ids, np.ascontiguousarray(change.timestamps_ms, np.int64), values, event])


def unpack_change(packed: bytes) -> Change:
    """The change in the bytes of `pack_change`; ValueError for any other bytes."""
    parts = frames.unpack(_of(bytes, packed, "a change"))
    match parts:
        case [ids]:
            return Deletion(_user_ids(ids))
        case [ids, np.ndarray() as times_ms, list(values), event] if times_ms.dtype == np.int64:
            user_ids = _user_ids(ids)
            if times_ms.shape != (len(user_ids),):
                raise ValueError("the numbers of user ids and of times differ")
            typed = dict(_values(packed_values, len(user_ids)) for packed_values in values)
            if event is None:
                return UserRows(user_ids, times_ms, typed)
            return EventRows(_of(str, event, "an event name"), user_ids, times_ms, typed)
    raise ValueError("a change has unexpected parts")


def _user_ids(packed: Any) -> StringArray:
    match packed:
        case [bytes(data), np.ndarray() as lengths] if lengths.ndim == 1 and lengths.dtype == np.uint16:
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.astype(np.int64))])
            if ends[-1] != len(data):
                raise ValueError("the user ids have other lengths than they say")
            if len(lengths) and lengths.min() == 0:
                raise ValueError("a user id is empty")
            require_texts(data, ends[1:])
            return StringArray.from_buffer(data, ends)
    raise ValueError("user ids are not bytes and lengths")


def _values(packed: Any, total: int) -> tuple[str, Values]:
    match packed:
        case [str(name), type_name, rows, np.ndarray() as data, list(entries)]:
            pass
        case _:
            raise ValueError("values have unexpected parts")
    value_type = None if type_name is None else ValueType(type_name)
    if rows is not None and not _are_rows(rows, total):
        raise ValueError(f"the rows of {name!r} are not rows of the block")
    count = total if rows is None else len(rows)
    if value_type is None:
        return name, Values(None, rows, np.empty(0))
    like = empty(value_type, 0)
    if data.dtype != like.dtype or data.shape != (count, *like.shape[1:]):
        raise ValueError(f"the values of {name!r} have the wrong length or type")
    if value_type is ValueType.LIST:
        entries = [tuple(_of(list, entry, "an entry")) for entry in entries]
    reason = misfit(Column(value_type, data, entries), count)
    if reason is not None:
        raise ValueError(f"the column of {name!r} {reason}")
    return name, Values(value_type, rows, data, entries)


def _are_rows(rows: Any, total: int) -> bool:
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint32 or rows.ndim != 1:
        return False
    ascending: NDArray[np.bool_] = rows[1:] > rows[:-1]
    return bool(ascending.all()) and (not len(rows) or int(rows[-1]) < total)


def _pack_batch(batch: Batch, packed_changes: Sequence[bytes]) -> list[Any]:
    fields = [[field.event, field.name, field.type and field.type.value] for field in batch.fields]
    return [fields, list(packed_changes), batch.message_ids, batch.producer, batch.sequence]


def _unpack_batch(fields: Any, changes: Any, message_ids: Any, producer: Any, sequence: Any) -> Batch:
    return Batch(
        [_field(field) for field in _of(list, fields, "fields")],
        [unpack_change(change) for change in _of(list, changes, "changes")],
        _of(bytes, message_ids, "message ids"),
        None if producer is None else _of(str, producer, "a producer"),
        _of(int, sequence, "a sequence"),
    )


def _field(packed: Any) -> Field:
    match packed:
        case [None | str() as event, str(name), None | str() as type_name] if event is None or type_name is not None:
            return Field(event, name, None if type_name is None else ValueType(type_name))
    raise ValueError("a field has unexpected parts")


def _unpack_entries(packed: Any) -> EntriesChanged:
    entries: list[EntryChange] = []
    for entry in _of(list, packed, "entries"):
        match entry:
            case [str(kind), str(name), None | list() as payload]:
                entries.append(EntryChange(kind, name, payload))
            case _:
                raise ValueError("an entry has unexpected parts")
    return EntriesChanged(entries)


def _unpack_type(event: Any, name: Any, type_name: Any) -> TypeDeclared:
    match event, name, type_name:
        case (None | str(), str(), str()):
            return TypeDeclared(event, name, ValueType(type_name))
    raise ValueError("a type has unexpected parts")


RECORD_KINDS = (
    RecordKind("batch", Batch, 5, lambda batch: _pack_batch(batch, [*map(pack_change, batch.changes)]), _unpack_batch),
    RecordKind(
        "entries",
        EntriesChanged,
        1,
        lambda record: [[[entry.kind, entry.name, entry.payload] for entry in record.entries]],
        _unpack_entries,
    ),
    RecordKind("type", TypeDeclared, 3, lambda record: [record.event, record.name, record.type.value], _unpack_type),
    RecordKind(
        "expired",
        EventsExpired,
        1,
        lambda record: [record.oldest_day],
        lambda oldest_day: EventsExpired(_of(int, oldest_day, "a day")),
    ),
)
_BY_TYPE = {kind.type: kind for kind in RECORD_KINDS}
_BY_NAME = {kind.name: kind for kind in RECORD_KINDS}


def _of(kind: type[Kind], value: Any, what: str) -> Kind:
    if type(value) is not kind:
        raise ValueError(f"{what} of type {type(value).__name__}")
    return value
