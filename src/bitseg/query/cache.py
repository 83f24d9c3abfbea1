"""Answers of leaves, cached as bitmaps between queries and refreshed when they are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from pyroaring import BitMap

from bitseg.index.bitmaps import size_bytes
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.freshness import Stamp, stale_users, stamp, valid_until_ms
from bitseg.query.leaves.base import Stale, Work
from bitseg.query.plan import Leaf
from bitseg.runtime.bounded_cache import BoundedCache

# The objects of an entry, beside the containers of its bitmap and its condition.
_OVERHEAD_BYTES = 512
MAX_CONDITIONS = 10_000
# Up to this many users are asked about with the engine's lock held.
FEW_USERS = 1_000
# An answer is refreshed for at most FEW_USERS and one user in this many; for more, it is worked out whole.
_STALE_DIVISOR = 50

# A leaf, and the instant that stands for now unless that is the present.
Key = tuple[Leaf, int | None]


@dataclass(slots=True)
class CachedAnswer:
    """The members of a leaf as of a stamp, taken when `now_ms` was now.

    The stamp is known to be that of index version `version` from `now_ms` until before `until_ms`.
    """

    bitmap: BitMap
    stamp: Stamp
    version: int
    now_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Task:
    """A leaf that takes long to work out: `work` does so without the lock, and `result` stamps its bitmap."""

    work: Work
    result: Callable[[BitMap], CachedAnswer]


class AnswerCache:
    """An LRU cache of answers by leaf and instant, bounded in bytes and in number. Call with the engine's lock held.

    The bytes are those of bitmaps and of conditions. `hits` counts the answers that were current, `refreshes` those
    that were refreshed, `misses` those worked out from nothing.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.hits = 0
        self.refreshes = 0
        self.misses = 0
        self._entries: BoundedCache[Key, CachedAnswer] = BoundedCache(capacity_bytes, MAX_CONDITIONS)
        # Leaves that were answered for a few users only, with the instant of the last time.
        self._missed: WeakKeyDictionary[Leaf, int | None] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """What all entries take in memory."""
        return self._entries.size_bytes

    def find(self, key: Key) -> CachedAnswer | None:
        """The answer of a key, current or not."""
        return self._entries.get(key)

    def keep(self, key: Key, answer: CachedAnswer) -> None:
        """Store an answer in place of the one before; one that is larger than the cache is left out."""
        entry_bytes = size_bytes(answer.bitmap) + key[0].size_bytes + _OVERHEAD_BYTES
        if entry_bytes > self.capacity_bytes:
            self._entries.pop(key)
        else:
            self._entries.put(key, answer, entry_bytes)

    def note_miss(self, key: Key) -> None:
        """Note that a leaf was answered for a few users only, so that nothing was cached."""
        leaf, instant_ms = key
        self._missed[leaf] = instant_ms

    def was_missed(self, key: Key) -> bool:
        """Whether `note_miss` was the last time called for a leaf with this instant."""
        leaf, instant_ms = key
        return leaf in self._missed and self._missed[leaf] == instant_ms

    def clear(self) -> None:
        """Forget all answers."""
        self._entries.clear()
        self._missed.clear()


