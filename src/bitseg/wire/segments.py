"""Segment trees to protobuf and JSON, and back.

The codec is generic: a node class and its message have the same name and fields, a union of node classes is a message
with a oneof, and an enum value's name is that of the protobuf value without its prefix.
"""

from dataclasses import MISSING, fields
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Any, get_args

from google.protobuf import json_format
from google.protobuf.message import Message

from bitseg.errors import InvalidSegmentError
from bitseg.pb import segment_pb2
from bitseg.segment import nodes, validate
from bitseg.segment.nodes import And, Condition, Or
from bitseg.wire.timestamps import from_timestamp, to_timestamp

# The unions of node classes, by the name of their message.
_UNIONS: dict[str, Any] = {
    "Segment": nodes.Condition,
    "Predicate": nodes.Predicate,
    "Window": nodes.Window,
    "Quantity": nodes.Quantity,
    "Literal": nodes.Literal,
    "Moment": nodes.Moment,
    "CountRange": nodes.CountRange,
}


def to_message(condition: Condition) -> segment_pb2.Segment:
    """The protobuf form of a valid tree."""
    message = segment_pb2.Segment()
    _write_union(condition, message)
    return message


def from_message(message: segment_pb2.Segment) -> Condition:
    """The tree of a protobuf form.

    An And or Or of a single condition becomes that condition. Raises InvalidSegmentError, naming the field, for an
    incomplete message and an invalid tree.
    """
    condition: Condition = _read_union(message, "definition")
    validate(condition)
    return condition


def to_json(condition: Condition) -> str:
    """The protobuf-JSON form of a valid tree."""
    return json_format.MessageToJson(to_message(condition))


def from_json(text: str | bytes) -> Condition:
    """The tree of a protobuf-JSON form; raises InvalidSegmentError."""
    message = segment_pb2.Segment()
    try:
        json_format.Parse(text, message)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        # protobuf repeats its message for every level; the innermost names the cause.
        reason = str(error).rsplit("Failed to parse", 1)[-1].strip()
        raise InvalidSegmentError(f"the JSON is not a segment: {reason}") from None
    return from_message(message)


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


@lru_cache(maxsize=1)
def _classes() -> dict[str, type]:
    """Node classes by the name of their field in a oneof."""
    return {_snake_case(kind.__name__): kind for union in _UNIONS.values() for kind in _members(union)}


def _members(union: Any) -> list[type]:
    return [kind for arg in get_args(union) for kind in (_members(arg) if get_args(arg) else [arg])]


def _write_union(node: Any, message: Message) -> None:
    target = getattr(message, _snake_case(type(node).__name__))
    target.SetInParent()
    _write(node, target)


def _write(node: Any, message: Message) -> None:
    if isinstance(node, nodes.Instant):
        message.value.CopyFrom(to_timestamp(node.value_ms))  # type: ignore[attr-defined]
        return
    if isinstance(node, nodes.Day):
        message.value = node.value.isoformat()  # type: ignore[attr-defined]
        return
    for field in fields(node):
        value = getattr(node, field.name)
        descriptor = message.DESCRIPTOR.fields_by_name[field.name]
        if value is None:
            continue
        if descriptor.is_repeated:
            repeated = getattr(message, field.name)
            for item in value:
                if descriptor.message_type is None:
                    repeated.append(_scalar(item, descriptor))
                else:
                    _write_field(item, repeated.add())
        elif descriptor.message_type is None:
            setattr(message, field.name, _scalar(value, descriptor))
        else:
            target = getattr(message, field.name)
            target.SetInParent()
            _write_field(value, target)


def _write_field(node: Any, message: Message) -> None:
    if message.DESCRIPTOR.name in _UNIONS:
        _write_union(node, message)
    else:
        _write(node, message)


def _scalar(value: Any, descriptor: Any) -> Any:
    if isinstance(value, Enum):
        return descriptor.enum_type.values_by_name[_enum_prefix(descriptor) + value.name].number
    return value


def _enum_prefix(descriptor: Any) -> str:
    return _snake_case(descriptor.enum_type.name).upper() + "_"


def _read_union(message: Message, path: str) -> Any:
    (oneof,) = message.DESCRIPTOR.oneofs
    name = message.WhichOneof(oneof.name)
    if name is None:
        raise InvalidSegmentError(f"{path} is empty", hint=f"set one of its {oneof.name} fields")
    inner = getattr(message, name)
    kind = _classes()[name]
    if kind in (And, Or) and len(inner.conditions) == 1:
        return _read_union(inner.conditions[0], f"{path}.{name}.conditions[0]")
    return _read(inner, kind, f"{path}.{name}")


def _read(message: Any, kind: type, path: str) -> Any:
    if kind is nodes.Instant:
        return nodes.Instant(from_timestamp(message.value))
    if kind is nodes.Day:
        try:
            return nodes.Day(date.fromisoformat(message.value))
        except ValueError:
            raise InvalidSegmentError(
                f"{path}.value is not a date: {message.value!r}", hint="write YYYY-MM-DD"
            ) from None
    values: dict[str, Any] = {}
    for field in fields(kind):
        descriptor = message.DESCRIPTOR.fields_by_name[field.name]
        value = getattr(message, field.name)
        inner = f"{path}.{field.name}"
        if descriptor.is_repeated:
            values[field.name] = tuple(
                _read_value(item, descriptor, f"{inner}[{index}]") for index, item in enumerate(value)
            )
        elif descriptor.has_presence and not message.HasField(field.name):
            if field.default is MISSING and field.name != "event":
                raise InvalidSegmentError(f"{inner} is missing")
            values[field.name] = None
        else:
            values[field.name] = _read_value(value, descriptor, inner)
    return kind(**values)


def _read_value(value: Any, descriptor: Any, path: str) -> Any:
    if descriptor.message_type is not None:
        name = descriptor.message_type.name
        return _read_union(value, path) if name in _UNIONS else _read(value, getattr(nodes, name), path)
    if descriptor.enum_type is not None:
        enum_value = descriptor.enum_type.values_by_number.get(value)
        if enum_value is None or value == 0:
            raise InvalidSegmentError(f"{path} is not set", hint="set it to a value of its enum")
        return getattr(nodes, descriptor.enum_type.name)[enum_value.name.removeprefix(_enum_prefix(descriptor))]
    if isinstance(value, float):
        # Adding zero turns -0.0 into 0.0, as the text form does.
        return value + 0.0
    return value
