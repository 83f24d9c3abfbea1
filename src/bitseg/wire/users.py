"""Users and their segments to protobuf and back."""

from bitseg.pb import query_pb2
from bitseg.results import EventSummary, UserRecord, UserSegments
from bitseg.wire.operations import plain_struct
from bitseg.wire.timestamps import from_timestamp, to_timestamp


def to_user_response(record: UserRecord) -> query_pb2.GetUserResponse:
    """The protobuf form of a user."""
    response = query_pb2.GetUserResponse(version=record.version)
    response.user.user_id = record.user_id
    response.user.attributes.update(dict(record.attributes))
    for summary in record.events:
        response.user.events.add(
            event=summary.event,
            count=summary.count,
            first_time=to_timestamp(summary.first_ms),
            last_time=to_timestamp(summary.last_ms),
        )
    return response


def from_user_response(response: query_pb2.GetUserResponse) -> UserRecord:
    """The user of a protobuf form."""
    events = tuple(
        EventSummary(
            summary.event, summary.count, from_timestamp(summary.first_time), from_timestamp(summary.last_time)
        )
        for summary in response.user.events
    )
    attributes = dict(sorted(plain_struct(response.user.attributes).items()))
    return UserRecord(response.user.user_id, attributes, events, response.version)


def to_segments_response(user_segments: UserSegments) -> query_pb2.ListUserSegmentsResponse:
    """The protobuf form of the segments of a user."""
    return query_pb2.ListUserSegmentsResponse(
        segments=user_segments.segments, version=user_segments.version, warnings=user_segments.warnings
    )


def from_segments_response(response: query_pb2.ListUserSegmentsResponse) -> UserSegments:
    """The segments of a protobuf form."""
    return UserSegments(tuple(response.segments), response.version, tuple(response.warnings))
