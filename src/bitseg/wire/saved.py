"""Saved segments and static lists to protobuf and back."""

from collections.abc import Callable, Collection, Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from bitseg.entries import Details, SavedSegment, StaticList
from bitseg.errors import InvalidArgumentError
from bitseg.pb import catalog_pb2
from bitseg.segment import format, parse
from bitseg.segment.nodes import Condition
from bitseg.wire.segments import from_message, to_message
from bitseg.wire.timestamps import from_timestamp, to_timestamp


def to_saved_segment(segment: SavedSegment, *, with_definition: bool = True) -> catalog_pb2.SavedSegment:
    """The protobuf form of a saved segment."""
    return catalog_pb2.SavedSegment(
        name=segment.name,
        description=segment.details.description,
        expression=segment.text,
        definition=to_message(segment.definition) if with_definition else None,
        labels=segment.details.labels,
        create_time=_time(segment.details.created_ms),
        update_time=_time(segment.details.updated_ms),
        etag=segment.etag,
    )


def from_saved_segment(message: catalog_pb2.SavedSegment) -> SavedSegment:
    """The saved segment of a protobuf form."""
    definition = from_message(message.definition) if message.HasField("definition") else parse(message.expression)
    return SavedSegment(message.name, definition, message.expression, _details(message), message.etag)


def query_of(message: catalog_pb2.SavedSegment) -> str | Condition | None:
    """The definition of a segment in a request; None if the request has none.

    Raises InvalidArgumentError if expression and definition are different segments, and SegmentError for an invalid
    one.
    """
    if not message.HasField("definition"):
        return message.expression or None
    definition = from_message(message.definition)
    if message.expression and format(parse(message.expression)) != format(definition):
        raise InvalidArgumentError(
            "expression and definition are different segments", hint="set only one of them, or name one in update_mask"
        )
    return definition


def to_user_list(user_list: StaticList) -> catalog_pb2.UserList:
    """The protobuf form of a list."""
    return catalog_pb2.UserList(
        name=user_list.name,
        description=user_list.details.description,
        labels=user_list.details.labels,
        size=user_list.size,
        create_time=_time(user_list.details.created_ms),
        update_time=_time(user_list.details.updated_ms),
        etag=user_list.etag,
    )


def from_user_list(message: catalog_pb2.UserList) -> StaticList:
    """The list of a protobuf form."""
    return StaticList(message.name, message.size, _details(message), message.etag)


def masked(mask: FieldMask | None, known: Sequence[str], is_set: Callable[[str], bool]) -> Collection[str]:
    """The fields that a request changes: those in its mask, all for *, or without a mask the fields that are set.

    Raises InvalidArgumentError, naming them, for unknown fields.
    """
    if mask is None:
        return {name for name in known if is_set(name)}
    if "*" in mask.paths:
        return {*known}
    unknown = [path for path in mask.paths if path not in known]
    if unknown:
        raise InvalidArgumentError(
            f"update_mask has {', '.join(map(repr, unknown))}, which cannot be changed",
            hint=f"it can have {', '.join(known)}",
        )
    return {*mask.paths}


def _details(message: catalog_pb2.SavedSegment | catalog_pb2.UserList) -> Details:
    created_ms, updated_ms = from_timestamp(message.create_time), from_timestamp(message.update_time)
    return Details(message.description, dict(message.labels), created_ms, updated_ms)


def _time(instant_ms: int) -> Timestamp | None:
    return to_timestamp(instant_ms) if instant_ms else None
