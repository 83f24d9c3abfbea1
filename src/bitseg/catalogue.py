"""Named segments and how they refer to each other."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from bitseg.errors import InUseError, InvalidSegmentError, NotFoundError
from bitseg.ops import MAX_NAME_BYTES, malformed_text
from bitseg.segment import format, parse
from bitseg.segment.nodes import Condition, InList, InSegment, children

MAX_SEGMENTS = 10_000
# Levels of a segment and of those it refers to, taken together; explanations carry as many nested messages, of which
# protobuf runtimes read 100.
MAX_NESTED_DEPTH = 90


class Catalogue(Mapping[str, Condition]):
    """Saved segments by name. References never form a cycle, and what is referred to is there.

    `revision` grows with every change.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._segments: dict[str, Condition] = {}

    def __getitem__(self, name: str) -> Condition:
        return self._segments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def check(self, name: str, condition: Condition, lists: Container[str]) -> None:
        """Raise InvalidSegmentError for what cannot be saved.

        That is a bad name, a reference to a segment or a list that is not there, and one that leads back to the segment
        itself.
        """
        reason = malformed_text(name, "segment name", MAX_NAME_BYTES)
        if reason is None and name not in self._segments and len(self._segments) >= MAX_SEGMENTS:
            reason = f"there are {MAX_SEGMENTS:,} segments already, the limit"
        if reason is not None:
            raise InvalidSegmentError(reason)
        for each in sorted(references(condition)):
            if each != name and each not in self._segments:
                raise InvalidSegmentError(f'there is no segment "{each}"', hint="save it first")
            path = self._path(each, name)
            if path is not None:
                round_trip = " → ".join(f'"{step}"' for step in (name, *path))
                raise InvalidSegmentError(f"the segment would refer to itself: {round_trip}")
        for leaf in leaves(condition):
            if isinstance(leaf, InList) and leaf.name not in lists:
                raise InvalidSegmentError(f'there is no list "{leaf.name}"', hint="save it first")
        changed = {**self._segments, name: condition}
        # Also those that refer to this one grow with it.
        depths: dict[str, int] = {}
        if any(_depth(InSegment(each), changed, depths) > MAX_NESTED_DEPTH + 1 for each in changed):
            raise InvalidSegmentError(
                f"a segment and those it refers to would be nested more than {MAX_NESTED_DEPTH} levels deep"
            )

    def save(self, name: str, condition: Condition) -> None:
        """Keep a segment that was checked under a name, in place of the one that had it."""
        self._segments = {**self._segments, name: condition}
        self.revision += 1

    def require_unused(self, name: str) -> None:
        """Raise NotFoundError if there is no such segment, InUseError while others refer to it."""
        if name not in self._segments:
            raise NotFoundError(f'there is no segment "{name}"')
        self._require_unused(f'the segment "{name}"', InSegment(name))

    def delete(self, name: str) -> None:
        """Forget a segment that no other refers to."""
        del self._segments[name]
        self.revision += 1

    def require_list_unused(self, name: str) -> None:
        """Raise InUseError while segments refer to a list."""
        self._require_unused(f'the list "{name}"', InList(name))

    def _require_unused(self, subject: str, reference: Condition) -> None:
        users = sorted(each for each, condition in self._segments.items() if reference in leaves(condition))
        if users:
            named = ", ".join(f'"{user}"' for user in users)
            raise InUseError(f"{subject} is used by {named}", hint="change or delete those first")

    def _path(self, start: str, goal: str) -> tuple[str, ...] | None:
        """Names that lead from a segment to another by reference, both included; None if nothing does."""
        paths: dict[str, tuple[str, ...]] = {start: (start,)}
        pending = [start]
        while pending:
            name = pending.pop()
            if name == goal:
                return paths[name]
            for each in sorted(references(self._segments[name]) - paths.keys()):
                paths[each] = (*paths[name], each)
                pending.append(each)
        return None

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot: segments as text."""
        return {name: format(condition) for name, condition in self._segments.items()}

    def restore(self, state: Mapping[str, str]) -> None:
        """Take back what `state` gave."""
        self._segments = {name: parse(text) for name, text in state.items()}
        self.revision += 1


def _depth(condition: Condition, segments: Mapping[str, Condition], known: dict[str, int]) -> int:
    """Levels of a condition and of what it refers to; `known` keeps those of segments already measured."""
    if isinstance(condition, InSegment):
        if condition.name not in known:
            known[condition.name] = _depth(segments[condition.name], segments, known)
        return 1 + known[condition.name]
    return 1 + max((_depth(each, segments, known) for each in children(condition)), default=0)


def references(condition: Condition) -> set[str]:
    """The names of the segments that a condition refers to itself."""
    return {leaf.name for leaf in leaves(condition) if isinstance(leaf, InSegment)}


def leaves(condition: Condition) -> set[Condition]:
    """The conditions of a tree that have none below them."""
    below = children(condition)
    return set().union(*map(leaves, below)) if below else {condition}
