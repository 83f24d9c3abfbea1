"""Queries over one index: prepared once, checked against the data, and answered at one moment."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from bitseg.errors import NotFoundError, SegmentError
from bitseg.index.context import Context
from bitseg.index.index import Index
from bitseg.query.cache import AnswerCache, Answers, CachedAnswer
from bitseg.query.check_names import check_names
from bitseg.query.evaluate import Evaluator
from bitseg.query.pins import Pins
from bitseg.query.plan import Leaf, Plan, Planner, SavedPlans, plan_bytes
from bitseg.query.rounds import Round, answer_in_rounds
from bitseg.query.sizes import tree_bytes
from bitseg.query.wordwise import WordCounter
from bitseg.runtime.bounded_cache import BoundedCache
from bitseg.segment import parse, validate
from bitseg.segment.nodes import Condition, InSegment

Query = str | Condition

# More than the limit of saved segments, all of which are prepared to list the segments of a user.
MAX_PREPARED = 20_000
MAX_PREPARED_BYTES = 64 * 2**20
# Longer texts have their digest as the key.
_LONGEST_KEY_CHARACTERS = 256
# Bytes of a prepared query beside its tree and its plan.
_OVERHEAD_BYTES = 512

T = TypeVar("T")


class Moment(NamedTuple):
    """The instant that stands for now, in milliseconds since 1970; later events are hidden.

    `is_live` means that it is the present, so that cached answers of earlier moments are refreshed. The answers of an
    instant in the past are cached separately.
    """

    now_ms: int
    is_live: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A query that was parsed or validated, and its plan. Writes do not make it stale."""

    condition: Condition
    plan: Plan


@dataclass(frozen=True, slots=True)
class Checked:
    """A prepared query, checked against the known names: its warnings, or the fault that prevents an answer."""

    prepared: Prepared
    warnings: tuple[str, ...] = ()
    fault: SegmentError | None = None

    @property
    def plan(self) -> Plan:
        """The plan of the query."""
        return self.prepared.plan

    def require_sound(self) -> None:
        """Raise the fault if there is one."""
        if self.fault is not None:
            raise self.fault.with_traceback(None)


# The revisions of the schema and of the saved segments.
Revision = tuple[int, int]


