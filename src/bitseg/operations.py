"""Row operations: what callers write. They carry their own timestamps, so that replay reads no clock.

They are named tuples, which are made much faster than frozen dataclasses.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

PAGE_VIEWED = "Page Viewed"


class Identify(NamedTuple):
    """Sets attributes of a user; a None unsets."""

    user_id: str
    traits: Mapping[str, Any]
    timestamp_ms: int
    message_id: str | None = None


class Track(NamedTuple):
    """Records an event of a user."""

    user_id: str
    event: str
    properties: Mapping[str, Any]
    timestamp_ms: int
    message_id: str | None = None


class Delete(NamedTuple):
    """Removes a user with attributes and events."""

    user_id: str
    message_id: str | None = None


Operation = Identify | Track | Delete


def page(
    user_id: str, name: str | None, properties: Mapping[str, Any], timestamp_ms: int, message_id: str | None = None
) -> Track:
    """The Segment spec's page call as the event "Page Viewed" with the page's name as property `name`."""
    named = {**properties, "name": name} if name else properties
    return Track(user_id, PAGE_VIEWED, named, timestamp_ms, message_id)
