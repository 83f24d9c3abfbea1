"""Users who did one event and then others, each within a limit of the one before, exact to the millisecond."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_array
from bitseg.index.occurrences import Occurrences


@dataclass(frozen=True, slots=True)
class Step:
    """The events of one step and how many milliseconds after the step before they may come."""

    occurrences: Occurrences
    within_ms: int
    negated: bool


def members(first: Occurrences, steps: Sequence[Step], now_ms: int) -> BitMap:
    """The users with a chain of events, one per step, each at `(t, t + within]` of the one before at t.

    An event is reached if some reached event of the step before lies in range, and the latest one before it is the
    nearest, so one look back per event decides. A negated last step asks for a reached event with no such successor
    whose time has run out by `now_ms`.
    """
    users, times_ms = first.gather()
    for step in steps:
        next_users, next_times_ms = step.occurrences.gather()
        if step.negated:
            follows = _following_ms(users, times_ms, next_users, next_times_ms)
            ended = times_ms + step.within_ms <= now_ms
            users = users[ended & (follows > times_ms + step.within_ms)]
            break
        before = _preceding_ms(users, times_ms, next_users, next_times_ms)
        reached = next_times_ms - before <= step.within_ms
        users, times_ms = next_users[reached], next_times_ms[reached]
    return from_array(users)


# Far enough from any instant that differences neither match nor overflow.
_FAR_MS = 2**61

Users = NDArray[np.uint32]
Times = NDArray[np.int64]


def _preceding_ms(users: Users, times_ms: Times, next_users: Users, next_times_ms: Times) -> Times:
    """For each of the next events, when the same user last did one of the first strictly before it."""
    order, is_next = _interleaved(users, times_ms, next_users, next_times_ms)
    position = np.where(is_next, -1, np.arange(len(order)))
    latest = np.maximum.accumulate(position)[is_next]
    return _at(order, latest, users, times_ms, next_users, offset=0, missing=-_FAR_MS)


def _following_ms(users: Users, times_ms: Times, next_users: Users, next_times_ms: Times) -> Times:
    """For each of the first events, when the same user does one of the next strictly after it."""
    order, is_next = _interleaved(users, times_ms, next_users, next_times_ms)
    position = np.where(is_next, np.arange(len(order)), len(order))
    earliest = np.minimum.accumulate(position[::-1])[::-1][~is_next]
    earliest = np.where(earliest == len(order), -1, earliest)
    return _at(order, earliest, next_users, next_times_ms, users, offset=len(users), missing=_FAR_MS)


def _interleaved(
    users: Users, times_ms: Times, next_users: Users, next_times_ms: Times
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Both lists of events in order of user and time, a next event before a first one of the same instant.

    Returns the order, as indices into first events followed by next events, and which places hold next events.
    """
    is_first = np.arange(len(users) + len(next_users)) < len(users)
    both_times_ms = np.concatenate([times_ms, next_times_ms])
    order = np.lexsort((is_first, both_times_ms, np.concatenate([users, next_users])))
    return order, ~is_first[order]


def _at(
    order: NDArray[np.int64],
    places: NDArray[np.int64],
    there_users: Users,
    there_times_ms: Times,
    here_users: Users,
    *,
    offset: int,
    missing: int,
) -> Times:
    """The times at places of the order, or `missing` where there is none or it is another user's."""
    if not len(there_users):
        return np.full(len(here_users), missing, np.int64)
    index = np.where(places >= 0, order[places] - offset, 0)
    found = (places >= 0) & (there_users[index] == here_users)
    return np.where(found, there_times_ms[index], missing)
