import datetime

from bitseg.pb import segment_pb2 as _segment_pb2
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ID_KIND_UNSPECIFIED: _ClassVar[IdKind]
    ID_KIND_EXTERNAL: _ClassVar[IdKind]
    ID_KIND_DENSE: _ClassVar[IdKind]
ID_KIND_UNSPECIFIED: IdKind
ID_KIND_EXTERNAL: IdKind
ID_KIND_DENSE: IdKind

class CountRequest(_message.Message):
    __slots__ = ("expression", "definition", "segment", "as_of")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    expression: str
    definition: _segment_pb2.Segment
    segment: str
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, expression: _Optional[str] = ..., definition: _Optional[_Union[_segment_pb2.Segment, _Mapping]] = ..., segment: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count", "version", "elapsed", "warnings")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    count: int
    version: int
    elapsed: _duration_pb2.Duration
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, count: _Optional[int] = ..., version: _Optional[int] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchCountRequest(_message.Message):
    __slots__ = ("queries", "as_of")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[SegmentQuery]
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, queries: _Optional[_Iterable[_Union[SegmentQuery, _Mapping]]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SegmentQuery(_message.Message):
    __slots__ = ("expression", "definition", "segment")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    expression: str
    definition: _segment_pb2.Segment
    segment: str
    def __init__(self, expression: _Optional[str] = ..., definition: _Optional[_Union[_segment_pb2.Segment, _Mapping]] = ..., segment: _Optional[str] = ...) -> None: ...

class BatchCountResponse(_message.Message):
    __slots__ = ("results", "version", "elapsed")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchCountResult]
    version: int
    elapsed: _duration_pb2.Duration
    def __init__(self, results: _Optional[_Iterable[_Union[BatchCountResult, _Mapping]]] = ..., version: _Optional[int] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BatchCountResult(_message.Message):
    __slots__ = ("count", "error", "warnings")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    count: int
    error: QueryError
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, count: _Optional[int] = ..., error: _Optional[_Union[QueryError, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class QueryError(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("expression", "definition", "segment", "as_of", "sample_size", "include_bitmap")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_SIZE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_BITMAP_FIELD_NUMBER: _ClassVar[int]
    expression: str
    definition: _segment_pb2.Segment
    segment: str
    as_of: _timestamp_pb2.Timestamp
    sample_size: int
    include_bitmap: bool
    def __init__(self, expression: _Optional[str] = ..., definition: _Optional[_Union[_segment_pb2.Segment, _Mapping]] = ..., segment: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sample_size: _Optional[int] = ..., include_bitmap: _Optional[bool] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("count", "version", "elapsed", "warnings", "sample_user_ids", "bitmap")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    BITMAP_FIELD_NUMBER: _ClassVar[int]
    count: int
    version: int
    elapsed: _duration_pb2.Duration
    warnings: _containers.RepeatedScalarFieldContainer[str]
    sample_user_ids: _containers.RepeatedScalarFieldContainer[str]
    bitmap: bytes
    def __init__(self, count: _Optional[int] = ..., version: _Optional[int] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., sample_user_ids: _Optional[_Iterable[str]] = ..., bitmap: _Optional[bytes] = ...) -> None: ...

class StreamMembersRequest(_message.Message):
    __slots__ = ("expression", "definition", "segment", "as_of", "page_size", "id_kind", "resume_token")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    ID_KIND_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    expression: str
    definition: _segment_pb2.Segment
    segment: str
    as_of: _timestamp_pb2.Timestamp
    page_size: int
    id_kind: IdKind
    resume_token: str
    def __init__(self, expression: _Optional[str] = ..., definition: _Optional[_Union[_segment_pb2.Segment, _Mapping]] = ..., segment: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., id_kind: _Optional[_Union[IdKind, str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class StreamMembersResponse(_message.Message):
    __slots__ = ("user_ids", "dense_ids", "total", "version", "warnings", "resume_token")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    DENSE_IDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    dense_ids: _containers.RepeatedScalarFieldContainer[int]
    total: int
    version: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    resume_token: str
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., dense_ids: _Optional[_Iterable[int]] = ..., total: _Optional[int] = ..., version: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class ExplainUserRequest(_message.Message):
    __slots__ = ("expression", "definition", "segment", "as_of", "user_id")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    expression: str
    definition: _segment_pb2.Segment
    segment: str
    as_of: _timestamp_pb2.Timestamp
    user_id: str
    def __init__(self, expression: _Optional[str] = ..., definition: _Optional[_Union[_segment_pb2.Segment, _Mapping]] = ..., segment: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_id: _Optional[str] = ...) -> None: ...

class ExplainUserResponse(_message.Message):
    __slots__ = ("explanation", "version", "as_of", "timezone", "warnings")
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    explanation: Explanation
    version: int
    as_of: _timestamp_pb2.Timestamp
    timezone: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, explanation: _Optional[_Union[Explanation, _Mapping]] = ..., version: _Optional[int] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., timezone: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("condition", "matches", "value", "interval", "event_count", "events", "note", "conditions")
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    condition: str
    matches: bool
    value: _struct_pb2.Value
    interval: TimeInterval
    event_count: int
    events: _containers.RepeatedCompositeFieldContainer[UserEvent]
    note: str
    conditions: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, condition: _Optional[str] = ..., matches: _Optional[bool] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., interval: _Optional[_Union[TimeInterval, _Mapping]] = ..., event_count: _Optional[int] = ..., events: _Optional[_Iterable[_Union[UserEvent, _Mapping]]] = ..., note: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class TimeInterval(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UserEvent(_message.Message):
    __slots__ = ("event", "time", "properties")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    event: str
    time: _timestamp_pb2.Timestamp
    properties: _struct_pb2.Struct
    def __init__(self, event: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ExpressionError(_message.Message):
    __slots__ = ("offset", "line", "column", "expected", "hint")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    offset: int
    line: int
    column: int
    expected: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    def __init__(self, offset: _Optional[int] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., expected: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ...) -> None: ...

class GetUserRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class GetUserResponse(_message.Message):
    __slots__ = ("user", "version")
    USER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    user: User
    version: int
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("user_id", "attributes", "events")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    attributes: _struct_pb2.Struct
    events: _containers.RepeatedCompositeFieldContainer[EventSummary]
    def __init__(self, user_id: _Optional[str] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., events: _Optional[_Iterable[_Union[EventSummary, _Mapping]]] = ...) -> None: ...

class EventSummary(_message.Message):
    __slots__ = ("event", "count", "first_time", "last_time")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    event: str
    count: int
    first_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    def __init__(self, event: _Optional[str] = ..., count: _Optional[int] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListUserSegmentsRequest(_message.Message):
    __slots__ = ("user_id", "as_of")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListUserSegmentsResponse(_message.Message):
    __slots__ = ("segments", "version", "warnings")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedScalarFieldContainer[str]
    version: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, segments: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...
