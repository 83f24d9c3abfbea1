"""JSONL in the Segment spec: one identify, track, page or delete call per line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from bitseg.calendar import Calendar
from bitseg.formats.base import Batch, Reject, opened, parse_iso
from bitseg.operations import Delete, Identify, Operation, Page, Track

MAX_LINE_BYTES = 2**20
BATCH_LINES = 10_000
BATCH_BYTES = 4 * 2**20


_TEXT_OR_NONE = (str, type(None))


class _BadLineError(ValueError):
    """Why a line is not an operation."""


def read_jsonl(path: Path, calendar: Calendar, now_ms: int) -> Iterator[Batch]:
    """Batches of a file; `now_ms` is the time of an identify without a timestamp.

    Times without an offset are local to the calendar's zone. Raises ImportFileError if the file cannot be read.
    """
    operations: list[Operation] = []
    lines: list[int] = []
    rejects: list[Reject] = []
    size = 0
    with opened(path) as (file, position):
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            size += len(line)
            try:
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                    raise _BadLineError(f"the line is longer than {MAX_LINE_BYTES:,} bytes")
                if line.isspace():
                    continue
                operations.append(_operation(line, calendar, now_ms))
                lines.append(number)
            except _BadLineError as error:
                rejects.append(Reject(number, str(error), text=line.decode(errors="replace").rstrip("\n")))
            if len(lines) + len(rejects) >= BATCH_LINES or size >= BATCH_BYTES:
                yield Batch(operations, lines, rejects=rejects, bytes_read=position())
                operations, lines, rejects, size = [], [], [], 0
        yield Batch(operations, lines, rejects=rejects, bytes_read=position())


def _operation(line: bytes, calendar: Calendar, now_ms: int) -> Operation:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _BadLineError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise _BadLineError("not a JSON object")
    kind = record.get("type")
    if kind == "track":
        user_id, event, properties = record.get("userId"), record.get("event"), record.get("properties")
        message_id = record.get("messageId")
        # The fast path for nearly every line; the others are checked below.
        if type(user_id) is type(event) is str and type(properties) is dict and type(message_id) in _TEXT_OR_NONE:
            return Track(user_id, event, properties, _timestamp(record, calendar, None), message_id or None)
    user_id = _user_id(record)
    if kind == "track":
        event = record.get("event")
        if not isinstance(event, str):
            raise _BadLineError("event is missing or not a string")
        return Track(
            user_id, event, _object(record, "properties"), _timestamp(record, calendar, None), _message_id(record)
        )
    if kind == "identify":
        timestamp_ms = _timestamp(record, calendar, now_ms)
        return Identify(user_id, _object(record, "traits"), timestamp_ms, _message_id(record))
    if kind == "page":
        name = record.get("name")
        if name is not None and not isinstance(name, str):
            raise _BadLineError("name is not a string")
        timestamp_ms = _timestamp(record, calendar, None)
        return Page(user_id, name, _object(record, "properties"), timestamp_ms, _message_id(record))
    if kind == "delete":
        return Delete(user_id, _message_id(record))
    raise _BadLineError(f"type is {kind!r}, not identify, track, page or delete")


def _user_id(record: dict[str, Any]) -> str:
    user_id = record.get("userId")
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        return str(user_id)
    raise _BadLineError("userId is missing or not a string")


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadLineError(f"{name} is not an object")
    return value


def _timestamp(record: dict[str, Any], calendar: Calendar, default_ms: int | None) -> int:
    text: Any = record.get("timestamp")
    if text is None and default_ms is not None:
        return default_ms
    try:
        return parse_iso(text, calendar)
    except (TypeError, ValueError):
        raise _BadLineError("timestamp is missing or not an ISO-8601 datetime") from None


def _message_id(record: dict[str, Any]) -> str | None:
    message_id = record.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        raise _BadLineError("messageId is not a string")
    return message_id or None
