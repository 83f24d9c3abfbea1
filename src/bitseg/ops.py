"""The operations under their module name in 0.1, for old programs. Other programs import them from `bitseg`."""

from collections.abc import Mapping
from typing import Any

from bitseg.columns import Columns, Rejection
from bitseg.operations import Delete, Identify, Operation, Page, Track

__all__ = ["Columns", "Delete", "Identify", "Operation", "Rejection", "Track", "page"]


def page(
    user_id: str, name: str | None, properties: Mapping[str, Any], timestamp_ms: int, message_id: str | None = None
) -> Page:
    """The view of a page; the same as the class `Page`."""
    return Page(user_id, name, properties, timestamp_ms, message_id)
