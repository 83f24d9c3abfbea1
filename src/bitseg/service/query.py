"""QueryService: check, call, convert."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import grpc

from bitseg.engine.engine import Query
from bitseg.errors import InvalidArgumentError, SegmentError
from bitseg.pb import query_pb2, query_pb2_grpc
from bitseg.results import CountResult, Evaluation, Members
from bitseg.segment.nodes import InSegment
from bitseg.service.readiness import Readiness
from bitseg.wire.errors import to_status
from bitseg.wire.explanations import to_response
from bitseg.wire.segments import from_message
from bitseg.wire.timestamps import to_datetime, to_duration
from bitseg.wire.users import to_segments_response, to_user_response

Request = (
    query_pb2.CountRequest
    | query_pb2.SegmentQuery
    | query_pb2.EvaluateRequest
    | query_pb2.StreamMembersRequest
    | query_pb2.ExplainUserRequest
)


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Answers segments from an engine."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def Count(  # noqa: N802
        self, request: query_pb2.CountRequest, context: grpc.ServicerContext
    ) -> query_pb2.CountResponse:
        result = self._readiness.engine.count(self._query(request), _as_of(request))
        return query_pb2.CountResponse(**_shared(result))

    def BatchCount(  # noqa: N802
        self, request: query_pb2.BatchCountRequest, context: grpc.ServicerContext
    ) -> query_pb2.BatchCountResponse:
        started = time.perf_counter()
        outcomes, version = self._readiness.engine.count_all([*map(_query, request.queries)], _as_of(request))
        return query_pb2.BatchCountResponse(
            results=map(_batch_result, outcomes), version=version, elapsed=to_duration(time.perf_counter() - started)
        )

    def Evaluate(  # noqa: N802
        self, request: query_pb2.EvaluateRequest, context: grpc.ServicerContext
    ) -> query_pb2.EvaluateResponse:
        result = self._readiness.engine.evaluate(
            self._query(request),
            _as_of(request),
            sample_size=request.sample_size,
            include_bitmap=request.include_bitmap,
        )
        return query_pb2.EvaluateResponse(**_shared(result), sample_user_ids=result.sample, bitmap=result.bitmap or b"")

    def StreamMembers(  # noqa: N802
        self, request: query_pb2.StreamMembersRequest, context: grpc.ServicerContext
    ) -> Iterator[query_pb2.StreamMembersResponse]:
        page_fields, members = self._members(request)
        warnings = members.warnings
        for fields in _at_least_one(page_fields):
            yield query_pb2.StreamMembersResponse(
                **fields,
                total=members.total,
                version=members.version,
                warnings=warnings,
                resume_token=members.resume_token,
            )
            warnings = ()

    def ExplainUser(  # noqa: N802
        self, request: query_pb2.ExplainUserRequest, context: grpc.ServicerContext
    ) -> query_pb2.ExplainUserResponse:
        return to_response(self._readiness.engine.explain(request.user_id, self._query(request), _as_of(request)))

    def GetUser(  # noqa: N802
        self, request: query_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> query_pb2.GetUserResponse:
        return to_user_response(self._readiness.engine.user(request.user_id))

    def ListUserSegments(  # noqa: N802
        self, request: query_pb2.ListUserSegmentsRequest, context: grpc.ServicerContext
    ) -> query_pb2.ListUserSegmentsResponse:
        return to_segments_response(self._readiness.engine.user_segments(request.user_id, _as_of(request)))

    def _members(self, request: query_pb2.StreamMembersRequest) -> tuple[Iterator[dict[str, Any]], Members[Any]]:
        """The pages of a request, as the response field for their ids, and the members."""
        engine = self._readiness.engine
        is_resumed = bool(request.resume_token) and request.WhichOneof("query") is None
        query = None if is_resumed else self._query(request)
        options: dict[str, Any] = {"page_size": request.page_size, "resume_token": request.resume_token}
        if request.id_kind == query_pb2.ID_KIND_DENSE:
            dense = engine.dense_members(query, _as_of(request), **options)
            # Protobuf copies Python integers much faster than numpy's.
            return ({"dense_ids": page.tolist()} for page in dense.pages), dense
        members = engine.members(query, _as_of(request), **options)
        return ({"user_ids": page} for page in members.pages), members

    def _query(self, request: Request) -> Query:
        """The query of a request; NotFoundError if it is a saved segment that does not exist."""
        query = _query(request)
        if isinstance(query, InSegment):
            self._readiness.engine.catalog.get_segment(query.name)
        return query


def _query(request: Request) -> Query:
    kind = request.WhichOneof("query")
    if kind == "definition":
        return from_message(request.definition)
    if kind == "expression":
        return request.expression
    if kind == "segment":
        return InSegment(request.segment)
    raise InvalidArgumentError("the request has no query", hint="set expression, definition or segment")


def _batch_result(outcome: CountResult | SegmentError) -> query_pb2.BatchCountResult:
    if isinstance(outcome, CountResult):
        return query_pb2.BatchCountResult(count=outcome.count, warnings=outcome.warnings)
    status = to_status(outcome)
    error = query_pb2.QueryError(code=status.code, message=status.message, details=status.details)
    return query_pb2.BatchCountResult(error=error)


def _as_of(request: Any) -> datetime | None:
    return to_datetime(request.as_of, "as_of") if request.HasField("as_of") else None


def _shared(result: CountResult | Evaluation) -> dict[str, Any]:
    return {
        "count": result.count,
        "version": result.version,
        "elapsed": to_duration(result.elapsed_seconds),
        "warnings": result.warnings,
    }


def _at_least_one(pages: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The fields of all pages, or of one empty page if there is no member, because a caller needs total and version."""
    yield next(pages, {})
    yield from pages
