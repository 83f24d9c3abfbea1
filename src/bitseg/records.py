"""Records: all that ever changes a workspace. One record is one version, and means the same wherever it is applied.

A record is made from what callers send once names are checked and types are resolved, so that it can always be applied:
it reads no clock, infers nothing and refuses nothing. `RECORD_TYPES` lists every kind; `storage.record_codec` has the
bytes of each and `shard.state` what each does.
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

    A type of None is that of an attribute of which only nulls have come: it has no type yet.
    """

    event: str | None
    name: str
    type: ValueType | None


@dataclass(frozen=True, slots=True)
class Values:
    """Values of one type for rows of a block.

    `rows` has the places of the rows that have one, ascending, of shape (n,); None stands for every row. `data` is as
    the type has it (see `bitseg.values`), one item a row; in rows of users, its marker for no value unsets. `entries`
    are what the codes of strings and lists point to. Without a type, every value unsets and `data` is empty.
    """

    type: ValueType | None
    rows: NDArray[np.uint32] | None
    data: NDArray[Any]
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class UserRows:
    """Attributes of users, one row a user and instant. All sequences have one entry a row."""

    user_ids: Sequence[str]
    timestamps_ms: NDArray[np.int64]
    values: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events of one name, one a row. All sequences have one entry a row."""

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
    """Changes that are made together, in order.

    `fields` begin with the batch and are known before its changes. `message_ids` are digests end to end, in order of
    arrival. `producer` and `sequence` say whose batch it is, and which.
    """

    fields: Sequence[Field]
    changes: Sequence[Change]
    message_ids: bytes = b""
    producer: str | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that is kept by name: its kind, its name, and its payload as plain values; None deletes it.

    `entry` is what the payload stands for, where it is known; it is not journalled.
    """

    kind: str
    name: str
    payload: Sequence[Any] | None
    entry: Any = None


@dataclass(frozen=True, slots=True)
class EntriesChanged:
    """Entries that change at the same time, in order."""

    entries: Sequence[EntryChange]


@dataclass(frozen=True, slots=True)
class TypeDeclared:
    """The type of an attribute, or of an event's property."""

    event: str | None
    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class EventsExpired:
    """Events of days before `oldest_day` are past the retention and go."""

    oldest_day: int


Record = Batch | EntriesChanged | TypeDeclared | EventsExpired
RECORD_TYPES: tuple[type[Record], ...] = get_args(Record)
