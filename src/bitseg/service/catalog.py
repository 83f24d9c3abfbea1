"""CatalogService: check, call, convert."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from bitseg.engine.catalog import CatalogApi
from bitseg.errors import InvalidArgumentError, OverloadedError
from bitseg.formats.csv import read_user_ids
from bitseg.pb import catalog_pb2, catalog_pb2_grpc
from bitseg.service.readiness import Readiness
from bitseg.wire.saved import masked, query_of, to_saved_segment, to_user_list

# This number of ids of ordinary length takes a gigabyte.
MAX_LIST_USERS = 10_000_000

# For this time a broken connection may look like the end of an upload.
_SETTLING_SECONDS = 1.0

_SEGMENT_FIELDS = ("expression", "definition", "description", "labels")
_LIST_FIELDS = ("description", "labels")


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Manages the saved segments and static lists of an engine."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    @property
    def _catalog(self) -> CatalogApi:
        return self._readiness.engine.catalog

    def CreateSegment(  # noqa: N802
        self, request: catalog_pb2.CreateSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.CreateSegmentResponse:
        wanted = request.segment
        query = query_of(wanted)
        if query is None:
            raise InvalidArgumentError("the segment has no definition", hint="set expression or definition")
        created = self._catalog.create_segment(
            wanted.name, query, description=wanted.description, labels=dict(wanted.labels)
        )
        return catalog_pb2.CreateSegmentResponse(segment=to_saved_segment(created))

    def GetSegment(  # noqa: N802
        self, request: catalog_pb2.GetSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.GetSegmentResponse:
        return catalog_pb2.GetSegmentResponse(segment=to_saved_segment(self._catalog.get_segment(request.name)))

    def ListSegments(  # noqa: N802
        self, request: catalog_pb2.ListSegmentsRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.ListSegmentsResponse:
        page = self._catalog.list_segments(**_search(request))
        return catalog_pb2.ListSegmentsResponse(
            segments=[to_saved_segment(segment, with_definition=False) for segment in page.items],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    def UpdateSegment(  # noqa: N802
        self, request: catalog_pb2.UpdateSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.UpdateSegmentResponse:
        wanted = request.segment
        fields = masked(_mask(request), _SEGMENT_FIELDS, lambda name: _is_set(wanted, name))
        # Of expression and definition, one that is not in the mask is ignored.
        for other in {"expression", "definition"} - {*fields}:
            wanted.ClearField(other)
        query = query_of(wanted)
        if query is None and {"expression", "definition"} & {*fields}:
            raise InvalidArgumentError("the segment has no definition", hint="set expression or definition")
        details = _details(wanted, fields)
        if not request.allow_missing:
            updated = self._catalog.update_segment(wanted.name, query=query, etag=wanted.etag, **details)
        elif query is not None:
            updated = self._catalog.save_segment(wanted.name, query, etag=wanted.etag, **details)
        else:
            raise InvalidArgumentError("allow_missing needs a definition", hint="set expression or definition")
        return catalog_pb2.UpdateSegmentResponse(segment=to_saved_segment(updated))

    def RenameSegment(  # noqa: N802
        self, request: catalog_pb2.RenameSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.RenameSegmentResponse:
        renamed = self._catalog.rename_segment(request.name, request.new_name, etag=request.etag)
        return catalog_pb2.RenameSegmentResponse(segment=to_saved_segment(renamed))

    def CloneSegment(  # noqa: N802
        self, request: catalog_pb2.CloneSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.CloneSegmentResponse:
        clone = self._catalog.clone_segment(request.name, request.new_name)
        return catalog_pb2.CloneSegmentResponse(segment=to_saved_segment(clone))

    def DeleteSegment(  # noqa: N802
        self, request: catalog_pb2.DeleteSegmentRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.DeleteSegmentResponse:
        self._catalog.delete_segment(request.name, etag=request.etag)
        return catalog_pb2.DeleteSegmentResponse()

    def CreateList(  # noqa: N802
        self, request: catalog_pb2.CreateListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.CreateListResponse:
        wanted = request.list
        created = self._catalog.create_list(
            wanted.name, _user_ids(request) or (), description=wanted.description, labels=dict(wanted.labels)
        )
        return catalog_pb2.CreateListResponse(list=to_user_list(created))

    def UploadList(  # noqa: N802
        self, request_iterator: Iterator[catalog_pb2.UploadListRequest], context: grpc.ServicerContext
    ) -> catalog_pb2.UploadListResponse:
        opening = next(request_iterator, None)
        if opening is None or opening.WhichOneof("part") != "list":
            raise InvalidArgumentError("the first message must name the list")
        wanted, says_when_complete = opening.list, opening.HasField("is_complete")
        user_ids, is_complete = ([], True) if opening.is_complete else _uploaded(request_iterator)
        if not is_complete:
            _require_whole(says_when_complete, context)
        saved = self._catalog.save_list(
            wanted.name,
            user_ids,
            description=wanted.description or None,
            labels=dict(wanted.labels) or None,
            etag=wanted.etag,
        )
        return catalog_pb2.UploadListResponse(list=to_user_list(saved))

    def GetList(  # noqa: N802
        self, request: catalog_pb2.GetListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.GetListResponse:
        return catalog_pb2.GetListResponse(list=to_user_list(self._catalog.get_list(request.name)))

    def ListLists(  # noqa: N802
        self, request: catalog_pb2.ListListsRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.ListListsResponse:
        page = self._catalog.list_lists(**_search(request))
        return catalog_pb2.ListListsResponse(
            lists=map(to_user_list, page.items), next_page_token=page.next_page_token, total_size=page.total
        )

    def UpdateList(  # noqa: N802
        self, request: catalog_pb2.UpdateListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.UpdateListResponse:
        wanted = request.list
        fields = masked(_mask(request), _LIST_FIELDS, lambda name: _is_set(wanted, name))
        user_ids, details = _user_ids(request), _details(wanted, fields)
        if not request.allow_missing:
            updated = self._catalog.update_list(wanted.name, user_ids=user_ids, etag=wanted.etag, **details)
        elif user_ids is not None:
            updated = self._catalog.save_list(wanted.name, user_ids, etag=wanted.etag, **details)
        else:
            raise InvalidArgumentError("allow_missing needs the users", hint="set user_ids or csv")
        return catalog_pb2.UpdateListResponse(list=to_user_list(updated))

    def RenameList(  # noqa: N802
        self, request: catalog_pb2.RenameListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.RenameListResponse:
        renamed = self._catalog.rename_list(request.name, request.new_name, etag=request.etag)
        return catalog_pb2.RenameListResponse(list=to_user_list(renamed))

    def DeleteList(  # noqa: N802
        self, request: catalog_pb2.DeleteListRequest, context: grpc.ServicerContext
    ) -> catalog_pb2.DeleteListResponse:
        self._catalog.delete_list(request.name, etag=request.etag)
        return catalog_pb2.DeleteListResponse()


def _search(request: catalog_pb2.ListSegmentsRequest | catalog_pb2.ListListsRequest) -> dict[str, Any]:
    return {
        "name_contains": request.name_contains,
        "labels": dict(request.labels),
        "page_size": request.page_size,
        "page_token": request.page_token,
    }


def _mask(request: catalog_pb2.UpdateSegmentRequest | catalog_pb2.UpdateListRequest) -> FieldMask | None:
    return request.update_mask if request.HasField("update_mask") else None


def _is_set(message: catalog_pb2.SavedSegment | catalog_pb2.UserList, name: str) -> bool:
    return any(field.name == name for field, _ in message.ListFields())


def _details(message: catalog_pb2.SavedSegment | catalog_pb2.UserList, fields: Iterable[str]) -> dict[str, Any]:
    """Description and labels; None for one that is not in the fields."""
    return {
        "description": message.description if "description" in fields else None,
        "labels": dict(message.labels) if "labels" in fields else None,
    }


def _user_ids(request: catalog_pb2.CreateListRequest | catalog_pb2.UpdateListRequest) -> Iterable[str] | None:
    match request.WhichOneof("users"):
        case "user_ids":
            return request.user_ids.user_ids
        case "csv":
            return read_user_ids(request.csv.content, request.csv.user_column or None)
    return None


def _uploaded(requests: Iterator[catalog_pb2.UploadListRequest]) -> tuple[list[str], bool]:
    """The user ids of an upload, and whether its last message said that it is complete."""
    user_ids: list[str] = []
    for request in requests:
        part = request.WhichOneof("part")
        if part == "list" or (part is None and not request.is_complete):
            raise InvalidArgumentError("all messages after the first must have user ids")
        user_ids += request.user_ids.user_ids
        if len(user_ids) > MAX_LIST_USERS:
            raise OverloadedError(f"the list has more than {MAX_LIST_USERS:,} users, which is the limit")
        if request.is_complete:
            return user_ids, True
    return user_ids, False


def _require_whole(says_when_complete: bool, context: grpc.ServicerContext) -> None:
    """Raise InvalidArgumentError for an upload that ended without the message that completes it.

    A broken stream looks like the end of the upload until gRPC cancels the call shortly after. An upload of a caller
    that does not send `is_complete` is therefore applied only if the call is not cancelled within a moment.
    """
    if not says_when_complete:
        is_gone = threading.Event()
        if context.add_callback(is_gone.set) and not is_gone.wait(_SETTLING_SECONDS) and context.is_active():
            return
    raise InvalidArgumentError(
        "the upload ended before it was complete; the list is unchanged",
        hint="set is_complete to false in the first message and to true in the last",
    )
