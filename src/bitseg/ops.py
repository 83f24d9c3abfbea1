"""Operations: all that ever changes a workspace. They carry their own timestamps, so replay reads no clock.

Row operations are what callers write: named tuples, which are made much faster than frozen dataclasses. Columns are
what the engine applies: `group` turns the first into the second.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, format_instant
from bitseg.texts import Texts
from bitseg.values import Column, SparseValues, decode

MAX_ID_BYTES = 512
MAX_NAME_BYTES = 256
MAX_MESSAGE_ID_BYTES = 128
# So many characters of ASCII are never too long for an id.
_PLAIN_CHARACTERS = 128

PAGE_VIEWED = "Page Viewed"


class Identify(NamedTuple):
    """Sets attributes of a user; a None unsets."""

    user_id: str
    traits: Mapping[str, Any]
    timestamp_ms: int
    message_id: str | None = None


class Track(NamedTuple):
    """Records an event of a user."""

    user_id: str
    event: str
    properties: Mapping[str, Any]
    timestamp_ms: int
    message_id: str | None = None


class Delete(NamedTuple):
    """Removes a user with attributes and events."""

    user_id: str


Operation = Identify | Track | Delete


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of a saved segment or list beside its contents. Instants are 0 where they are not known."""

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    updated_ms: int = 0


def page(
    user_id: str, name: str | None, properties: Mapping[str, Any], timestamp_ms: int, message_id: str | None = None
) -> Track:
    """The Segment spec's page call as the event "Page Viewed" with the page's name as property `name`."""
    named = {**properties, "name": name} if name else properties
    return Track(user_id, PAGE_VIEWED, named, timestamp_ms, message_id)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of one kind, column by column; every sequence has one entry a row, SparseValues apart.

    User ids are Texts where there are many.

    `event` None means user rows, whose values are attributes. `rows` numbers the rows as the caller counts them.
    """

    event: str | None
    user_ids: Sequence[str]
    timestamps_ms: NDArray[np.int64]
    values: Mapping[str, Column | SparseValues]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The deletion of users."""

    user_ids: Sequence[str]


