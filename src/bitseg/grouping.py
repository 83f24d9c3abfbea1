"""From row operations to columns: a batch is checked and grouped into blocks that are applied in order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import FIRST_INSTANT_MS, LAST_INSTANT_MS, format_instant
from bitseg.columns import Columns, Rejection, selected
from bitseg.errors import InvalidArgumentError
from bitseg.names import MAX_ID_BYTES, MAX_MESSAGE_ID_BYTES, MAX_NAME_BYTES, malformed_text
from bitseg.operations import Delete, Identify, Operation, Page, Track
from bitseg.plain import are_plain, plain
from bitseg.records import Deletion
from bitseg.strings import StringArray
from bitseg.values import InvalidValueError, SparseValues

# An id of at most this many ASCII characters is never too long.
_PLAIN_CHARACTERS = 128


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
    """Row operations as blocks and deletions, in an order with the same effect, and what was left out of them."""

    blocks: list[Columns | Deletion]
    rejections: list[Rejection]
    duplicates: int


def group(operations: Sequence[Operation], limits: Limits, is_repeated: Callable[[str], bool]) -> Grouped:
    """Group row operations, whose rows are their places.

    A deletion separates what comes before it from what comes after it; between deletions, rows of one event, or of
    attributes, form one block. `is_repeated` is asked about the message id of every well-formed operation, once and
    in order.
    """
    blocks: list[Columns | Deletion] = []
    rejections: list[Rejection] = []
    duplicates = 0
    deleted: list[str] = []
    groups: dict[str | None, _Group] = {}
    newest_ms, oldest_ms = limits.newest_ms, max(limits.oldest_event_ms, FIRST_INSTANT_MS)
    for row, operation in enumerate(operations):
        # Nearly all are plainly well-formed, which is seen faster than why one is not.
        if not (
            type(operation) is Track
            and type(operation.event) is str
            and operation.event in groups
            and type(operation.timestamp_ms) is int
            and oldest_ms <= operation.timestamp_ms <= newest_ms
            and type(operation.user_id) is str
            and 0 < len(operation.user_id) <= _PLAIN_CHARACTERS
            and operation.user_id.isascii()
            and type(operation.properties) is dict
            and (
                (message_id := operation.message_id) is None
                or (type(message_id) is str and len(message_id) <= _PLAIN_CHARACTERS and message_id.isascii())
            )
        ):
            if isinstance(operation, Page) and isinstance(operation.properties, Mapping):
                operation = operation.as_track()
            reason = malformed(operation, limits)
            if reason:
                rejections.append(Rejection(row, reason))
                continue
        if operation.message_id and is_repeated(operation.message_id):
            duplicates += 1
            continue
        if isinstance(operation, Delete):
            blocks += _columns(groups, rejections)
            groups = {}
            deleted.append(operation.user_id)
            continue
        if deleted:
            blocks.append(Deletion(deleted))
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
                if type(name) is not str:
                    what = "attribute name" if event is None else "property name"
                    reason = malformed_text(name, what, MAX_NAME_BYTES)
                    rejections.append(Rejection(row, reason or "", repr(name)))
                    continue
                column = block.values[name] = ([], [])
            column[0].append(position)
            column[1].append(value)
    blocks += _columns(groups, rejections)
    if deleted:
        blocks.append(Deletion(deleted))
    return Grouped(blocks, rejections, duplicates)


def _columns(groups: Mapping[str | None, _Group], rejections: list[Rejection]) -> list[Columns]:
    """The blocks of groups; values that are none are left out, and told in `rejections`."""
    return [
        Columns(
            event=event,
            user_ids=StringArray.of(block.user_ids),
            timestamps_ms=np.array(block.timestamps_ms, np.int64),
            values={
                name: SparseValues(rows, values)
                if are_plain(values)
                else _plain_values(name, block.rows, rows, values, rejections)
                for name, (rows, values) in block.values.items()
            },
            rows=np.array(block.rows, np.int64),
        )
        for event, block in groups.items()
    ]


def _plain_values(
    name: str,
    numbers: Sequence[int] | NDArray[np.int64],
    rows: Sequence[int],
    values: Sequence[Any],
    rejections: list[Rejection],
) -> SparseValues:
    """Values as JSON has them; `numbers` are those of all rows."""
    plain_rows: list[int] = []
    plain_values: list[Any] = []
    for row, value in zip(rows, values, strict=True):
        try:
            plain_values.append(plain(value))
            plain_rows.append(row)
        except InvalidValueError as error:
            rejections.append(Rejection(int(numbers[row]), str(error), name))
    return SparseValues(plain_rows, plain_values)


def malformed(operation: Operation, limits: Limits) -> str | None:
    """Why an operation cannot be taken at all, or None."""
    if not isinstance(operation, Identify | Track | Page | Delete):
        return f"a {type(operation).__name__} is not an operation: use Identify, Track, Page or Delete"
    reason = malformed_text(operation.user_id, "user id", MAX_ID_BYTES)
    if operation.message_id is not None and operation.message_id != "":
        reason = reason or malformed_text(operation.message_id, "message id", MAX_MESSAGE_ID_BYTES)
    if isinstance(operation, Delete):
        return reason
    oldest_ms = FIRST_INSTANT_MS
    values: object = None
    if isinstance(operation, Identify):
        values = operation.traits
    else:
        oldest_ms, values = limits.oldest_event_ms, operation.properties
    if isinstance(operation, Track):
        reason = reason or malformed_text(operation.event, "event name", MAX_NAME_BYTES)
    if not isinstance(values, Mapping):
        what = "traits" if isinstance(operation, Identify) else "properties"
        reason = reason or f"the {what} are of type {type(values).__name__}, not a mapping from names to values"
    if isinstance(operation.timestamp_ms, bool) or not isinstance(operation.timestamp_ms, int | np.integer):
        return reason or f"the timestamp {operation.timestamp_ms!r} is not a whole number of milliseconds"
    if not oldest_ms <= operation.timestamp_ms <= limits.newest_ms:
        reason = reason or timestamp_reason(operation.timestamp_ms, limits)
    return reason


def timestamp_reason(timestamp_ms: int, limits: Limits) -> str:
    """Why an instant outside the limits is refused."""
    if not FIRST_INSTANT_MS <= timestamp_ms <= LAST_INSTANT_MS:
        return "the timestamp is outside the years that can be kept"
    if timestamp_ms > limits.newest_ms:
        return f"the timestamp {format_instant(timestamp_ms)} is more than one hour in the future"
    return f"the event of {format_instant(timestamp_ms)} is older than the retention"


def well_formed(columns: Columns, limits: Limits) -> tuple[Columns, list[Rejection]]:
    """A block without its malformed rows, and why each was left out.

    Raises InvalidArgumentError where the parts of the block do not fit together.
    """
    if not isinstance(columns, Columns):
        raise InvalidArgumentError(f"a {type(columns).__name__} is not Columns")
    columns.check()
    if columns.event is not None:
        reason = malformed_text(columns.event, "event name", MAX_NAME_BYTES)
        if reason:
            return selected(columns, np.empty(0, np.int64)), [Rejection(int(row), reason) for row in columns.rows]
    oldest_ms = FIRST_INSTANT_MS if columns.event is None else limits.oldest_event_ms
    times_ms = columns.timestamps_ms
    is_outside = (times_ms < oldest_ms) | (times_ms > limits.newest_ms)
    reasons = {int(row): timestamp_reason(int(times_ms[row]), limits) for row in np.flatnonzero(is_outside)}
    # Instants are reckoned with in 64 bits with a sign.
    columns = replace(columns, timestamps_ms=np.ascontiguousarray(times_ms, np.int64))
    suspects: Iterable[int]
    try:
        texts = StringArray.of(columns.user_ids)
        columns = replace(columns, user_ids=texts)
        suspects = np.flatnonzero((texts.lengths == 0) | (texts.lengths > MAX_ID_BYTES)).tolist()
    except (UnicodeEncodeError, TypeError):
        suspects = range(len(columns.user_ids))
    for row in suspects:
        reason = malformed_text(columns.user_ids[row], "user id", MAX_ID_BYTES)
        if reason:
            reasons[row] = reason
    if not reasons:
        return _with_plain_values(columns, [])
    keep = np.setdiff1d(np.arange(len(times_ms)), list(reasons))
    kept = selected(columns, keep)
    rejections = [Rejection(int(columns.rows[row]), reason) for row, reason in reasons.items()]
    return _with_plain_values(replace(kept, user_ids=StringArray.of(kept.user_ids)), rejections)


def _with_plain_values(columns: Columns, rejections: list[Rejection]) -> tuple[Columns, list[Rejection]]:
    values = dict(columns.values)
    for name, given in columns.values.items():
        if isinstance(given, SparseValues) and not are_plain(given.values):
            values[name] = _plain_values(name, columns.rows, given.rows, given.values, rejections)
    return replace(columns, values=values), rejections
