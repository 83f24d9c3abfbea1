"""Users who did one event and then others, each within a limit of the one before, exact to the millisecond."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.index.bitmaps import from_array, union
from bitseg.index.operators.occurrences import Among, Occurrences, sort_keys


@dataclass(frozen=True, slots=True)
class Step:
    """The events of one step; they may come up to `within_ms` after the previous step."""

    occurrences: Occurrences
    within_ms: int
    negated: bool


def members(first: Occurrences, steps: Sequence[Step], now_ms: int) -> BitMap:
    """The users with a chain of events, one per step, each in `(t, t + within]`, t being the time of the event before.

    An event is reached if a reached event of the previous step lies in range. The latest earlier event is the nearest,
    so one look back per event decides. A negated last step needs a reached event without a successor in range, whose
    time has run out by `now_ms`.

    Bitmaps come first: only users who did every step can have a chain, and for users who never did a negated last step
    the order of events does not matter.
    """
    wanted = [step for step in steps if not step.negated]
    if not wanted:
        last = steps[-1]
        ended_ms = now_ms - last.within_ms
        ended = first.until(ended_ms).users()
        candidates = union([ended, first.after(ended_ms).users()])
        followed = candidates & last.occurrences.users()
        # Users who never did the last step match as soon as the time after their first event has run out.
        return (ended - followed) | _unfollowed(first, wanted, last, followed, now_ms)
    candidates = first.users()
    for step in wanted:
        candidates = candidates & step.occurrences.users()
    if len(wanted) == len(steps):
        return from_array(_reached(first, wanted, Among(candidates))[0])
    return _unfollowed(first, wanted, steps[-1], candidates, now_ms)


Users = NDArray[np.uint32]
Times = NDArray[np.int64]


def _reached(first: Occurrences, steps: Sequence[Step], candidates: Among) -> tuple[Users, Times]:
    """Users and instants of the events that end a chain, for the candidates."""
    users, times_ms = first.only(candidates).gather()
    for step in steps:
        next_users, next_times_ms = step.occurrences.only(candidates).gather()
        before = _preceding_ms(users, times_ms, next_users, next_times_ms)
        reached = next_times_ms - before <= step.within_ms
        users, times_ms = next_users[reached], next_times_ms[reached]
    return users, times_ms


def _unfollowed(first: Occurrences, steps: Sequence[Step], last: Step, candidates: BitMap, now_ms: int) -> BitMap:
    """The candidates with a chain that the last step does not follow in time, once that time has run out."""
    among = Among(candidates)
    users, times_ms = _reached(first, steps, among)
    next_users, next_times_ms = last.occurrences.only(among).gather()
    follows = _following_ms(users, times_ms, next_users, next_times_ms)
    ended = times_ms + last.within_ms <= now_ms
    return from_array(users[ended & (follows > times_ms + last.within_ms)])


# Far enough from any instant that no difference matches, near enough that none overflows.
_FAR_MS = 2**61


def _preceding_ms(users: Users, times_ms: Times, next_users: Users, next_times_ms: Times) -> Times:
    """For each next event, the time of the same user's latest first event strictly before it."""
    keys, next_keys = _keys(users, times_ms, next_users, next_times_ms)
    places = np.searchsorted(keys, next_keys, side="left") - 1
    return _at(places, users, times_ms, next_users, missing=-_FAR_MS)


def _following_ms(users: Users, times_ms: Times, next_users: Users, next_times_ms: Times) -> Times:
    """For each first event, the time of the same user's earliest next event strictly after it."""
    keys, next_keys = _keys(users, times_ms, next_users, next_times_ms)
    places = np.searchsorted(next_keys, keys, side="right")
    places[places == len(next_keys)] = -1
    return _at(places, next_users, next_times_ms, users, missing=_FAR_MS)


def _keys(
    users: Users, times_ms: Times, next_users: Users, next_times_ms: Times
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sort keys for both lists of events, comparable with each other."""
    keys = sort_keys(np.concatenate([users, next_users]), np.concatenate([times_ms, next_times_ms]))
    return keys[: len(users)], keys[len(users) :]


def _at(
    places: NDArray[np.int64], there_users: Users, there_times_ms: Times, here_users: Users, *, missing: int
) -> Times:
    """The times of the other events at `places`; `missing` where the place is -1 or belongs to another user."""
    if not len(there_users):
        return np.full(len(here_users), missing, np.int64)
    index = np.maximum(places, 0)
    is_same_user = (places >= 0) & (there_users[index] == here_users)
    return np.where(is_same_user, there_times_ms[index], missing)
