"""Records of the journal: what was done to a workspace, in a form that does the same when it is done again.

A record is msgpack of [kind, version, …]: the version of the workspace before it was done, and

| kind      | what follows                                                                                     |
|-----------|--------------------------------------------------------------------------------------------------|
| batch     | changes of row operations, blocks of columns, message ids, oldest day or nil, producer, sequence |
| catalog | segments by name: [text, details…]; lists by name: [user ids or name, details…]                  |
| type      | name, type, event or nil                                                                         |
| segment   | name, text or nil where it was deleted; read, but not written                                    |
| list      | name, user ids or nil where it was deleted; read, but not written                                |

Details are description, labels, and the instants when it was created and updated. A segment or list that was deleted is
nil; a list has its user ids, or the name of the list that had them before.

A change is [nil, user ids] for a deletion, else [user ids, event or nil, times, values]. User ids are a list of strings
or [bytes, lengths]. Values are [name, type, array, entries] for a column, or [name, rows, values] for values as they
came, whose types are what they were taken for when they arrived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitseg.columns import Change, Columns, Deletion
from bitseg.entries import Details
from bitseg.storage import frames
from bitseg.strings import PADDING_BYTES, StringArray
from bitseg.values import DICTIONARY_TYPES, Column, SparseValues, ValueType, empty

_PLAIN = frozenset({str, float, bool, type(None)})
# Beyond 2^53, and therefore refused as what it stands for was.
_LARGE_INTEGER = 2**63
# As plain values, of segments and lists in records and snapshots that had none.
NO_DETAILS: Sequence[Any] = ("", {}, 0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations and columns taken together. `message_ids` are digests end to end, in order of arrival.

    Events before `oldest_day` were dropped after it. `producer` and `sequence` say whose batch it was, and which.
    """

    version: int
    changes: Sequence[Change]
    blocks: Sequence[Columns]
    message_ids: bytes
    oldest_day: int | None
    producer: str | None
    sequence: int


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """Segments, as text, and lists saved under their names at the same time; None for those that were deleted.

    A list has its user ids, or the name of the list whose users, as they were before, it takes.
    """

    version: int
    segments: Mapping[str, tuple[str, Details] | None] = field(default_factory=dict)
    lists: Mapping[str, tuple[Sequence[str] | str, Details] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TypeDeclared:
    """The type of an attribute, or of an event's property."""

    version: int
    name: str
    type: ValueType
    event: str | None


Record = Batch | CatalogChanged | TypeDeclared


def pack_change(change: Change) -> bytes:
    """The bytes of a change, which a batch is made of."""
    if isinstance(change, Deletion):
        return frames.pack([None, list(change.user_ids)])
    user_ids: Any = change.user_ids
    if isinstance(user_ids, StringArray):
        compact = user_ids.compact()
        user_ids = [compact.data[:-PADDING_BYTES].tobytes(), compact.lengths.astype(np.uint16)]
    else:
        user_ids = list(user_ids)
    values: list[Any] = []
    for name, each in change.values.items():
        if isinstance(each, Column):
            data = np.ascontiguousarray(each.data, empty(each.type, 0).dtype)
            values.append([name, each.type.value, data, list(each.entries)])
        else:
            values.append([name, np.asarray(each.rows, np.uint32), _plain_values(each.values)])
    return frames.pack([user_ids, change.event, np.ascontiguousarray(change.timestamps_ms, np.int64), values])


def pack_batch(batch: Batch, blocks: Sequence[bytes]) -> bytes:
    """The payload of a batch whose blocks were packed before."""
    changes = [pack_change(change) for change in batch.changes]
    return frames.pack(
        [
            "batch",
            batch.version,
            changes,
            blocks,
            batch.message_ids,
            batch.oldest_day,
            batch.producer,
            batch.sequence,
        ]
    )


def pack(record: CatalogChanged | TypeDeclared) -> bytes:
    """The payload of a record."""
    match record:
        case CatalogChanged(version, segments, lists):
            return frames.pack(["catalogue", version, *(_pack_saved(saved) for saved in (segments, lists))])
        case TypeDeclared(version, name, value_type, event):
            return frames.pack(["type", version, name, value_type.value, event])


def record_of(value: Any) -> Record:
    """The record that an unpacked payload is; ValueError for one that is none."""
    try:
        match value:
            case ["batch", int(version), changes, blocks, bytes(ids), oldest_day, producer, int(sequence)]:
                unpacked = [[_change(each) for each in packed] for packed in (changes, blocks)]
                columns = [block for block in unpacked[1] if isinstance(block, Columns)]
                return Batch(version, unpacked[0], columns, ids, oldest_day, producer, sequence)
            case ["catalogue", int(version), segments, lists]:
                return CatalogChanged(version, _saved(segments), _saved(lists))
            case ["segment", int(version), str(name), text]:
                return CatalogChanged(version, segments=_saved({name: text and [text, *NO_DETAILS]}))
            case ["list", int(version), str(name), ids]:
                return CatalogChanged(version, lists=_saved({name: None if ids is None else [ids, *NO_DETAILS]}))
            case ["type", int(version), str(name), str(value_type), event]:
                return TypeDeclared(version, name, ValueType(value_type), event)
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"the record makes no sense: {error}") from None
    raise ValueError("the record is of no known kind")


