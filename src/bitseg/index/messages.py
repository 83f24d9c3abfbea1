"""Message ids seen before, within a window of so many messages."""

from collections.abc import Mapping
from typing import Any

# Two generations of this size: at least the last so many message ids are remembered, at most twice as many.
WINDOW_MESSAGES = 4_000_000


class SeenMessages:
    """Remembers at least the last `window` message ids, in two generations of which the older is dropped whole."""

    def __init__(self, window: int = WINDOW_MESSAGES) -> None:
        self._window = window
        self._recent: set[str] = set()
        self._older: set[str] = set()

    def is_repeated(self, message_id: str) -> bool:
        """Whether the id was met before; from here on it was."""
        if message_id in self._recent or message_id in self._older:
            return True
        if len(self._recent) >= self._window:
            self._older = self._recent
            self._recent = set()
        self._recent.add(message_id)
        return False

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        return {"recent": list(self._recent), "older": list(self._older)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "SeenMessages":
        seen = cls()
        seen._recent = set(state["recent"])
        seen._older = set(state["older"])
        return seen
