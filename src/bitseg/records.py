"""Records: every change of a workspace. One record makes one version, and has the same effect wherever it is applied.

A record is made after names were checked and types resolved, so that it can always be applied: applying it reads no
clock, infers nothing and refuses nothing. `RECORD_TYPES` lists all kinds; `storage.record_codec` encodes them and
`shard.state` applies them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from bitseg.values import Entry, ValueType


@dataclass(frozen=True, slots=True)
class Field:
    """An attribute (`event` None) or an event's property, and its type.

    The type is None for an attribute that has only been set to null; it has no type yet.
    """

    event: str | None
    name: str
    type: ValueType | None


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one type for rows of a block.

    `rows` has the numbers of the rows with a value, ascending, of shape (n,); None stands for all rows. `data` has one
    item per row of `rows`, in the layout of the type (see `bitseg.values`). In rows of users, the marker for "no value"
    unsets. The codes of strings and lists are positions in `entries`. Without a type, every value unsets and `data` is
    empty.
    """

    type: ValueType | None
    rows: NDArray[np.uint32] | None
    data: NDArray[Any]
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class UserRows:
    """Attributes of users; a row has the values of one user at one instant. All sequences have one entry a row."""

    user_ids: Sequence[str]
    timestamps_ms: NDArray[np.int64]
    values: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events of one name, one event a row. All sequences have one entry a row."""

    event: str
    user_ids: Sequence[str]
    timestamps_ms: NDArray[np.int64]
    values: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The deletion of users."""

    user_ids: Sequence[str]


Change = UserRows | EventRows | Deletion


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that are applied together, in order.

    `fields` are added to the schema before the changes. `message_ids` has the digests of message ids end to end, in
    order of arrival. `producer` and `sequence` are the producer's name and its number of the batch, if it has a
    producer.
    """

    fields: Sequence[Field]
    changes: Sequence[Change]
    message_ids: bytes = b""
    producer: str | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A change of a catalog entry: its kind, its name, and its payload as plain values; None deletes it.

    `entry` is the entry that the payload stands for, if it is known; it is not journalled.
    """

    kind: str
    name: str
    payload: Sequence[Any] | None
    entry: Any = None


@dataclass(frozen=True, slots=True)
class EntriesChanged:
    """Changes of entries that are applied together, in order."""

    entries: Sequence[EntryChange]


@dataclass(frozen=True, slots=True)
class TypeDeclared:
    """The type of an attribute, or of an event's property."""

    event: str | None
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class EventsExpired:
    """The removal of events of days before `oldest_day`, which are past the retention."""

    oldest_day: int


Record = Batch | EntriesChanged | TypeDeclared | EventsExpired
RECORD_TYPES: tuple[type[Record], ...] = get_args(Record)
