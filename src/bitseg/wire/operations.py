"""Row operations to protobuf and back."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from google.protobuf.struct_pb2 import Struct

from bitseg.columns import Rejection
from bitseg.grouping import Limits, malformed
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.operations import Delete, Identify, Operation, Page, Track
from bitseg.pb import ingest_pb2
from bitseg.plain import exact
from bitseg.values import MAX_EXACT_INTEGER, InvalidValueError
from bitseg.wire.timestamps import from_timestamp, to_timestamp

_NAME_TYPES = frozenset({str})
_VALUE_TYPES = frozenset({str, float, int, bool, type(None)})


def to_operations(operations: Iterable[Operation]) -> tuple[list[ingest_pb2.Operation], list[Rejection]]:
    """The protobuf form of row operations, and rejections of what messages cannot represent.

    Rejected values are left out. A row that is rejected as a whole becomes an empty message, so that the server
    numbers the rows as the caller does.
    """
    messages: list[ingest_pb2.Operation] = []
    rejections: list[Rejection] = []
    for row, operation in enumerate(operations):
        if _is_plain(operation):
            # Values that protobuf still refuses, such as unpaired surrogates, are rejected below with a reason.
            with suppress(ValueError):
                messages.append(to_operation(operation))
                continue
        reason = malformed(operation.as_track() if isinstance(operation, Page) else operation, Limits())
        if reason is not None:
            rejections.append(Rejection(row, reason))
            messages.append(ingest_pb2.Operation())
            continue
        match operation:
            case Identify():
                operation = operation._replace(traits=_exact(row, operation.traits, "attribute name", rejections))
            case Track() | Page():
                properties = _exact(row, operation.properties, "property name", rejections)
                operation = operation._replace(properties=properties)
        messages.append(to_operation(operation))
    return messages, rejections


def _exact(row: int, values: Mapping[str, Any], what: str, rejections: list[Rejection]) -> Mapping[str, Any]:
    """The values that the protocol can represent; all others become rejections."""
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        reason = malformed_text(name, what, MAX_NAME_BYTES)
        if reason is None:
            try:
                accepted[name] = exact(value)
            except InvalidValueError as error:
                rejections.append(Rejection(row, str(error), name))
        elif type(name) is not str:
            rejections.append(Rejection(row, reason, repr(name)))
        elif value is not None:
            rejections.append(Rejection(row, reason, name))
    return accepted


def _is_plain(operation: Operation) -> bool:
    """Whether texts, time and values can go into a message unchanged, as in nearly all operations."""
    if type(operation) is Track:
        values = operation.properties
        is_text = type(operation.event) is str
    elif type(operation) is Identify:
        values, is_text = operation.traits, True
    else:
        return False
    return (
        is_text
        and type(operation.user_id) is str
        and type(operation.timestamp_ms) is int
        and (operation.message_id is None or type(operation.message_id) is str)
        and type(values) is dict
        and _NAME_TYPES.issuperset(map(type, values))
        and _VALUE_TYPES.issuperset(map(type, values.values()))
        and all(abs(value) <= MAX_EXACT_INTEGER for value in values.values() if type(value) is int)
    )


def to_operation(operation: Operation) -> ingest_pb2.Operation:
    """The protobuf form of a row operation with plain values."""
    message = ingest_pb2.Operation()
    match operation:
        case Identify(user_id, traits, timestamp_ms, message_id):
            message.identify.user_id = user_id
            message.identify.traits.update(traits)
            message.identify.timestamp.CopyFrom(to_timestamp(timestamp_ms))
            message.identify.message_id = message_id or ""
        case Track(user_id, event, properties, timestamp_ms, message_id):
            message.track.user_id = user_id
            message.track.event = event
            message.track.properties.update(properties)
            message.track.timestamp.CopyFrom(to_timestamp(timestamp_ms))
            message.track.message_id = message_id or ""
        case Page(user_id, name, properties, timestamp_ms, message_id):
            message.page.user_id = user_id
            message.page.name = name or ""
            message.page.properties.update(properties)
            message.page.timestamp.CopyFrom(to_timestamp(timestamp_ms))
            message.page.message_id = message_id or ""
        case Delete(user_id, message_id):
            message.delete_user.user_id = user_id
            message.delete_user.message_id = message_id or ""
    return message


def from_operation(message: ingest_pb2.Operation, now_ms: int) -> Operation | None:
    """The row operation of a message, at `now_ms` if it has no timestamp; None for an empty one."""
    kind = message.WhichOneof("operation")
    if kind is None:
        return None
    if kind == "delete_user":
        return Delete(message.delete_user.user_id, message.delete_user.message_id or None)
    body = getattr(message, kind)
    user_id, message_id = body.user_id, body.message_id or None
    timestamp_ms = from_timestamp(body.timestamp) if body.HasField("timestamp") else now_ms
    if kind == "identify":
        return Identify(user_id, plain_struct(body.traits), timestamp_ms, message_id)
    if kind == "track":
        return Track(user_id, body.event, plain_struct(body.properties), timestamp_ms, message_id)
    return Page(user_id, body.name or None, plain_struct(body.properties), timestamp_ms, message_id)


def plain_struct(struct: Struct) -> dict[str, Any]:
    """The JSON object of a struct."""
    return {name: plain_value(value) for name, value in struct.fields.items()}


def plain_value(value: Any) -> Any:
    """The JSON value of a `google.protobuf.Value`."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [plain_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    return None if kind in ("null_value", None) else getattr(value, kind)
