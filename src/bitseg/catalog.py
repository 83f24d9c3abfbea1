"""Saved segments and what is kept of static lists: their names, their details, and how they refer to each other."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from bitseg.entries import Details, SavedSegment, leaves, references
from bitseg.errors import InUseError, InvalidSegmentError, NotFoundError
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.segment.nodes import Condition, InList, InSegment, children
from bitseg.storage.records import CatalogChanged, details_of, pack_details

MAX_SEGMENTS = 10_000
# Levels of a segment and of those it refers to, taken together; explanations carry as many nested messages, of which
# protobuf runtimes read 100.
MAX_NESTED_DEPTH = 90

# Name, description and definition. They hold whatever the events of a workspace are called.
DEFAULT_SEGMENTS = (
    ("Active today", "Did anything today.", "did any event today"),
    ("Active this week", "Did anything in the last 7 days.", "did any event in last 7 days"),
    (
        "New this week",
        "Did something for the first time in the last 7 days.",
        "did any event for the first time in last 7 days",
    ),
    (
        "Regulars",
        "Did something on at least 4 of the last 28 days.",
        "did any event on at least 4 days in last 28 days",
    ),
    (
        "Have not logged in recently",
        "Did something once, but nothing in the last 30 days.",
        "did any event more than 30 days ago and did not any event in last 30 days",
    ),
    ("Have never done anything", "Is known, but has no event.", "did not any event"),
)


class Catalog(Mapping[str, Condition]):
    """The conditions of saved segments by name. References never form a cycle, and what is referred to is there.

    `saved` has the segments whole, and `list_details` the details of lists. `revision` grows with every change.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.saved: Mapping[str, SavedSegment] = {}
        self.list_details: Mapping[str, Details] = {}

    def __getitem__(self, name: str) -> Condition:
        return self.saved[name].definition

    def __iter__(self) -> Iterator[str]:
        return iter(self.saved)

    def __len__(self) -> int:
        return len(self.saved)

    def check(self, changed: Mapping[str, Condition | None], lists: Container[str]) -> None:
        """Raise InvalidSegmentError for segments that cannot be saved, and None for forgotten, all at once.

        That is a bad name, a reference to a segment or a list that is not there, and one that leads back to the segment
        itself.
        """
        wanted = {name: condition for name, condition in {**self, **changed}.items() if condition is not None}
        for name, condition in changed.items():
            if condition is not None:
                self._check(name, condition, wanted, lists)
        # Also those that refer to a segment grow with it.
        depths: dict[str, int] = {}
        if any(_depth(InSegment(each), wanted, depths) > MAX_NESTED_DEPTH + 1 for each in wanted):
            raise InvalidSegmentError(
                f"a segment and those it refers to would be nested more than {MAX_NESTED_DEPTH} levels deep"
            )

    def _check(self, name: str, condition: Condition, wanted: Mapping[str, Condition], lists: Container[str]) -> None:
        reason = malformed_text(name, "segment name", MAX_NAME_BYTES)
        if reason is None and name not in self.saved and len(wanted) > MAX_SEGMENTS:
            reason = f"there are {MAX_SEGMENTS:,} segments already, the limit"
        if reason is not None:
            raise InvalidSegmentError(reason)
        for each in sorted(references(condition)):
            if each not in wanted:
                raise InvalidSegmentError(f'there is no segment "{each}"', hint="save it first")
            path = _path(each, name, wanted)
            if path is not None:
                round_trip = " → ".join(f'"{step}"' for step in (name, *path))
                raise InvalidSegmentError(f"the segment would refer to itself: {round_trip}")
        for leaf in leaves(condition):
            if isinstance(leaf, InList) and leaf.name not in lists:
                raise InvalidSegmentError(f'there is no list "{leaf.name}"', hint="save it first")

    def segment(self, name: str) -> SavedSegment:
        """The segment of a name; NotFoundError."""
        found = self.saved.get(name)
        if found is None:
            raise NotFoundError(f'there is no segment "{name}"')
        return found

    def referrers(self, reference: InSegment | InList) -> list[SavedSegment]:
        """The segments that refer to a segment or a list themselves, by name."""
        return [each for _, each in sorted(self.saved.items()) if reference in leaves(each.definition)]

    def require_unused(self, reference: InSegment | InList) -> None:
        """Raise InUseError, naming them, while segments refer to a segment or a list."""
        users = self.referrers(reference)
        if users:
            kind = "list" if isinstance(reference, InList) else "segment"
            named = ", ".join(f'"{user.name}"' for user in users)
            raise InUseError(f'the {kind} "{reference.name}" is used by {named}', hint="change or delete those first")

    def change(self, record: CatalogChanged) -> None:
        """Make a change that was checked, apart from the users of lists."""
        saved, list_details = dict(self.saved), dict(self.list_details)
        for name, segment in record.segments.items():
            if segment is None:
                del saved[name]
            else:
                saved[name] = SavedSegment.of(name, *segment)
        for name, user_list in record.lists.items():
            if user_list is None:
                list_details.pop(name, None)
            else:
                list_details[name] = user_list[1]
        self.saved, self.list_details = saved, list_details
        self.revision += 1

    def state(self) -> dict[str, Any]:
        """Plain values for a snapshot."""
        segments = {name: [each.text, *pack_details(each.details)] for name, each in self.saved.items()}
        lists = {name: pack_details(each) for name, each in self.list_details.items()}
        return {"segments": segments, "lists": lists}

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take back what `state` gave; ValueError and its like for what it never gives."""
        if not all(isinstance(name, str) for part in state.values() for name in part):
            raise ValueError("a segment or a list has a name that is no text")
        self.saved = {
            name: SavedSegment.of(name, text, details_of(details))
            for name, (text, *details) in state["segments"].items()
        }
        self.list_details = {name: details_of(details) for name, details in state["lists"].items()}
        self.revision += 1


def _path(start: str, goal: str, segments: Mapping[str, Condition]) -> tuple[str, ...] | None:
    """Names that lead from a segment to another by reference, both included; None if nothing does."""
    paths: dict[str, tuple[str, ...]] = {start: (start,)}
    pending = [start]
    while pending:
        name = pending.pop()
        if name == goal:
            return paths[name]
        # What is not there is told where it is referred to.
        for each in sorted(references(segments[name]) & segments.keys() - paths.keys()):
            paths[each] = (*paths[name], each)
            pending.append(each)
    return None


def _depth(condition: Condition, segments: Mapping[str, Condition], known: dict[str, int]) -> int:
    """Levels of a condition and of what it refers to; `known` keeps those of segments already measured."""
    if isinstance(condition, InSegment):
        if condition.name not in known:
            known[condition.name] = _depth(segments[condition.name], segments, known)
        return 1 + known[condition.name]
    return 1 + max((_depth(each, segments, known) for each in children(condition)), default=0)