class Answers:
    """The answers of leaves over one index at one moment, taken from the cache where it has them.

    `is_live` says that the moment is the present one, so that answers of earlier moments are refreshed. `computed` has
    the results of the query's own tasks, some of which the cache may have no room for.
    """

    def __init__(
        self,
        cache: AnswerCache,
        index: Index,
        context: Context,
        *,
        is_live: bool = False,
        computed: Mapping[Leaf, CachedAnswer] | None = None,
    ) -> None:
        self.cache = cache
        self.index = index
        self.context = context
        self.is_live = is_live
        self._computed = computed or {}

    def current(self, leaf: Leaf) -> BitMap | None:
        """The members if the index or the cache has them, refreshed if need be; None if they have to be worked out."""
        stored = leaf.kind.stored(leaf.condition, self.index)
        if stored is not None:
            return stored
        answer = self._find(leaf)
        if answer is None:
            return None
        if self._is_current(answer):
            self.cache.hits += 1
            return answer.bitmap
        now = stamp(leaf.condition, self.index, self.context)
        stale = self._stale(leaf, answer, now)
        if stale is None:
            return None
        if stale.users:
            self.cache.refreshes += 1
            bitmap = self._refresh(leaf, answer.bitmap, stale)()
            self._keep(leaf, bitmap, now)
            return bitmap
        self.cache.hits += 1
        answer.stamp, answer.version, answer.now_ms = now, self.index.version, self.context.now_ms
        answer.until_ms = valid_until_ms(leaf.condition, self.index, self.context)
        return answer.bitmap

    def work_out(self, leaf: Leaf) -> BitMap:
        """The members, worked out for all users and cached."""
        self.cache.misses += 1
        bitmap = leaf.kind.compile(leaf.condition, self.index, self.context)()
        self._keep(leaf, bitmap, stamp(leaf.condition, self.index, self.context))
        return bitmap

    def among(self, leaf: Leaf, users: BitMap) -> BitMap:
        """Those of some users who are members; nothing is cached."""
        if not users:
            return users
        self.cache.note_miss(self._key(leaf))
        return leaf.kind.compile(leaf.condition, self.index, self.context, users)()

    def is_rarely_asked(self, leaf: Leaf) -> bool:
        """Whether a leaf takes long and was never asked for before, so that a few users are better asked for alone."""
        if leaf.kind.is_quick(leaf.condition, self.index, self.context):
            return False
        return not self.cache.was_missed(self._key(leaf))

    def estimate(self, leaf: Leaf) -> int:
        """About how many members a leaf has."""
        return leaf.kind.estimate(leaf.condition, self.index, self.context)

    def task(self, leaf: Leaf) -> Task | None:
        """What to do without the lock for a leaf that takes long: work it out, or refresh it for many users."""
        condition = leaf.condition
        kind = leaf.kind
        if kind.is_quick(condition, self.index, self.context):
            return None
        answer = self._find(leaf)
        if answer is not None and self._is_current(answer):
            return None
        now = stamp(condition, self.index, self.context)
        stale = None if answer is None else self._stale(leaf, answer, now)
        if answer is None or stale is None:
            self.cache.misses += 1
            work = kind.compile(condition, self.index, self.context)
        elif len(stale.users) > FEW_USERS:
            self.cache.refreshes += 1
            work = self._refresh(leaf, answer.bitmap, stale)
        else:
            return None
        version, now_ms = self.index.version, self.context.now_ms
        until_ms = valid_until_ms(condition, self.index, self.context)
        return Task(work, lambda bitmap: CachedAnswer(bitmap, now, version, now_ms, until_ms))

    def keep_computed(self) -> None:
        """Put the results of the query's own tasks into the cache."""
        for leaf, answer in self._computed.items():
            self.cache.keep(self._key(leaf), answer)

    def _key(self, leaf: Leaf) -> Key:
        return leaf, None if self.is_live else self.context.now_ms

    def _find(self, leaf: Leaf) -> CachedAnswer | None:
        return self.cache.find(self._key(leaf)) or self._computed.get(leaf)

    def _is_current(self, answer: CachedAnswer) -> bool:
        return answer.version == self.index.version and answer.now_ms <= self.context.now_ms < answer.until_ms

    def _stale(self, leaf: Leaf, answer: CachedAnswer, now: Stamp) -> Stale | None:
        """The users to ask about again; None if they are not known, or too many."""
        if now == answer.stamp:
            return Stale(BitMap(), None)
        stale = stale_users(leaf.condition, answer.stamp, answer.now_ms, now, self.index, self.context)
        most = FEW_USERS + len(self.index.users.everyone) // _STALE_DIVISOR
        return None if stale is None or len(stale.users) > most else stale

    def _refresh(self, leaf: Leaf, before: BitMap, stale: Stale) -> Work:
        return leaf.kind.refresh(leaf.condition, before, stale, self.index, self.context)

    def _keep(self, leaf: Leaf, bitmap: BitMap, now: Stamp) -> None:
        until_ms = valid_until_ms(leaf.condition, self.index, self.context)
        answer = CachedAnswer(bitmap, now, self.index.version, self.context.now_ms, until_ms)
        self.cache.keep(self._key(leaf), answer)
