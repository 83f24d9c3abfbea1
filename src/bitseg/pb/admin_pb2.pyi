import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSnapshotRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class CreateBackupRequest(_message.Message):
    __slots__ = ("directory",)
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    directory: str
    def __init__(self, directory: _Optional[str] = ...) -> None: ...

class CreateBackupResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("version", "size_bytes", "elapsed")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    version: int
    size_bytes: int
    elapsed: _duration_pb2.Duration
    def __init__(self, version: _Optional[int] = ..., size_bytes: _Optional[int] = ..., elapsed: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetStatisticsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatisticsResponse(_message.Message):
    __slots__ = ("statistics", "timezone")
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    statistics: Statistics
    timezone: str
    def __init__(self, statistics: _Optional[_Union[Statistics, _Mapping]] = ..., timezone: _Optional[str] = ...) -> None: ...

class Statistics(_message.Message):
    __slots__ = ("version", "users", "events", "user_bytes", "event_bytes", "attribute_bytes", "materialised_conditions", "materialised_bytes", "materialised_hits", "materialised_refreshes", "materialised_misses", "snapshot_bytes", "journal_bytes", "snapshot_time", "journal_time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    USER_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MATERIALISED_CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    MATERIALISED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MATERIALISED_HITS_FIELD_NUMBER: _ClassVar[int]
    MATERIALISED_REFRESHES_FIELD_NUMBER: _ClassVar[int]
    MATERIALISED_MISSES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    users: int
    events: int
    user_bytes: int
    event_bytes: int
    attribute_bytes: int
    materialised_conditions: int
    materialised_bytes: int
    materialised_hits: int
    materialised_refreshes: int
    materialised_misses: int
    snapshot_bytes: int
    journal_bytes: int
    snapshot_time: _timestamp_pb2.Timestamp
    journal_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., users: _Optional[int] = ..., events: _Optional[int] = ..., user_bytes: _Optional[int] = ..., event_bytes: _Optional[int] = ..., attribute_bytes: _Optional[int] = ..., materialised_conditions: _Optional[int] = ..., materialised_bytes: _Optional[int] = ..., materialised_hits: _Optional[int] = ..., materialised_refreshes: _Optional[int] = ..., materialised_misses: _Optional[int] = ..., snapshot_bytes: _Optional[int] = ..., journal_bytes: _Optional[int] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., journal_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
