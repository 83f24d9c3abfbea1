"""How far a cached answer is still current, and for whom it has to be worked out again.

Whether a user is in a condition depends on that user's values and events alone, and on the moment. So a cached answer
is refreshed by asking again about the users who changed since, and about those with events that the moment has moved
into a window or out of it.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from bitseg.index.bitmaps import from_array, union
from bitseg.index.changes import Change
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.leaves.base import Stale
from bitseg.query.leaves.registry import kind_of
from bitseg.segment.nodes import Condition
from bitseg.segment.windows import Interval


@dataclass(frozen=True, slots=True)
class Stamp:
    """The data and the moment that an answer of a leaf was made from: equal stamps, equal answers.

    `revisions` are those of the parts of the index that the leaf reads, `intervals` what its windows mean, clipped to
    the events there are, and `inner` what the windows in its predicates mean.
    """

    revisions: tuple[int, ...]
    intervals: tuple[Interval, ...]
    inner: Hashable


def stamp(leaf: Condition, index: Index, context: Context) -> Stamp:
    """The stamp of a leaf at the context's moment."""
    kind = kind_of(leaf)
    return Stamp(
        tuple(source.revision for source in kind.sources(leaf, index)),
        kind.intervals(leaf, index, context),
        kind.inner_windows(leaf, context),
    )


def valid_until_ms(leaf: Condition, index: Index, context: Context) -> int:
    """The first instant after the context's at which the stamp may differ though no data change."""
    return kind_of(leaf).valid_until_ms(leaf, index, context)


def stale_users(
    leaf: Condition, before: Stamp, before_ms: int, now: Stamp, index: Index, context: Context
) -> Stale | None:
    """Whose membership may differ between two stamps; None if that is not known.

    `before_ms` is the instant that stood for now at the earlier stamp.
    """
    kind = kind_of(leaf)
    if before.inner != now.inner or len(before.revisions) != len(now.revisions):
        return None
    changes: list[Change] = []
    for source, revision in zip(kind.sources(leaf, index), before.revisions, strict=True):
        since = source.changes.since(revision)
        if since is None:
            return None
        changes += since
    users = [from_array(change.users) for change in changes]
    added = None
    if before.intervals != now.intervals:
        users += kind.moved(leaf, before_ms, index, context)
    elif changes and all(change.added_only for change in changes):
        added = Interval(min(each.first_ms for each in changes), max(each.last_ms for each in changes) + 1)
    return Stale(union(users), added)
