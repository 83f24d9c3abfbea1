import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IngestRequest(_message.Message):
    __slots__ = ("producer", "sequence", "batch")
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    producer: str
    sequence: int
    batch: IngestBatchRequest
    def __init__(self, producer: _Optional[str] = ..., sequence: _Optional[int] = ..., batch: _Optional[_Union[IngestBatchRequest, _Mapping]] = ...) -> None: ...

class IngestResponse(_message.Message):
    __slots__ = ("last_sequence", "result")
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    last_sequence: int
    result: IngestBatchResponse
    def __init__(self, last_sequence: _Optional[int] = ..., result: _Optional[_Union[IngestBatchResponse, _Mapping]] = ...) -> None: ...

class IngestBatchRequest(_message.Message):
    __slots__ = ("operations", "columns")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    columns: _containers.RepeatedCompositeFieldContainer[Columns]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., columns: _Optional[_Iterable[_Union[Columns, _Mapping]]] = ...) -> None: ...

class Columns(_message.Message):
    __slots__ = ("event", "user_ids", "times_ms", "values")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    event: str
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    times_ms: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedCompositeFieldContainer[ValueColumn]
    def __init__(self, event: _Optional[str] = ..., user_ids: _Optional[_Iterable[str]] = ..., times_ms: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[_Union[ValueColumn, _Mapping]]] = ...) -> None: ...

class ValueColumn(_message.Message):
    __slots__ = ("name", "rows", "numbers", "strings", "booleans", "dates", "datetimes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    BOOLEANS_FIELD_NUMBER: _ClassVar[int]
    DATES_FIELD_NUMBER: _ClassVar[int]
    DATETIMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    numbers: NumberValues
    strings: StringValues
    booleans: BooleanValues
    dates: DateValues
    datetimes: DatetimeValues
    def __init__(self, name: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ..., numbers: _Optional[_Union[NumberValues, _Mapping]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., booleans: _Optional[_Union[BooleanValues, _Mapping]] = ..., dates: _Optional[_Union[DateValues, _Mapping]] = ..., datetimes: _Optional[_Union[DatetimeValues, _Mapping]] = ...) -> None: ...

class NumberValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class StringValues(_message.Message):
    __slots__ = ("entries", "codes")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[str]
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, entries: _Optional[_Iterable[str]] = ..., codes: _Optional[_Iterable[int]] = ...) -> None: ...

class BooleanValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class DateValues(_message.Message):
    __slots__ = ("days",)
    DAYS_FIELD_NUMBER: _ClassVar[int]
    days: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, days: _Optional[_Iterable[int]] = ...) -> None: ...

class DatetimeValues(_message.Message):
    __slots__ = ("times_ms",)
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    times_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, times_ms: _Optional[_Iterable[int]] = ...) -> None: ...

class IngestBatchResponse(_message.Message):
    __slots__ = ("accepted", "duplicates", "rejections", "version", "column_rejections")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMN_REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    duplicates: int
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    version: int
    column_rejections: _containers.RepeatedCompositeFieldContainer[ColumnsRejection]
    def __init__(self, accepted: _Optional[int] = ..., duplicates: _Optional[int] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., version: _Optional[int] = ..., column_rejections: _Optional[_Iterable[_Union[ColumnsRejection, _Mapping]]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("identify", "track", "page", "delete_user")
    IDENTIFY_FIELD_NUMBER: _ClassVar[int]
    TRACK_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    DELETE_USER_FIELD_NUMBER: _ClassVar[int]
    identify: Identify
    track: Track
    page: Page
    delete_user: DeleteUser
    def __init__(self, identify: _Optional[_Union[Identify, _Mapping]] = ..., track: _Optional[_Union[Track, _Mapping]] = ..., page: _Optional[_Union[Page, _Mapping]] = ..., delete_user: _Optional[_Union[DeleteUser, _Mapping]] = ...) -> None: ...

class Identify(_message.Message):
    __slots__ = ("user_id", "traits", "timestamp", "message_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TRAITS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    traits: _struct_pb2.Struct
    timestamp: _timestamp_pb2.Timestamp
    message_id: str
    def __init__(self, user_id: _Optional[str] = ..., traits: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message_id: _Optional[str] = ...) -> None: ...

class Track(_message.Message):
    __slots__ = ("user_id", "event", "properties", "timestamp", "message_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    event: str
    properties: _struct_pb2.Struct
    timestamp: _timestamp_pb2.Timestamp
    message_id: str
    def __init__(self, user_id: _Optional[str] = ..., event: _Optional[str] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message_id: _Optional[str] = ...) -> None: ...

class Page(_message.Message):
    __slots__ = ("user_id", "name", "properties", "timestamp", "message_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    name: str
    properties: _struct_pb2.Struct
    timestamp: _timestamp_pb2.Timestamp
    message_id: str
    def __init__(self, user_id: _Optional[str] = ..., name: _Optional[str] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message_id: _Optional[str] = ...) -> None: ...

class DeleteUser(_message.Message):
    __slots__ = ("user_id", "message_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    message_id: str
    def __init__(self, user_id: _Optional[str] = ..., message_id: _Optional[str] = ...) -> None: ...

class ColumnsRejection(_message.Message):
    __slots__ = ("columns", "row", "name", "reason")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    columns: int
    row: int
    name: str
    reason: str
    def __init__(self, columns: _Optional[int] = ..., row: _Optional[int] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("operation", "name", "reason")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    operation: int
    name: str
    reason: str
    def __init__(self, operation: _Optional[int] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
