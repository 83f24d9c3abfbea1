"""Every unary call of the protocol: its method, its request, and what its response means. Shared by both clients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from bitseg.client import convert
from bitseg.client.convert import Query
from bitseg.entries import SavedSegment, StaticList
from bitseg.errors import BitsegError
from bitseg.operations import Operation
from bitseg.pb import admin_pb2, catalog_pb2, ingest_pb2, query_pb2
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    NamedPage,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.wire.explanations import from_response
from bitseg.wire.saved import from_saved_segment, from_user_list
from bitseg.wire.segments import to_message
from bitseg.wire.statistics import from_statistics
from bitseg.wire.users import from_segments_response, from_user_response

QUERY, INGEST, CATALOG, ADMIN = "QueryService", "IngestService", "CatalogService", "AdminService"

Answer = TypeVar("Answer")
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A call to be made. `query` is what an error may point into; one that is not short takes as long as it takes."""

    service: str
    method: str
    request: Message
    answer: Callable[[Any], Answer]
    query: Query | None = None
    is_short: bool = True


def count(query: Query, as_of: datetime | None) -> Call[CountResult]:
    request = query_pb2.CountRequest(**convert.query_fields(query, as_of))
    return Call(QUERY, "Count", request, convert.count_result, query)


def count_all(queries: Sequence[Query], as_of: datetime | None) -> Call[tuple[list[CountResult | BitsegError], int]]:
    request = convert.batch_count_request(queries, as_of)
    return Call(QUERY, "BatchCount", request, lambda response: (convert.batch_counts(response), response.version))


def evaluate(query: Query, as_of: datetime | None, sample_size: int, include_bitmap: bool) -> Call[Evaluation]:
    request = query_pb2.EvaluateRequest(
        **convert.query_fields(query, as_of), sample_size=sample_size, include_bitmap=include_bitmap
    )
    return Call(QUERY, "Evaluate", request, convert.evaluation, query)


def explain(user_id: str, query: Query, as_of: datetime | None) -> Call[UserExplanation]:
    request = query_pb2.ExplainUserRequest(**convert.query_fields(query, as_of), user_id=user_id)
    return Call(QUERY, "ExplainUser", request, from_response, query)


def user(user_id: str) -> Call[UserRecord]:
    return Call(QUERY, "GetUser", query_pb2.GetUserRequest(user_id=user_id), from_user_response)


def user_segments(user_id: str, as_of: datetime | None) -> Call[UserSegments]:
    request = query_pb2.ListUserSegmentsRequest(user_id=user_id, as_of=convert.as_of_timestamp(as_of))
    return Call(QUERY, "ListUserSegments", request, from_segments_response)


def ingest(operations: Sequence[Operation]) -> Call[IngestResult]:
    return Call(INGEST, "IngestBatch", convert.ingest_request(operations), convert.ingest_result)


def ingest_rows(request: ingest_pb2.IngestBatchRequest, rows: Sequence[int]) -> Call[IngestResult]:
    return Call(INGEST, "IngestBatch", request, lambda response: convert.columns_result(response, rows))


def statistics() -> Call[Statistics]:
    request = admin_pb2.GetStatisticsRequest()
    return Call(ADMIN, "GetStatistics", request, lambda response: from_statistics(response.statistics))


def snapshot() -> Call[SnapshotResult]:
    request = admin_pb2.CreateSnapshotRequest()
    return Call(
        ADMIN, "CreateSnapshot", request, lambda response: convert.snapshot_result(response.snapshot), is_short=False
    )


def backup(directory: str | Path) -> Call[SnapshotResult]:
    request = admin_pb2.CreateBackupRequest(directory=str(directory))
    return Call(
        ADMIN, "CreateBackup", request, lambda response: convert.snapshot_result(response.snapshot), is_short=False
    )


# Saved segments


def create_segment(name: str, query: Query, description: str, labels: Labels | None) -> Call[SavedSegment]:
    segment = catalog_pb2.SavedSegment(name=name, **_definition(query), description=description, labels=labels or {})
    return _segment_call("CreateSegment", catalog_pb2.CreateSegmentRequest(segment=segment), query)


def get_segment(name: str) -> Call[SavedSegment]:
    return _segment_call("GetSegment", catalog_pb2.GetSegmentRequest(name=name))


