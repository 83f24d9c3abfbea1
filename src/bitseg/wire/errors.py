"""Errors as gRPC statuses with details, and back: one table for both directions.

A status carries `google.rpc.ErrorInfo`, whose reason names the class of the error; for an invalid request also
`google.rpc.BadRequest`; and for an error with a position `bitseg.v1.ExpressionError`.
"""

import re

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from bitseg import errors
from bitseg.errors import BitsegError, Position, SegmentError, SegmentSyntaxError
from bitseg.pb import query_pb2

DOMAIN = "bitseg"
# Statuses are sent in headers, for which clients accept 8 KiB; every text occurs up to three times, escaped.
MAX_TEXT_CHARACTERS = 250

STATUS_CODES: dict[type[BitsegError], grpc.StatusCode] = {
    errors.SegmentSyntaxError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidSegmentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownAttributeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TypeMismatchError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownSegmentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownListError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.StaleEtagError: grpc.StatusCode.ABORTED,
    errors.InUseError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.VersionGoneError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.WorkspaceBrokenError: grpc.StatusCode.UNAVAILABLE,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TimeLimitError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.CancelledError: grpc.StatusCode.CANCELLED,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.DirectoryLockedError: grpc.StatusCode.UNAVAILABLE,
    errors.CorruptSnapshotError: grpc.StatusCode.DATA_LOSS,
    errors.CorruptJournalError: grpc.StatusCode.DATA_LOSS,
    errors.DiskFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotDurableError: grpc.StatusCode.UNAVAILABLE,
    errors.UnsupportedFormatError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DataDirectoryError: grpc.StatusCode.UNAVAILABLE,
    errors.InternalError: grpc.StatusCode.INTERNAL,
    errors.ImportFileError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ServerUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.RequestError: grpc.StatusCode.INTERNAL,
}


def _reason(kind: type[BitsegError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__.removesuffix("Error")).upper()


_CLASSES = {_reason(kind): kind for kind in STATUS_CODES}


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"


def to_status(error: BitsegError) -> status_pb2.Status:
    """The status of an error."""
    code = STATUS_CODES[type(error)]
    info = error_details_pb2.ErrorInfo(reason=_reason(type(error)), domain=DOMAIN)
    info.metadata["message"] = _shortened(error.message)
    if error.hint:
        info.metadata["hint"] = _shortened(error.hint)
    details: list[Message] = [info]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        field = "query" if isinstance(error, SegmentError) else "request"
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=_shortened(str(error)))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, SegmentError) and error.position is not None:
        details.append(
            query_pb2.ExpressionError(
                offset=error.position.offset,
                line=error.position.line,
                column=error.position.column,
                expected=error.expected if isinstance(error, SegmentSyntaxError) else (),
                hint=_shortened(error.hint or ""),
            )
        )
    status = status_pb2.Status(code=code.value[0], message=_shortened(str(error)))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_status(status: status_pb2.Status) -> BitsegError:
    """The error of a status; RequestError if it does not name an error of bitseg."""
    info = error_details_pb2.ErrorInfo()
    position: Position | None = None
    expected: tuple[str, ...] = ()
    for detail in status.details:
        located = query_pb2.ExpressionError()
        if detail.Unpack(located):
            position = Position(located.offset, located.line, located.column)
            expected = tuple(located.expected)
        else:
            detail.Unpack(info)
    kind = _CLASSES.get(info.reason) if info.domain == DOMAIN else None
    if kind is None:
        return errors.RequestError(f"{code_pb2.Code.Name(status.code)}: {status.message}")
    message, hint = info.metadata["message"], info.metadata.get("hint")
    if kind is SegmentSyntaxError and position is not None:
        return SegmentSyntaxError(message, position=position, expected=expected, hint=hint)
    if issubclass(kind, SegmentError):
        return kind(message, hint=hint, position=position)
    return kind(message, hint=hint)
