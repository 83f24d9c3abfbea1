"""The calls of saved segments and static lists with a single answer, one function per call."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from bitseg.client import convert
from bitseg.client.calls import CATALOG
from bitseg.client.unary import Call, Query
from bitseg.entries import SavedSegment, StaticList
from bitseg.pb import catalog_pb2
from bitseg.results import NamedPage
from bitseg.wire.saved import from_saved_segment, from_user_list

Labels = Mapping[str, str]

# Segments


def get_segment(name: str) -> Call[SavedSegment]:
    """A saved segment; NotFoundError if no segment has the name."""
    return _segment_call("GetSegment", catalog_pb2.GetSegmentRequest(name=name))


def list_segments(
    *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
) -> Call[NamedPage[SavedSegment]]:
    """A page of the segments whose names contain a text, ignoring case, and that have all the labels."""
    request = catalog_pb2.ListSegmentsRequest(**_search(name_contains, labels, page_size, page_token))

    def page(response: catalog_pb2.ListSegmentsResponse) -> NamedPage[SavedSegment]:
        items = tuple(map(from_saved_segment, response.segments))
        return NamedPage(items, response.next_page_token, response.total_size)

    return Call(CATALOG, "ListSegments", request, page)


def create_segment(
    name: str, query: Query, *, description: str = "", labels: Labels | None = None
) -> Call[SavedSegment]:
    """Save a segment under an unused name; AlreadyExistsError if a segment has it.

    Attributes and events need not exist yet. Raises SegmentSyntaxError, and InvalidSegmentError for a definition that
    is invalid, refers to an unknown segment or list, or refers to itself, directly or through others.
    """
    fields = convert.query_fields(query)
    segment = catalog_pb2.SavedSegment(name=name, **fields, description=description, labels=labels or {})
    return _segment_call("CreateSegment", catalog_pb2.CreateSegmentRequest(segment=segment), query)


def save_segment(
    name: str,
    query: Query,
    *,
    description: str | None = None,
    labels: Labels | None = None,
    etag: str = "",
) -> Call[SavedSegment]:
    """Save a segment under a name, replacing an existing definition; description and labels stay unless given.

    With an `etag`, NotFoundError if no segment has the name.
    """
    request = _segment_update(name, query, description, labels, etag)
    request.allow_missing = True
    return _segment_call("UpdateSegment", request, query)


def update_segment(
    name: str,
    *,
    query: Query | None = None,
    description: str | None = None,
    labels: Labels | None = None,
    etag: str = "",
) -> Call[SavedSegment]:
    """Change the given fields of a segment; NotFoundError if no segment has the name."""
    return _segment_call("UpdateSegment", _segment_update(name, query, description, labels, etag), query)


def rename_segment(name: str, new_name: str, *, etag: str = "") -> Call[SavedSegment]:
    """Rename a segment to an unused name, also in the segments that refer to it."""
    request = catalog_pb2.RenameSegmentRequest(name=name, new_name=new_name, etag=etag)
    return _segment_call("RenameSegment", request)


def clone_segment(name: str, new_name: str) -> Call[SavedSegment]:
    """Save a copy of a segment, with its description and labels, under an unused name."""
    return _segment_call("CloneSegment", catalog_pb2.CloneSegmentRequest(name=name, new_name=new_name))


def delete_segment(name: str, *, etag: str = "") -> Call[None]:
    """Delete a segment; NotFoundError if no segment has the name, InUseError if others refer to it. Users stay."""
    return Call(CATALOG, "DeleteSegment", catalog_pb2.DeleteSegmentRequest(name=name, etag=etag), lambda _: None)


# Lists


def get_list(name: str) -> Call[StaticList]:
    """A list; NotFoundError if no list has the name."""
    return _list_call("GetList", catalog_pb2.GetListRequest(name=name))


def list_lists(
    *, name_contains: str = "", labels: Labels | None = None, page_size: int = 0, page_token: str = ""
) -> Call[NamedPage[StaticList]]:
    """A page of the lists whose names contain a text, ignoring case, and that have all the labels."""
    request = catalog_pb2.ListListsRequest(**_search(name_contains, labels, page_size, page_token))

    def page(response: catalog_pb2.ListListsResponse) -> NamedPage[StaticList]:
        return NamedPage(tuple(map(from_user_list, response.lists)), response.next_page_token, response.total_size)

    return Call(CATALOG, "ListLists", request, page)


def create_list(
    name: str, user_ids: Iterable[str] = (), *, description: str = "", labels: Labels | None = None
) -> Call[StaticList]:
    """Save user ids under an unused name; AlreadyExistsError if a list has it.

    Ids of unknown users count once the users exist. Raises InvalidArgumentError for a bad name or id. A
    client sends the ids in one message; `save_list` has no such limit.
    """
    request = catalog_pb2.CreateListRequest(
        list=catalog_pb2.UserList(name=name, description=description, labels=labels or {}),
        user_ids=catalog_pb2.UserIds(user_ids=user_ids),
    )
    return _list_call("CreateList", request)


def update_list(
    name: str,
    *,
    user_ids: Iterable[str] | None = None,
    description: str | None = None,
    labels: Labels | None = None,
    etag: str = "",
) -> Call[StaticList]:
    """Change the given fields of a list; NotFoundError if no list has the name."""
    request = catalog_pb2.UpdateListRequest(
        list=catalog_pb2.UserList(name=name, description=description, labels=labels, etag=etag),
        update_mask=_mask({"description": description, "labels": labels}),
        user_ids=None if user_ids is None else catalog_pb2.UserIds(user_ids=user_ids),
    )
    return _list_call("UpdateList", request)


def rename_list(name: str, new_name: str, *, etag: str = "") -> Call[StaticList]:
    """Rename a list to an unused name, also in the segments that refer to it."""
    return _list_call("RenameList", catalog_pb2.RenameListRequest(name=name, new_name=new_name, etag=etag))


def delete_list(name: str, *, etag: str = "") -> Call[None]:
    """Delete a list; NotFoundError if no list has the name, InUseError if segments refer to it. Users stay."""
    return Call(CATALOG, "DeleteList", catalog_pb2.DeleteListRequest(name=name, etag=etag), lambda _: None)


def _segment_update(
    name: str, query: Query | None, description: str | None, labels: Labels | None, etag: str
) -> catalog_pb2.UpdateSegmentRequest:
    definition = {} if query is None else convert.query_fields(query)
    return catalog_pb2.UpdateSegmentRequest(
        segment=catalog_pb2.SavedSegment(name=name, **definition, description=description, labels=labels, etag=etag),
        update_mask=_mask({**definition, "description": description, "labels": labels}),
    )


def _segment_call(method: str, request: Message, query: Query | None = None) -> Call[SavedSegment]:
    return Call(CATALOG, method, request, lambda response: from_saved_segment(response.segment), query)


def _list_call(method: str, request: Message) -> Call[StaticList]:
    return Call(CATALOG, method, request, lambda response: from_user_list(response.list))


def _search(name_contains: str, labels: Labels | None, page_size: int, page_token: str) -> dict[str, Any]:
    return {
        "name_contains": name_contains,
        "labels": labels or {},
        "page_size": convert.size(page_size),
        "page_token": page_token,
    }


def _mask(given: Mapping[str, object]) -> FieldMask:
    return FieldMask(paths=[name for name, value in given.items() if value is not None])