def list_segments(
    name_contains: str, labels: Labels | None, page_size: int, page_token: str
) -> Call[NamedPage[SavedSegment]]:
    request = catalog_pb2.ListSegmentsRequest(
        name_contains=name_contains, labels=labels or {}, page_size=page_size, page_token=page_token
    )

    def page(response: catalog_pb2.ListSegmentsResponse) -> NamedPage[SavedSegment]:
        items = tuple(map(from_saved_segment, response.segments))
        return NamedPage(items, response.next_page_token, response.total_size)

    return Call(CATALOG, "ListSegments", request, page)


def update_segment(
    name: str, query: Query | None, description: str | None, labels: Labels | None, etag: str
) -> Call[SavedSegment]:
    definition = {} if query is None else _definition(query)
    mask = _mask({**definition, "description": description, "labels": labels})
    segment = catalog_pb2.SavedSegment(name=name, **definition, description=description, labels=labels, etag=etag)
    return _segment_call("UpdateSegment", catalog_pb2.UpdateSegmentRequest(segment=segment, update_mask=mask), query)


def rename_segment(name: str, new_name: str, etag: str) -> Call[SavedSegment]:
    request = catalog_pb2.RenameSegmentRequest(name=name, new_name=new_name, etag=etag)
    return _segment_call("RenameSegment", request)


def clone_segment(name: str, new_name: str) -> Call[SavedSegment]:
    return _segment_call("CloneSegment", catalog_pb2.CloneSegmentRequest(name=name, new_name=new_name))


def delete_segment(name: str, etag: str) -> Call[None]:
    return Call(CATALOG, "DeleteSegment", catalog_pb2.DeleteSegmentRequest(name=name, etag=etag), lambda _: None)


# Lists


def create_list(name: str, user_ids: Sequence[str], description: str, labels: Labels | None) -> Call[StaticList]:
    request = catalog_pb2.CreateListRequest(
        list=catalog_pb2.UserList(name=name, description=description, labels=labels or {}),
        user_ids=catalog_pb2.UserIds(user_ids=user_ids),
    )
    return _list_call("CreateList", request)


def get_list(name: str) -> Call[StaticList]:
    return _list_call("GetList", catalog_pb2.GetListRequest(name=name))


def list_lists(
    name_contains: str, labels: Labels | None, page_size: int, page_token: str
) -> Call[NamedPage[StaticList]]:
    request = catalog_pb2.ListListsRequest(
        name_contains=name_contains, labels=labels or {}, page_size=page_size, page_token=page_token
    )

    def page(response: catalog_pb2.ListListsResponse) -> NamedPage[StaticList]:
        return NamedPage(tuple(map(from_user_list, response.lists)), response.next_page_token, response.total_size)

    return Call(CATALOG, "ListLists", request, page)


def update_list(
    name: str, user_ids: Sequence[str] | None, description: str | None, labels: Labels | None, etag: str
) -> Call[StaticList]:
    request = catalog_pb2.UpdateListRequest(
        list=catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag),
        update_mask=_mask({"description": description, "labels": labels}),
        user_ids=None if user_ids is None else catalog_pb2.UserIds(user_ids=user_ids),
    )
    return _list_call("UpdateList", request)


def rename_list(name: str, new_name: str, etag: str) -> Call[StaticList]:
    return _list_call("RenameList", catalog_pb2.RenameListRequest(name=name, new_name=new_name, etag=etag))


def delete_list(name: str, etag: str) -> Call[None]:
    return Call(CATALOG, "DeleteList", catalog_pb2.DeleteListRequest(name=name, etag=etag), lambda _: None)


def _segment_call(method: str, request: Message, query: Query | None = None) -> Call[SavedSegment]:
    return Call(CATALOG, method, request, lambda response: from_saved_segment(response.segment), query)


def _list_call(method: str, request: Message) -> Call[StaticList]:
    return Call(CATALOG, method, request, lambda response: from_user_list(response.list))


def _definition(query: Query) -> dict[str, Any]:
    return {"expression": query} if isinstance(query, str) else {"definition": to_message(query)}


def _mask(given: Mapping[str, object]) -> FieldMask:
    return FieldMask(paths=[name for name, value in given.items() if value is not None])
