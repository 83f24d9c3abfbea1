"""Explanations to protobuf and back."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from bitseg.pb import query_pb2
from bitseg.results import Explanation, UserEvent, UserExplanation
from bitseg.wire.operations import plain_struct, plain_value
from bitseg.wire.timestamps import from_timestamp, to_timestamp


def to_response(result: UserExplanation) -> query_pb2.ExplainUserResponse:
    """The protobuf form of an explanation."""
    return query_pb2.ExplainUserResponse(
        explanation=_to_message(result.explanation),
        version=result.version,
        as_of=to_timestamp(result.as_of_ms),
        timezone=result.timezone,
        warnings=result.warnings,
    )


def from_response(response: query_pb2.ExplainUserResponse) -> UserExplanation:
    """The explanation of a protobuf form."""
    return UserExplanation(
        _from_message(response.explanation),
        response.version,
        from_timestamp(response.as_of),
        response.timezone,
        tuple(response.warnings),
    )


def _to_message(explanation: Explanation) -> query_pb2.Explanation:
    message = query_pb2.Explanation(
        condition=explanation.condition,
        matches=explanation.matches,
        event_count=explanation.event_count,
        note=explanation.note,
        conditions=map(_to_message, explanation.conditions),
    )
    if explanation.value is not None:
        value: Any = explanation.value
        message.value.CopyFrom(json_format.ParseDict(value, Value()))
    if explanation.interval_ms is not None:
        message.interval.start.CopyFrom(to_timestamp(explanation.interval_ms[0]))
        message.interval.end.CopyFrom(to_timestamp(explanation.interval_ms[1]))
    for event in explanation.events:
        shown = message.events.add(event=event.event, time=to_timestamp(event.timestamp_ms))
        shown.properties.update(dict(event.properties))
    return message


def _from_message(message: query_pb2.Explanation) -> Explanation:
    interval = message.interval
    has_interval = message.HasField("interval")
    return Explanation(
        message.condition,
        message.matches,
        plain_value(message.value) if message.HasField("value") else None,
        (from_timestamp(interval.start), from_timestamp(interval.end)) if has_interval else None,
        message.event_count,
        tuple(map(_from_event, message.events)),
        message.note,
        tuple(map(_from_message, message.conditions)),
    )


def _from_event(message: query_pb2.UserEvent) -> UserEvent:
    return UserEvent(message.event, from_timestamp(message.time), plain_struct(message.properties))
