"""Freshness of cached answers: whether an answer is still current, and for which users it is stale.

Whether a user is in a condition depends only on that user's values and events, and on the moment. So a cached answer is
refreshed by testing again the users who have changed since, and the users with events that have moved into a window or
out of it.
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
    """Identifies the data and the moment that an answer of a leaf was computed from. Equal stamps mean equal answers.

    `revisions` are the revisions of the parts of the index that the leaf reads. `intervals` are the intervals of its
    windows, clipped to the events that exist, and `inner` those of the windows in its predicates.
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
    """The first later instant at which the stamp may differ even if no data changes."""
    return kind_of(leaf).valid_until_ms(leaf, index, context)


def stale_users(
    leaf: Condition, before: Stamp, before_ms: int, now: Stamp, index: Index, context: Context
) -> Stale | None:
    """The users whose membership may differ between two stamps; None if they are not known.

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
        added = Interval(min(change.first_ms for change in changes), max(change.last_ms for change in changes) + 1)
    return Stale(union(users), added)