Change = Columns | Deletion


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something left out: the whole of row `row`, or only its value `name` where that is given."""

    row: int
    reason: str
    name: str | None = None


@dataclass(slots=True)
class _Group:
    user_ids: list[str] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    values: dict[str, tuple[list[int], list[Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """The instants that timestamps must lie in, both included; `oldest_event_ms` binds events alone."""

    newest_ms: int = LAST_INSTANT_MS
    oldest_event_ms: int = FIRST_INSTANT_MS


@dataclass(frozen=True, slots=True)
class Grouped:
    """A batch made ready: changes to apply in order, and what was left out of them."""

    changes: list[Change]
    rejections: list[Rejection]
    duplicates: int


def group(operations: Sequence[Operation], limits: Limits, is_repeated: Callable[[str], bool]) -> Grouped:
    """The changes that the operations make together, in an order with the same effect.

    A deletion separates what comes before it from what comes after it; between deletions, rows of one event, or of
    attributes, form one block. `is_repeated` is asked about the message id of every well-formed operation, once and
    in order.
    """
    changes: list[Change] = []
    rejections: list[Rejection] = []
    duplicates = 0
    deleted: list[str] = []
    groups: dict[str | None, _Group] = {}
    newest_ms, oldest_ms = limits.newest_ms, max(limits.oldest_event_ms, FIRST_INSTANT_MS)
    for row, operation in enumerate(operations):
        # Nearly all are plainly well-formed, which is seen faster than why one is not.
        if not (
            isinstance(operation, Track)
            and operation.event in groups
            and oldest_ms <= operation.timestamp_ms <= newest_ms
            and 0 < len(operation.user_id) <= _PLAIN_CHARACTERS
            and operation.user_id.isascii()
            and len(message_id := operation.message_id or "") <= _PLAIN_CHARACTERS
            and message_id.isascii()
        ):
            reason = _malformed(operation, limits)
            if reason:
                rejections.append(Rejection(row, reason))
                continue
        if isinstance(operation, Delete):
            changes += _columns(groups)
            groups = {}
            deleted.append(operation.user_id)
            continue
        if operation.message_id and is_repeated(operation.message_id):
            duplicates += 1
            continue
        if deleted:
            changes.append(Deletion(deleted))
            deleted = []
        if isinstance(operation, Track):
            event, values = operation.event, operation.properties
        else:
            event, values = None, operation.traits
        block = groups.get(event)
        if block is None:
            block = groups[event] = _Group()
        position = len(block.user_ids)
        block.user_ids.append(operation.user_id)
        block.timestamps_ms.append(operation.timestamp_ms)
        block.rows.append(row)
        for name, value in values.items():
            column = block.values.get(name)
            if column is None:
                column = block.values[name] = ([], [])
            column[0].append(position)
            column[1].append(value)
    changes += _columns(groups)
    if deleted:
        changes.append(Deletion(deleted))
    return Grouped(changes, rejections, duplicates)


def _columns(groups: Mapping[str | None, _Group]) -> list[Columns]:
    return [
        Columns(
            event=event,
            user_ids=block.user_ids,
            timestamps_ms=np.array(block.timestamps_ms, np.int64),
            values={name: SparseValues(rows, values) for name, (rows, values) in block.values.items()},
            rows=np.array(block.rows, np.int64),
        )
        for event, block in groups.items()
    ]


def _malformed(operation: Operation, limits: Limits) -> str | None:
    """Why an operation cannot be taken at all, or None."""
    reason = malformed_text(operation.user_id, "user id", MAX_ID_BYTES)
    if isinstance(operation, Delete):
        return reason
    oldest_ms = FIRST_INSTANT_MS
    if isinstance(operation, Track):
        reason = reason or malformed_text(operation.event, "event name", MAX_NAME_BYTES)
        oldest_ms = limits.oldest_event_ms
    if operation.message_id:
        reason = reason or malformed_text(operation.message_id, "message id", MAX_MESSAGE_ID_BYTES)
    if not oldest_ms <= operation.timestamp_ms <= limits.newest_ms:
        reason = reason or timestamp_reason(operation.timestamp_ms, limits)
    return reason


def malformed_text(text: str, what: str, max_bytes: int) -> str | None:
    """Why a text cannot be an id or a name, or None: empty, too long, or not Unicode."""
    if not text:
        return f"the {what} is empty"
    if len(text) * 4 <= max_bytes and text.isascii():
        return None
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return f"the {what} is not valid Unicode"
    return f"the {what} has {length:,} bytes, the limit is {max_bytes}" if length > max_bytes else None


def rows_of(columns: Columns) -> list[Operation]:
    """The row operations that a block stands for, in its order."""
    values: list[dict[str, Any]] = [{} for _ in columns.user_ids]
    for name, each in columns.values.items():
        if isinstance(each, Column):
            for row, stored in enumerate(each.data):
                value = decode(each.type, stored, each.entries)
                if value is not None:
                    values[row][name] = value
        else:
            for row, value in zip(each.rows, each.values, strict=True):
                values[row][name] = value
    timestamps_ms = columns.timestamps_ms.tolist()
    if columns.event is None:
        return [*map(Identify, columns.user_ids, values, timestamps_ms)]
    event = columns.event
    return [
        Track(user_id, event, properties, timestamp_ms)
        for user_id, properties, timestamp_ms in zip(columns.user_ids, values, timestamps_ms, strict=True)
    ]


def selected(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """Some rows of a block, given by position in ascending order."""
    values: dict[str, Column | SparseValues] = {}
    for name, each in columns.values.items():
        if isinstance(each, Column):
            values[name] = Column(each.type, each.data[rows], each.entries)
        else:
            place = {int(row): position for position, row in enumerate(rows)}
            pairs = [(place[row], value) for row, value in zip(each.rows, each.values, strict=True) if row in place]
            values[name] = SparseValues([row for row, _ in pairs], [value for _, value in pairs])
    return Columns(
        columns.event,
        columns.user_ids.take(rows) if isinstance(columns.user_ids, Texts) else [columns.user_ids[row] for row in rows],
        columns.timestamps_ms[rows],
        values,
        columns.rows[rows],
    )


def timestamp_reason(timestamp_ms: int, limits: Limits) -> str:
    """Why an instant outside the limits is refused."""
    if not FIRST_INSTANT_MS <= timestamp_ms <= LAST_INSTANT_MS:
        return "the timestamp is outside the years that can be kept"
    if timestamp_ms > limits.newest_ms:
        return f"the timestamp {format_instant(timestamp_ms)} is more than one hour in the future"
    return f"the event of {format_instant(timestamp_ms)} is older than the retention"


def well_formed(columns: Columns, limits: Limits) -> tuple[Columns, list[Rejection]]:
    """A block without its malformed rows, and why each was left out."""
    if columns.event is not None:
        reason = malformed_text(columns.event, "event name", MAX_NAME_BYTES)
        if reason:
            return selected(columns, np.empty(0, np.int64)), [Rejection(int(row), reason) for row in columns.rows]
    oldest_ms = FIRST_INSTANT_MS if columns.event is None else limits.oldest_event_ms
    times_ms = columns.timestamps_ms
    reasons = {
        int(row): timestamp_reason(int(times_ms[row]), limits)
        for row in np.flatnonzero((times_ms < oldest_ms) | (times_ms > limits.newest_ms))
    }
    suspects: Iterable[int]
    try:
        texts = Texts.of(columns.user_ids)
        columns = replace(columns, user_ids=texts)
        suspects = np.flatnonzero((texts.lengths == 0) | (texts.lengths > MAX_ID_BYTES)).tolist()
    except UnicodeEncodeError:
        suspects = range(len(columns.user_ids))
    for row in suspects:
        reason = malformed_text(columns.user_ids[row], "user id", MAX_ID_BYTES)
        if reason:
            reasons[row] = reason
    if not reasons:
        return columns, []
    keep = np.setdiff1d(np.arange(len(times_ms)), list(reasons))
    return selected(columns, keep), [Rejection(int(columns.rows[row]), reason) for row, reason in reasons.items()]


def by_row(rejections: list[Rejection]) -> list[Rejection]:
    """Rejections in the order of rows."""
    return sorted(rejections, key=lambda rejection: rejection.row)
