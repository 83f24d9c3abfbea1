"""The Engine: the door to a workspace."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from bitseg.calendar import DAY_MS, FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar
from bitseg.clock import Clock, SystemClock
from bitseg.columns import Columns, Rejection
from bitseg.engine.catalog import CatalogApi
from bitseg.engine.options import (
    DEFAULT_MATERIALISED_BYTES,
    DEFAULT_SNAPSHOT_AFTER_BYTES,
    EngineOptions,
    WorkspaceSettings,
)
from bitseg.errors import (
    CorruptSnapshotError,
    DataDirectoryError,
    InvalidArgumentError,
    NotDurableError,
    NotFoundError,
    SegmentError,
    WorkspaceBrokenError,
)
from bitseg.index.attributes import Attribute
from bitseg.index.events import Event
from bitseg.index.index import SchemaField
from bitseg.index.operators.user_events import summary_of
from bitseg.operations import Operation
from bitseg.query.evaluate import Evaluator
from bitseg.query.explain import explain
from bitseg.query.explain_plan import explain_plan
from bitseg.query.session import Checked, Moment, Prepared, QuerySession
from bitseg.query.session import Query as Query
from bitseg.records import TypeDeclared
from bitseg.reports.count import Count
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    Members,
    PlanStep,
    Recovered,
    SnapshotResult,
    Statistics,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.runtime import cancellation
from bitseg.runtime.locks import FairLock
from bitseg.segment.nodes import Window
from bitseg.segment.windows import Interval, resolve
from bitseg.shard.ingest import Ingest
from bitseg.shard.recovery import StateRecovery
from bitseg.shard.retention import Retention
from bitseg.shard.snapshots import Snapshots
from bitseg.shard.state import WorkspaceState
from bitseg.shard.streams import MemberQuery, Membership, MemberStreams
from bitseg.shard.writer import Observer, Writer
from bitseg.storage.cursors import CursorStore
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import AnyStore, NullStore, Progress, Store
from bitseg.values import ValueType

MAX_SAMPLE = 1_000
MAX_BATCH_QUERIES = 1_000

_log = logging.getLogger("bitseg.engine")


class Engine:
    """A workspace that takes operations and answers segments, safe to use from many threads.

    `Engine()` lives in memory alone. That of `Engine.open` is kept in a data directory: a call that changes something
    returns when the change is safe there, or raises DiskFullError, NotDurableError or DataDirectoryError. A query sees
    whole batches only, and may see one that is about to be safe.

    Should a change fail half-way, for want of memory for example, every call from then on raises WorkspaceBrokenError:
    close the engine and open it again from its directory.
    """

    def __init__(
        self,
        workspace: WorkspaceSettings | None = None,
        *,
        clock: Clock | None = None,
        materialised_bytes: int = DEFAULT_MATERIALISED_BYTES,
    ) -> None:
        self.workspace = workspace or WorkspaceSettings()
        self._clock = clock or SystemClock()
        self._lock = FairLock()
        self._state = WorkspaceState(Calendar(self.workspace.timezone))
        self._index = self._state.index
        self._catalog = self._state.catalog
        self._queries = QuerySession(
            self._index, self._catalog, lambda: self._catalog.revision, self._lock, materialised_bytes
        )
        self.recovered: Recovered | None = None
        self._attach(NullStore())

    def _attach(self, store: AnyStore) -> None:
        """Write to a store from here on."""
        self._writer = Writer(self._state, store, self._lock)
        self._ingest = Ingest(self._writer)
        self._retention = Retention(self._writer, self.workspace.retention_days)
        self._snapshots = Snapshots(self._writer, self.workspace.plain())
        cursors = CursorStore(store.path, self._state.version) if isinstance(store, Store) else CursorStore()
        self._streams = MemberStreams(cursors, self._is_durable)
        self.catalog = CatalogApi(self._writer, self.now_ms)

    def _begin(self, store: Store, snapshot_after_bytes: int, saved_version: int) -> None:
        """Write to a store, of which a snapshot has some version, and take snapshots as it grows."""
        self._attach(store)
        self._snapshots.saved_version = saved_version
        self._snapshots.start(snapshot_after_bytes)

    @classmethod
    def create(
        cls,
        path: str | Path,
        workspace: WorkspaceSettings | None = None,
        *,
        sync: SyncPolicy = SyncPolicy.ALWAYS,
        snapshot_after_bytes: int = DEFAULT_SNAPSHOT_AFTER_BYTES,
        default_segments: bool = True,
        **options: Unpack[EngineOptions],
    ) -> "Engine":
        """Make a workspace in a directory that has none; DataDirectoryError if it has one.

        It starts with a few saved segments unless `default_segments` is unset. Options as of `open`.
        """
        engine = cls(workspace, **options)
        store, _ = engine._snapshots.create(Path(path), sync, is_empty=True)
        try:
            engine._begin(store, snapshot_after_bytes, engine.version)
            if default_segments:
                engine.catalog.add_default_segments()
        except BaseException:
            engine._abandon()
            raise
        return engine

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        sync: SyncPolicy = SyncPolicy.ALWAYS,
        snapshot_after_bytes: int = DEFAULT_SNAPSHOT_AFTER_BYTES,
        default_segments: bool = True,
        progress: Progress = lambda done, total: None,
        **options: Unpack[EngineOptions],
    ) -> "Engine":
        """Open the workspace in a directory; where there is none, make one in UTC if `create` is set.

        `sync` says when a change is on disk: before the call that makes it returns, within a second, or some time.
        A snapshot is taken when the journal has grown by `snapshot_after_bytes`. `progress` is told how many bytes were
        read, of how many. `recovered` then says what was found. A directory of an earlier format is written anew.

        Raises DirectoryLockedError, CorruptSnapshotError, CorruptJournalError, UnsupportedFormatError or
        DataDirectoryError.
        """
        store = Store.open(Path(path), sync)
        if store is None:
            if not create:
                raise DataDirectoryError(
                    f"there is no workspace in {path}", hint="make one with bitseg import or bitseg init"
                )
            return cls.create(
                path,
                sync=sync,
                snapshot_after_bytes=snapshot_after_bytes,
                default_segments=default_segments,
                **options,
            )
        try:
            engine = cls(_settings(path, store.workspace), **options)
            recovery = StateRecovery(engine._state, store.version, is_legacy=store.needs_upgrade)
            engine.recovered = store.recover(recovery.restore, recovery.replay, progress, recovery.finish)
            is_saved = not (engine.recovered.records or store.needs_upgrade)
        except BaseException:
            store.abandon()
            raise
        try:
            engine._begin(store, snapshot_after_bytes, engine.version if is_saved else -1)
            if store.needs_upgrade:
                engine._snapshots.snapshot()
            engine._retention.expire(engine.now_ms())
        except BaseException:
            engine._abandon()
            raise
        return engine

    def snapshot(self) -> SnapshotResult:
        """Write what changed since the last snapshot, while queries and writes go on, and shorten the journal.

        Raises DataDirectoryError or DiskFullError where the disk refuses; nothing is lost then. InvalidArgumentError
        for a workspace that lives in memory alone.
        """
        self._retention.expire(self.now_ms())
        return self._snapshots.snapshot()

    def flush(self) -> None:
        """Make all changes safe whatever the policy; NotDurableError where they may be lost."""
        self._writer.store.flush()

    def backup(self, directory: str | Path) -> SnapshotResult:
        """Take a snapshot and copy it into a directory that is empty or new, from which the same workspace is opened.

        Queries and writes go on meanwhile. DataDirectoryError or DiskFullError where the disk refuses, or the directory
        holds a workspace already.
        """
        return self._snapshots.backup(Path(directory))

    def close(self) -> None:
        """Save what changed and let go of the directory.

        Where the disk has no room for a snapshot, the journal keeps what changed. Raises NotDurableError where that
        cannot be relied on.
        """
        store = self._writer.store
        if not isinstance(store, Store):
            return
        self._snapshots.stop()
        if self._lock.is_broken:
            self._abandon()
            return
        try:
            self._snapshots.snapshot()
        except (DataDirectoryError, WorkspaceBrokenError) as error:
            _log.warning("no snapshot was taken, the journal has what changed: %s", error)
        finally:
            self._writer.store = NullStore()
            store.close()

    def _abandon(self) -> None:
        """Let go of the directory after a failure, without any more writing."""
        self._snapshots.stop()
        store, self._writer.store = self._writer.store, NullStore()
        store.abandon()

    def verify(self) -> list[str]:
        """Differences between indexes and columns, one sentence each; empty where all is well.

        The users, each attribute and each event are checked one after the other, with the lock held for one at a time.
        Others may write between, so that the answer is not of a single version.
        """
        with self._lock:
            checks = self._index.checks()
        faults: list[str] = []
        for check in checks:
            cancellation.check()
            with self._lock:
                faults += check()
        return faults

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Have an observer told of every commit from here on; a function that ends it (see `Writer.observe`)."""
        return self._writer.observe(observer)

    @property
    def catalogue(self) -> CatalogApi:
        """`catalog` under its name of 0.1."""
        return self.catalog

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def calendar(self) -> Calendar:
        """Days in the workspace's time zone."""
        return self._index.calendar

    @property
    def version(self) -> int:
        """The number of the last change: of a batch, an edit, a declaration."""
        return self._index.version

    @property
    def user_count(self) -> int:
        """How many users the workspace has."""
        return len(self._index.users.everyone)

    @property
    def event_count(self) -> int:
        """How many events the workspace holds."""
        with self._lock:
            return sum(event.total for event in self._index.events.values())

    def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory.

        All numbers are kept or read off arrays and bitmaps as they are: nothing is sorted, merged or built. The lock is
        held for one attribute or event at a time, so that others may write between, and bytes may be of a later version
        than `version`.
        """
        index, answers, store = self._index, self._queries.cache, self._writer.store
        with self._lock:
            version, users, events = index.version, self.user_count, self.event_count
            user_bytes = index.users.size_bytes
            answers_bytes = answers.size_bytes + self._queries.word_counter.size_bytes
            conditions, hits = len(answers), answers.hits
            refreshes, misses = answers.refreshes, answers.misses
            measured = ([*index.events.values()], [*index.attributes.values()])
        event_bytes, attribute_bytes = (sum(map(self._measured, parts)) for parts in measured)
        # Apart from the lock: the store looks at files.
        return Statistics(
            version=version,
            users=users,
            events=events,
            user_bytes=user_bytes,
            event_bytes=event_bytes,
            attribute_bytes=attribute_bytes,
            materialised_conditions=conditions,
            materialised_bytes=answers_bytes,
            materialised_hits=hits,
            materialised_refreshes=refreshes,
            materialised_misses=misses,
            snapshot_bytes=store.snapshot_bytes,
            journal_bytes=store.journal_bytes,
            snapshot_ms=store.snapshot_ms,
            journal_ms=store.journal_ms,
        )

    def _measured(self, part: Attribute | Event) -> int:
        with self._lock:
            return part.size_bytes

    @property
    def snapshot_failures(self) -> int:
        """How many of the regular snapshots have failed since the workspace was opened."""
        return self._snapshots.failures

    def forget_materialised(self) -> None:
        """Forget all cached answers; the next queries work everything out."""
        self._queries.forget()

    def prepare(self) -> None:
        """Build all that queries would build when they first ask: sorted partitions, rollups, bitmaps and bins."""
        with self._lock:
            self._index.prepare()

    def now_ms(self) -> int:
        """The present instant of the engine's clock."""
        return self._clock.now_ms()

    # Ingest

    def ingest(self, operations: Iterable[Operation]) -> IngestResult:
        """Apply a batch of row operations as a whole. What is bad in it is left out and reported; the rest stands."""
        return self.ingest_all(operations if isinstance(operations, list) else [*operations], ())[0]

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows given column by column."""
        result, (rejections,) = self.ingest_all((), [columns])
        return replace(result, rejections=rejections)

    def ingest_all(
        self,
        operations: Sequence[Operation],
        blocks: Sequence[Columns],
        *,
        producer: str | None = None,
        sequence: int = 0,
    ) -> tuple[IngestResult, list[tuple[Rejection, ...]]]:
        """Apply row operations and then blocks of columns as one batch, of which a query sees all or nothing.

        The result counts both and has the rejections of the operations; those of each block are apart. Where a
        `producer` is named, its batches are numbered by `sequence` from 1 on: one that was taken already changes
        nothing and counts as repeated, and one that leaves a gap raises InvalidArgumentError.
        """
        now_ms = self.now_ms()
        self._retention.expire(now_ms)
        limits = self._retention.limits(now_ms)
        return self._ingest.take(operations, blocks, limits, producer=producer, sequence=sequence)

    def last_sequence(self, producer: str) -> int:
        """The number of the last batch that was taken from a producer and is safe; 0 before the first."""
        return self._ingest.last_sequence(producer)

    # Queries

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment, given as text or as a tree.

        `as_of` stands for now and hides later events; without an offset it is a local time of the workspace. Raises
        SegmentError, of the class that tells what is wrong with the definition.
        """
        started = time.perf_counter()
        prepared = self._queries.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> CountResult:
            return self._counted(checked[0], evaluator, started)

        return self._queries.answer([prepared], self._moment(as_of), settle)

    def count_all(
        self, queries: Iterable[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | SegmentError], int]:
        """How many users are in each of at most 1,000 segments, all of one version; what they share is computed once.

        Returns the counts and the version. A segment with a fault has its error in the place of its count;
        `elapsed_seconds` of each is the time until its count was there. InvalidArgumentError for more segments.
        """
        started = time.perf_counter()
        queries = [*queries]
        if len(queries) > MAX_BATCH_QUERIES:
            raise InvalidArgumentError(
                f"the batch has {len(queries):,} queries, the limit is {MAX_BATCH_QUERIES:,}", hint="send it in parts"
            )
        outcomes: list[Prepared | SegmentError] = []
        for query in queries:
            try:
                outcomes.append(self._queries.prepare(query))
            except SegmentError as error:
                outcomes.append(error)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> tuple[list[CountResult | SegmentError], int]:
            remaining = iter(checked)
            counts: list[CountResult | SegmentError] = []
            for outcome in outcomes:
                query = outcome if isinstance(outcome, SegmentError) else next(remaining)
                if isinstance(query, SegmentError):
                    counts.append(query)
                else:
                    counts.append(query.fault or self._counted(query, evaluator, started))
            return counts, self._index.version

        prepared = [each for each in outcomes if isinstance(each, Prepared)]
        return self._queries.answer(prepared, self._moment(as_of), settle)

    def _counted(self, query: Checked, evaluator: Evaluator, started: float) -> CountResult:
        query.require_sound()
        report = Count(query.prepared.condition)
        count = report.finish(report.partial(evaluator))
        return CountResult(count, self._index.version, time.perf_counter() - started, query.warnings)

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment and show a sample of its members, spread evenly and the same for the same version."""
        if not 0 <= sample_size <= MAX_SAMPLE:
            raise InvalidArgumentError(f"a sample of {sample_size} is out of range", hint=f"use 0 to {MAX_SAMPLE:,}")
        started = time.perf_counter()
        prepared = self._queries.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> Evaluation:
            checked[0].require_sound()
            members = evaluator.members(prepared.plan)
            total = len(members)
            size = min(sample_size, total)
            ranks = np.array([members[rank * total // size] for rank in range(size)], np.int64)
            sample = tuple(self._index.users.external(ranks))
            elapsed = time.perf_counter() - started
            bitmap = members.serialize() if include_bitmap else None
            return Evaluation(total, self._index.version, elapsed, checked[0].warnings, sample, bitmap)

        return self._queries.answer([prepared], self._moment(as_of), settle)

    def pin_segment(self, name: str) -> None:
        """Keep the members of a saved segment as a bitmap that is refreshed and never evicted: counts are look-ups.

        Edits of the segment, and of those that it refers to, are followed. The pin ends with `unpin_segment`, and when
        the segment is deleted or renamed; it is not saved on disk. Raises NotFoundError if there is no segment of the
        name, SegmentError if it cannot be answered, InvalidArgumentError if too many are pinned.
        """
        self._queries.pin(name, self._moment(None))

    def unpin_segment(self, name: str) -> None:
        """Let go of a pinned segment; nothing happens if it is not pinned."""
        self._queries.unpin(name)

    @property
    def pinned_segments(self) -> tuple[str, ...]:
        """The names of the pinned segments, in alphabetical order."""
        return self._queries.pinned()

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[list[str]]:
        """The external ids of all members of a segment, of one version whatever is ingested meanwhile.

        `page_size` is at most 100,000; 0 means 10,000. With `resume_token`, continues that stream at its version, even
        after a restart; `query` and `as_of` must then be omitted or unchanged. VersionGoneError where the version is no
        longer kept, OverloadedError where the members of open streams take too much memory.
        """
        stream = self._streams.open(self._member_query(query), as_of, page_size, resume_token, is_dense=False)
        return stream.members(self._external_ids)

    def dense_members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[NDArray[np.uint32]]:
        """The dense ids of all members of a segment, ascending, in arrays of at most `page_size`; else as `members`."""
        stream = self._streams.open(self._member_query(query), as_of, page_size, resume_token, is_dense=True)
        return stream.members(lambda ids: ids)

    def _member_query(self, query: Query | None) -> MemberQuery | None:
        if query is None:
            return None
        prepared = self._queries.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> Membership:
            checked[0].require_sound()
            users = evaluator.members(prepared.plan)
            return Membership(users, self._index.version, self._writer.store.last_record, checked[0].warnings)

        return MemberQuery(
            prepared.condition, lambda as_of: self._queries.answer([prepared], self._moment(as_of), settle)
        )

    def _is_durable(self, record: int) -> bool:
        """Wait until a record is safe; False where it may be lost."""
        try:
            self._writer.sync(record)
        except NotDurableError:
            return False
        return True

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it.

        Raises NotFoundError for a user who is not known.
        """
        prepared = self._queries.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> UserExplanation:
            checked[0].require_sound()
            user = self._dense_id(user_id)
            return UserExplanation(
                explain(prepared.condition, user, evaluator, self._catalog),
                self._index.version,
                evaluator.context.now_ms,
                self.workspace.timezone,
                checked[0].warnings,
            )

        return self._queries.answer([prepared], self._moment(as_of), settle)

    def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for who is not known."""
        with self._lock:
            dense = self._dense_id(user_id)
            values = {name: each.value(dense) for name, each in sorted(self._index.attributes.items())}
            summaries = (summary_of(dense, event) for _, event in sorted(self._index.events.items()))
            return UserRecord(
                user_id,
                {name: value for name, value in values.items() if value is not None},
                tuple(each for each in summaries if each is not None),
                self._index.version,
            )

    def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for a user who is not known."""
        prepared = self._queries.prepare_saved()

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> UserSegments:
            user = self._dense_id(user_id)
            by_name = dict(zip(prepared, checked, strict=True))
            return UserSegments(
                tuple(
                    name
                    for name, query in by_name.items()
                    if query.fault is None and evaluator.contains(query.plan, user)
                ),
                self._index.version,
                tuple(f'segment "{name}": {query.fault}' for name, query in by_name.items() if query.fault is not None),
            )

        return self._queries.answer([*prepared.values()], self._moment(as_of), settle)

    def _dense_id(self, user_id: str) -> int:
        found = self._index.users.find(user_id)
        if found is None:
            raise NotFoundError(f'there is no user "{user_id}"')
        return found

    def explain_plan(self, query: Query, as_of: datetime | None = None) -> PlanStep:
        """How a segment is worked out: its parts with estimated and true sizes and times."""
        prepared = self._queries.prepare(query)

        def settle(evaluator: Evaluator, checked: Checked) -> PlanStep:
            checked.require_sound()
            return explain_plan(checked.plan, evaluator)

        return self._queries.answer_at_once(prepared, self._moment(as_of), settle)

    def window(self, window: Window, as_of: datetime | None = None) -> Interval:
        """The interval that a window means in the workspace's zone."""
        return resolve(window, self._as_of_ms(as_of), self.calendar)

    def _external_ids(self, dense_ids: NDArray[np.uint32]) -> list[str]:
        with self._lock:
            return self._index.users.external(dense_ids)

    def tables(self) -> Iterator[tuple[str | None, dict[str, ValueType], Iterator[Columns]]]:
        """All users, and then all events of each name, as they are now, in blocks that `ingest_columns` takes.

        Yields the name of the event, None for users, the type of every attribute or property, and the blocks, each to
        be read before the next. The times of user rows mean nothing.
        """
        return self._snapshots.tables()

    # The schema

    def schema(self) -> list[SchemaField]:
        """Every attribute and property with its type, attributes first."""
        with self._lock:
            return self._index.fields()

    def declare(self, name: str, value_type: ValueType, event: str | None = None) -> None:
        """Fix the type of an attribute, or of an event's property, before or after its first value.

        Raises InvalidArgumentError for a bad name and TypeMismatchError where values have fixed another type already.
        """
        with self._lock:
            self._index.check_declaration(name, value_type, event)
            self._writer.write(TypeDeclared(event, name, value_type))
        self._writer.sync()

    def _moment(self, as_of: datetime | None) -> Moment:
        now_ms = self._as_of_ms(as_of)
        if as_of is None:
            self._retention.expire(now_ms)
        return Moment(now_ms, is_live=as_of is None)

    def _as_of_ms(self, as_of: datetime | None) -> int:
        if as_of is None:
            return self.now_ms()
        if 2 <= as_of.year <= 9998:
            instant_ms = self.calendar.local_ms(as_of)
            if FIRST_INSTANT_MS + DAY_MS < instant_ms < LAST_INSTANT_MS - DAY_MS:
                return instant_ms
        raise InvalidArgumentError(f"as-of {as_of} is outside the years that can be answered")


def _settings(path: str | Path, plain: Mapping[str, Any]) -> WorkspaceSettings:
    """The settings of a workspace in a directory; CorruptSnapshotError for unexpected ones."""
    try:
        return WorkspaceSettings(**{name: value for name, value in plain.items() if name != "id"})
    except (TypeError, InvalidArgumentError) as error:
        raise CorruptSnapshotError(f"the settings of the workspace in {path} are unexpected: {error}") from error
