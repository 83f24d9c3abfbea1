"""The cache of answers: bitmaps of the members of leaves, kept between queries and refreshed on use."""

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

# Bytes of an entry beside the containers of its bitmap and its condition.
_OVERHEAD_BYTES = 512
MAX_CONDITIONS = 10_000
# Up to this many users are tested with the engine's lock held.
FEW_USERS = 1_000
# An answer is refreshed for at most FEW_USERS plus one user in this many; for more, it is recomputed for all users.
_STALE_DIVISOR = 50

# A leaf, and the instant that stands for now; None for the present.
Key = tuple[Leaf, int | None]


@dataclass(slots=True)
class CachedAnswer:
    """The members of a leaf, and the stamp of the data and the moment that they were computed from.

    At index version `version`, the answer is current from `now_ms`, included, to `until_ms`, excluded.
    """

    bitmap: BitMap
    stamp: Stamp
    version: int
    now_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Task:
    """A leaf that takes long to compute: `work` does so without the lock, `result` makes its bitmap an answer."""

    work: Work
    result: Callable[[BitMap], CachedAnswer]


class AnswerCache:
    """An LRU cache of answers by leaf and instant, bounded in bytes and entries. Call with the engine's lock held.

    Bitmaps and conditions count towards the bytes. `hits` counts answers that were current, `refreshes` answers that
    were refreshed, `misses` answers that were computed for all users.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.hits = 0
        self.refreshes = 0
        self.misses = 0
        self._entries: BoundedCache[Key, CachedAnswer] = BoundedCache(capacity_bytes, MAX_CONDITIONS)
        # Leaves last answered for a few users only, so that nothing was cached, with the instant of their key.
        self._missed: WeakKeyDictionary[Leaf, int | None] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that all entries take."""
        return self._entries.size_bytes

    def find(self, key: Key) -> CachedAnswer | None:
        """The cached answer of a key, current or stale; None if there is no answer."""
        return self._entries.get(key)

    def keep(self, key: Key, answer: CachedAnswer) -> None:
        """Store an answer in place of the earlier one. An answer larger than the cache is not stored."""
        entry_bytes = size_bytes(answer.bitmap) + key[0].size_bytes + _OVERHEAD_BYTES
        if entry_bytes > self.capacity_bytes:
            self._entries.pop(key)
        else:
            self._entries.put(key, answer, entry_bytes)

    def note_miss(self, key: Key) -> None:
        """Record that a leaf was answered for a few users only, so that nothing was cached."""
        leaf, instant_ms = key
        self._missed[leaf] = instant_ms

    def was_missed(self, key: Key) -> bool:
        """Whether the last `note_miss` for the leaf of a key had the instant of the key."""
        leaf, instant_ms = key
        return leaf in self._missed and self._missed[leaf] == instant_ms

    def clear(self) -> None:
        """Remove all answers."""
        self._entries.clear()
        self._missed.clear()


class Answers:
    """The answers of leaves over one index at one moment, from the cache where possible.

    `is_live` means that the moment is the present, so that answers of earlier moments are refreshed. `computed` has the
    results of the query's own tasks, which the cache may have no room for.
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
        """The members from the index or the cache, refreshed if stale; None if they must be computed."""
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

    def compute(self, leaf: Leaf) -> BitMap:
        """Compute the members for all users, and cache them."""
        self.cache.misses += 1
        bitmap = leaf.kind.compile(leaf.condition, self.index, self.context)()
        self._keep(leaf, bitmap, stamp(leaf.condition, self.index, self.context))
        return bitmap

    def among(self, leaf: Leaf, users: BitMap) -> BitMap:
        """The members among some users; nothing is cached."""
        if not users:
            return users
        self.cache.note_miss(self._key(leaf))
        return leaf.kind.compile(leaf.condition, self.index, self.context, users)()

    def is_slow_first_use(self, leaf: Leaf) -> bool:
        """Whether a leaf takes long and is used for the first time, so that testing a few users alone is better."""
        if leaf.kind.is_quick(leaf.condition, self.index, self.context):
            return False
        return not self.cache.was_missed(self._key(leaf))

    def estimate(self, leaf: Leaf) -> int:
        """About how many members a leaf has."""
        return leaf.kind.estimate(leaf.condition, self.index, self.context)

    def task(self, leaf: Leaf) -> Task | None:
        """The task for a leaf that must be computed, or refreshed for many users; None for any other leaf."""
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
        """Store the results of the query's own tasks in the cache."""
        for leaf, answer in self._computed.items():
            self.cache.keep(self._key(leaf), answer)

    def _key(self, leaf: Leaf) -> Key:
        return leaf, None if self.is_live else self.context.now_ms

    def _find(self, leaf: Leaf) -> CachedAnswer | None:
        return self.cache.find(self._key(leaf)) or self._computed.get(leaf)

    def _is_current(self, answer: CachedAnswer) -> bool:
        return answer.version == self.index.version and answer.now_ms <= self.context.now_ms < answer.until_ms

    def _stale(self, leaf: Leaf, answer: CachedAnswer, now: Stamp) -> Stale | None:
        """The users whose answer may be stale; None if they are unknown or too many to refresh."""
        if now == answer.stamp:
            return Stale(BitMap(), None)
        stale = stale_users(leaf.condition, answer.stamp, answer.now_ms, now, self.index, self.context)
        max_users = FEW_USERS + len(self.index.users.everyone) // _STALE_DIVISOR
        return None if stale is None or len(stale.users) > max_users else stale

    def _refresh(self, leaf: Leaf, before: BitMap, stale: Stale) -> Work:
        return leaf.kind.refresh(leaf.condition, before, stale, self.index, self.context)

    def _keep(self, leaf: Leaf, bitmap: BitMap, now: Stamp) -> None:
        until_ms = valid_until_ms(leaf.condition, self.index, self.context)
        answer = CachedAnswer(bitmap, now, self.index.version, self.context.now_ms, until_ms)
        self.cache.keep(self._key(leaf), answer)