class QuerySession:
    """Prepares and answers queries, safe to use from many threads.

    `lock` is the engine's; the index and `segments` are read with it held. `segments` are the saved segments, and
    `segments_revision` returns a number that grows when they change. `answer_bytes` bounds the cached answers; their
    unpacked words may take a quarter of that on top.
    """

    def __init__(
        self,
        index: Index,
        segments: Mapping[str, Condition],
        segments_revision: Callable[[], int],
        lock: AbstractContextManager[None],
        answer_bytes: int,
    ) -> None:
        self.cache = AnswerCache(answer_bytes)
        self.word_counter = WordCounter(answer_bytes // 4)
        self.pins = Pins()
        self._index = index
        self._segments = segments
        self._segments_revision = segments_revision
        self._lock = lock
        self._planner = Planner()
        self._saved = SavedPlans(self._planner, segments)
        # The revision of the saved segments that the pins follow.
        self._pins_revision = -1
        self._prepared_lock = threading.Lock()
        self._prepared: BoundedCache[bytes | Query, Prepared] = BoundedCache(MAX_PREPARED_BYTES, MAX_PREPARED)
        # The revision of the saved segments, and all of them prepared at that revision.
        self._prepared_saved: tuple[int, Mapping[str, Prepared]] = (-1, {})
        # For every query in `_prepared`: the result of its last check; None before the first.
        self._checked: dict[Prepared, tuple[Revision, Checked] | None] = {}

    @property
    def prepared_bytes(self) -> int:
        """Bytes of memory that the prepared queries take."""
        return self._prepared.size_bytes

    def prepare(self, query: Query) -> Prepared:
        """Parse or validate a query, and plan it. Call without the lock, since hostile texts may take long.

        Raises SegmentSyntaxError or InvalidSegmentError.
        """
        key = _key(query)
        with self._prepared_lock:
            prepared = None if key is None else self._prepared.get(key)
        if prepared is None:
            if isinstance(query, str):
                condition = parse(query)
            else:
                validate(query)
                condition = query
            prepared = Prepared(condition, self._planner.plan(condition))
            size = _OVERHEAD_BYTES + tree_bytes(key) + tree_bytes(condition) + plan_bytes(prepared.plan)
            # A query that takes most of the memory would evict all others.
            if key is not None and size <= MAX_PREPARED_BYTES // 4:
                return self._cached(key, prepared, size)
        return prepared

    def prepare_saved(self) -> Mapping[str, Prepared]:
        """All saved segments, prepared, by name in alphabetical order."""
        with self._lock:
            revision = self._segments_revision()
            if self._prepared_saved[0] != revision:
                prepared = {name: self.prepare(InSegment(name)) for name in sorted(self._segments)}
                self._prepared_saved = (revision, prepared)
            return self._prepared_saved[1]

    def answer(
        self, queries: Sequence[Prepared], moment: Moment, settle: Callable[[Evaluator, Sequence[Checked]], T]
    ) -> T:
        """The result of `settle`, which is called with the lock held and answers all queries at one version and moment.

        Before that, what takes long is computed without the lock, except for queries with a fault.
        """
        context = Context(moment.now_ms, self._index.calendar)

        def begin(computed: Mapping[Leaf, CachedAnswer]) -> Round[T]:
            revision = self._revision()
            checked = [self._check(query, revision) for query in queries]
            evaluator = self._evaluator(queries, context, computed, is_live=moment.is_live)
            plans = [query.plan for query in checked if query.fault is None]
            return Round(evaluator, plans, lambda: settle(evaluator, checked))

        return answer_in_rounds(self._lock, begin)

    def answer_at_once(self, query: Prepared, moment: Moment, settle: Callable[[Evaluator, Checked], T]) -> T:
        """As `answer` for one query, but nothing is computed before `settle` is called."""
        with self._lock:
            context = Context(moment.now_ms, self._index.calendar)
            evaluator = self._evaluator([query], context, {}, is_live=moment.is_live)
            return settle(evaluator, self._check(query, self._revision()))

    def pin(self, name: str, moment: Moment) -> None:
        """Store the members of a saved segment from now on, so that its count is a look-up.

        The pin follows edits. It ends with `unpin` and when the segment is deleted or renamed. Raises NotFoundError if
        there is no segment of that name, SegmentError if it cannot be answered, InvalidArgumentError if there are
        MAX_PINS pins already.
        """
        with self._lock:
            if name not in self._segments:
                raise NotFoundError(f'there is no segment "{name}"')
            self._follow_segments()
            was_pinned = name in self.pins.names
            self.pins.pin(name, self._saved.plan(name))
        prepared = self.prepare(InSegment(name))

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> None:
            checked[0].require_sound()
            evaluator.members(prepared.plan)

        try:
            self.answer([prepared], moment, settle)
        except BaseException:
            if not was_pinned:
                self.unpin(name)
            raise

    def unpin(self, name: str) -> None:
        """Unpin a segment; nothing happens if it is not pinned."""
        with self._lock:
            self.pins.unpin(name)

    def pinned(self) -> tuple[str, ...]:
        """The names of the pinned segments, in alphabetical order."""
        with self._lock:
            self._follow_segments()
            return self.pins.names

    def forget(self) -> None:
        """Remove all cached answers; pins stay and are computed again on use."""
        with self._lock:
            self.cache.clear()
            self.word_counter.clear()
            self.pins.clear()

    def _cached(self, key: bytes | Query, prepared: Prepared, size: int) -> Prepared:
        """Cache a prepared query; returns the cached query, which another thread may have prepared."""
        with self._prepared_lock:
            other = self._prepared.get(key)
            if other is not None:
                return other
            self._checked[prepared] = None
            for _, evicted in self._prepared.put(key, prepared, size):
                del self._checked[evicted]
            return prepared

    def _check(self, query: Prepared, revision: Revision) -> Checked:
        """Check a query; the result is cached until the schema or the saved segments change."""
        entry = self._checked.get(query)
        if entry is not None and entry[0] == revision:
            return entry[1]
        try:
            checked = Checked(query, check_names(query.condition, self._index, self._segments))
        except SegmentError as error:
            checked = Checked(query, fault=error)
        with self._prepared_lock:
            if query in self._checked:
                self._checked[query] = (revision, checked)
        return checked

    def _evaluator(
        self,
        queries: Sequence[Prepared],
        context: Context,
        computed: Mapping[Leaf, CachedAnswer],
        *,
        is_live: bool,
    ) -> Evaluator:
        self._follow_segments()
        answers = Answers(self.cache, self._index, context, is_live=is_live, computed=computed)
        if computed:
            answers.keep_computed()
        plans = {id(query.condition): query.plan for query in queries}
        return Evaluator(answers, self._planner, self._saved, self.word_counter, self.pins, plans)

    def _revision(self) -> Revision:
        return self._index.schema_revision, self._segments_revision()

    def _follow_segments(self) -> None:
        revision = self._segments_revision()
        if revision != self._pins_revision:
            self.pins.follow(self._segments, self._saved)
            self._pins_revision = revision


def _key(query: Query) -> bytes | Query | None:
    """The cache key of a query; None for a tree that cannot be hashed, which `validate` may refuse."""
    if isinstance(query, str):
        if len(query) <= _LONGEST_KEY_CHARACTERS:
            return query
        return blake2b(query.encode(errors="surrogatepass"), digest_size=16).digest()
    try:
        hash(query)
    except (RecursionError, TypeError):
        return None
    return query