def _pack_saved(saved: Mapping[str, tuple[Any, Details] | None]) -> dict[str, Any]:
    return {name: None if each is None else [each[0], *pack_details(each[1])] for name, each in saved.items()}


def _saved(packed: Mapping[str, Any]) -> dict[str, Any]:
    saved: dict[str, Any] = {}
    for name, each in packed.items():
        if each is None:
            saved[name] = None
            continue
        contents, *details = each
        if not isinstance(name, str) or not all(isinstance(part, str) for part in contents):
            raise ValueError("a segment or a list is not made of text")
        saved[name] = (contents, details_of(details))
    return saved


def pack_details(details: Details) -> list[Any]:
    """Details as plain values."""
    return [details.description, dict(details.labels), details.created_ms, details.updated_ms]


def details_of(packed: Sequence[Any]) -> Details:
    """The details that `pack_details` made plain; ValueError for what are none."""
    match packed:
        case [str(description), dict(labels), int(created_ms), int(updated_ms)]:
            if all(isinstance(text, str) for label in labels.items() for text in label):
                return Details(description, labels, created_ms, updated_ms)
    raise ValueError("the details of a saved segment or list make no sense")


def _change(packed: bytes) -> Change:
    user_ids, *rest = frames.unpack(packed)
    if user_ids is None:
        return Deletion(rest[0])
    event, times_ms, values = rest
    if user_ids and isinstance(user_ids[0], bytes):
        data, lengths = user_ids
        ends = np.cumsum(lengths.astype(np.int64))
        if (ends[-1] if len(ends) else 0) != len(data):
            raise ValueError("the user ids have other lengths than they say")
        user_ids = StringArray.from_buffer(data, np.concatenate([np.zeros(1, np.int64), ends]))
    found: dict[str, Column | SparseValues] = {}
    for name, *column in values:
        if len(column) == 2:
            found[name] = SparseValues(column[0].tolist(), column[1])
            continue
        value_type, data, entries = ValueType(column[0]), column[1], column[2]
        if value_type is ValueType.LIST:
            entries = [tuple(entry) for entry in entries]
        if len(data) != len(times_ms) or data.dtype != empty(value_type, 0).dtype:
            raise ValueError(f"the values of {name!r} are of another length or type")
        if value_type in DICTIONARY_TYPES and len(data) and data.max() >= len(entries):
            raise ValueError(f"the values of {name!r} are not all in the dictionary")
        found[name] = Column(value_type, data, entries)
    if len(user_ids) != len(times_ms):
        raise ValueError("there are not as many user ids as times")
    return Columns(event, user_ids, times_ms, found, np.arange(len(times_ms)))


def _plain_values(values: Sequence[Any]) -> list[Any]:
    if _PLAIN.issuperset(map(type, values)):
        return list(values)
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A value that is taken, refused, and typed as the one given, and can be written."""
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -_LARGE_INTEGER <= value < _LARGE_INTEGER else _LARGE_INTEGER
    if isinstance(value, list | tuple):
        return list(value) if all(isinstance(item, str) for item in value) else [0]
    if isinstance(value, dict) and value.keys() == {"lat", "lon"}:
        return {name: _plain(each) if isinstance(each, int | float) else None for name, each in value.items()}
    return {}
