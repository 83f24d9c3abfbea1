"""Row operations, which callers write. They have their own timestamps, so that replay reads no clock.

They are named tuples, since these are created much faster than frozen dataclasses.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

PAGE_VIEWED = "Page Viewed"


class Identify(NamedTuple):
    """Sets attributes of a user; None unsets an attribute."""

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


class Page(NamedTuple):
    """Records that a user viewed a page: the page call of the Segment spec.

    It is applied as the event "Page Viewed". The name of the page, if it has one, becomes the property `name`.
    """

    user_id: str
    name: str | None
    properties: Mapping[str, Any]
    timestamp_ms: int
    message_id: str | None = None

    def as_track(self) -> Track:
        """The event that stands for the page view."""
        properties = {**self.properties, "name": self.name} if self.name else self.properties
        return Track(self.user_id, PAGE_VIEWED, properties, self.timestamp_ms, self.message_id)


class Delete(NamedTuple):
    """Removes a user with all attributes and events."""

    user_id: str
    message_id: str | None = None


Operation = Identify | Track | Page | Delete
