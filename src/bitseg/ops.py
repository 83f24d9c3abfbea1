"""The operations under the module's name of 0.1, for programs written for 0.1. Others import them from `bitseg`."""

from collections.abc import Mapping
from typing import Any

from bitseg.columns import Columns, Rejection
from bitseg.operations import Delete, Identify, Operation, Page, Track

__all__ = ["Columns", "Delete", "Identify", "Operation", "Rejection", "Track", "page"]


def page(
    user_id: str, name: str | None, properties: Mapping[str, Any], timestamp_ms: int, message_id: str | None = None
) -> Page:
    """The view of a page; the class `Page` makes the same."""
    return Page(user_id, name, properties, timestamp_ms, message_id)
