"""The Engine: the one writer and the door to every query."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from xxhash import xxh3_64_digest

from bitseg.calendar import DAY_MS, FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar
from bitseg.catalog import Catalog
from bitseg.clock import Clock, SystemClock
from bitseg.columns import Columns, Rejection, by_row
from bitseg.engine.catalog import CatalogApi
from bitseg.errors import (
    CorruptSnapshotError,
    DataDirectoryError,
    InvalidArgumentError,
    NotDurableError,
    NotFoundError,
    SegmentError,
)
from bitseg.grouping import Grouped, Limits, group, well_formed
from bitseg.index.bitmaps import to_array
from bitseg.index.context import Context
from bitseg.index.deduplication import digest, split
from bitseg.index.index import CapturedIndex, Field, Index
from bitseg.index.operators.user_events import summary_of
from bitseg.names import MAX_NAME_BYTES, malformed_text
from bitseg.operations import Operation
from bitseg.query.cache import AnswerCache, CachedAnswer
from bitseg.query.check import check_names
from bitseg.query.evaluate import Evaluator
from bitseg.query.explain import explain
from bitseg.query.explain_plan import explain_plan
from bitseg.query.plan import Plan, Planner
from bitseg.query.wordwise import WordCounter
from bitseg.results import (
    CountResult,
    Evaluation,
    IngestResult,
    Members,
    Pages,
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
from bitseg.segment import format, parse, validate
from bitseg.segment.nodes import Condition, Window
from bitseg.segment.windows import Interval, resolve
from bitseg.storage.cursors import NOT_KEPT, CursorStore, ResumeToken
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.records import (
    NO_DETAILS,
    Batch,
    CatalogChanged,
    Record,
    TypeDeclared,
    pack,
    pack_batch,
    pack_change,
    record_of,
)
from bitseg.storage.snapshot import Key, Part
from bitseg.storage.store import Progress, Store
from bitseg.values import ValueType

FUTURE_TOLERANCE_MS = 3_600_000
MAX_SAMPLE = 1_000
DEFAULT_PAGE_SIZE = 10_000
MAX_PAGE_SIZE = 100_000
MAX_RETENTION_DAYS = 100_000
DEFAULT_MATERIALISED_BYTES = 512 * 2**20

Query = str | Condition

# A journal is replayed about as fast as it was written, so that so much of it takes seconds to open.
DEFAULT_SNAPSHOT_AFTER_BYTES = 256 * 2**20
# How often it is looked whether a snapshot is due, and how long after one that failed.
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 5.0

_log = logging.getLogger("bitseg.engine")

# Longer texts are parsed each time: kept, they could fill the memory.
_LONGEST_KEPT_CHARACTERS = 4_096

# Queries that are kept ready to be answered again.
_MAX_PREPARED = 4_096

# Rounds of working out, before the answer is settled with others waiting.
_MAX_ROUNDS = 4

T = TypeVar("T")


@dataclass(slots=True)
class _Prepared:
    """A query taken apart: its tree and its plan, and the warnings or the fault it had when names were last checked."""

    condition: Condition
    plan: Plan
    checked_at: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()
    fault: SegmentError | None = None

    def require_sound(self) -> None:
        """Raise the fault if there is one."""
        if self.fault is not None:
            raise self.fault.with_traceback(None)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What is fixed when a workspace is made: its IANA time zone and how many days of events it keeps."""

    timezone: str = "UTC"
    retention_days: int | None = None


class Engine:
    """A workspace that takes operations and answers segments, safe to use from many threads.

    `Engine()` lives in memory alone. That of `Engine.open` is kept in a data directory: a call that changes something
    returns when the change is safe there, or raises DiskFullError, NotDurableError or DataDirectoryError. A query sees
    whole batches only, and may see one that is about to be safe.
    """

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        clock: Clock | None = None,
        materialised_bytes: int = DEFAULT_MATERIALISED_BYTES,
    ) -> None:
        self.workspace = workspace or Workspace()
        retention = self.workspace.retention_days
        if retention is not None and not 1 <= retention <= MAX_RETENTION_DAYS:
            raise InvalidArgumentError(f"a retention of {retention} days is out of range", hint="use 1 or more")
        self._clock = clock or SystemClock()
        self._lock = FairLock()
        self._index = Index(Calendar(self.workspace.timezone))
        self._catalog = Catalog()
        self.catalog = CatalogApi(
            self._catalog, self._index, self._lock, self.now_ms, self._change, self._last_record, self._sync
        )
        self._materialised = AnswerCache(materialised_bytes)
        self._planner = Planner()
        self._dense = WordCounter(materialised_bytes // 4)
        self._prepared: OrderedDict[str, _Prepared] = OrderedDict()
        # The saved segments taken apart, and the revision of the catalog that they are of.
        self._saved_segments: tuple[int, dict[str, _Prepared]] = (-1, {})
        self._store: Store | None = None
        self._kept = CursorStore()
        # One snapshot at a time.
        self._snapshot_lock = FairLock()
        self._saved_version = -1
        self._snapshots: _RegularSnapshots | None = None
        self.recovered: Recovered | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        workspace: Workspace | None = None,
        *,
        sync: SyncPolicy = SyncPolicy.ALWAYS,
        snapshot_after_bytes: int = DEFAULT_SNAPSHOT_AFTER_BYTES,
        default_segments: bool = True,
        **options: Any,
    ) -> "Engine":
        """Make a workspace in a directory that has none; DataDirectoryError if it has one.

        It starts with a few saved segments unless `default_segments` is unset. Options as of `open`.
        """
        engine = cls(workspace, **options)
        store, _ = engine._created(Path(path), sync, is_empty=True)
        engine._store, engine._saved_version = store, engine._index.version
        engine._kept = CursorStore(store.path)
        if default_segments:
            try:
                engine.catalog.add_default_segments()
            except BaseException:
                store.abandon()
                raise
        engine._snapshots = _RegularSnapshots(engine, snapshot_after_bytes)
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
        **options: Any,
    ) -> "Engine":
        """Open the workspace in a directory; where there is none, make one in UTC if `create` is set.

        `sync` says when a change is on disk: before the call that makes it returns, within a second, or some time.
        A snapshot is taken when the journal has grown by `snapshot_after_bytes`. `progress` is told how many bytes were
        read, of how many. `recovered` then says what was found.

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
            settings = {name: value for name, value in store.workspace.items() if name != "id"}
            try:
                engine = cls(Workspace(**settings), **options)
            except (TypeError, InvalidArgumentError) as error:
                raise CorruptSnapshotError(f"the settings of the workspace in {path} make no sense: {error}") from error
            engine.recovered = store.recover(
                engine._restore, lambda number, value: engine._replay(record_of(value)), progress
            )
            engine._index.restored()
        except BaseException:
            store.abandon()
            raise
        engine._store = store
        engine._kept = CursorStore(store.path, engine._index.version)
        engine._saved_version = engine._index.version if not engine.recovered.records else -1
        engine._snapshots = _RegularSnapshots(engine, snapshot_after_bytes)
        return engine

    def snapshot(self) -> SnapshotResult:
        """Write what changed since the last snapshot, while queries and writes go on, and shorten the journal.

        Raises DataDirectoryError or DiskFullError where the disk refuses; nothing is lost then. InvalidArgumentError
        for a workspace that lives in memory alone.
        """
        with self._snapshot_lock:
            store = self._require_store()
            started = time.perf_counter()
            with suppress(NotDurableError):
                # What the journal has lost, the snapshot will have.
                store.flush()
            with self._lock:
                version = self._index.version
                if version != self._saved_version or store.has_failed:
                    captured = self._index.capture(self._lock)
                    parts, cut = self._parts(captured), store.cut()
                else:
                    captured = None
            if captured is not None:
                is_stored = False
                try:
                    store.publish(cut, parts, purge=captured.has_deleted)
                    is_stored = True
                    self._saved_version = version
                finally:
                    with self._lock:
                        self._index.release(captured, is_stored=is_stored)
            return SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)

    def flush(self) -> None:
        """Make all changes safe whatever the policy; NotDurableError where they may be lost."""
        if self._store is not None:
            self._store.flush()

    def is_snapshot_due(self, after_bytes: int) -> bool:
        """Whether the journal has grown so much, or takes no records until there is a snapshot."""
        store = self._store
        return store is not None and (store.has_failed or store.journal_bytes >= after_bytes)

    def backup(self, folder: str | Path) -> SnapshotResult:
        """Take a snapshot and copy it into a folder that is empty or new, from which `open` makes the same workspace.

        Queries and writes go on meanwhile. DataDirectoryError or DiskFullError where the disk refuses, or the folder
        holds a workspace already.
        """
        with self._snapshot_lock:
            if self._store is None:
                store, result = self._created(Path(folder), SyncPolicy.NEVER, is_empty=False)
                store.close()
                return result
            result = self.snapshot()
            self._store.copy_to(Path(folder))
            return result

    def _created(self, folder: Path, sync: SyncPolicy, *, is_empty: bool) -> tuple[Store, SnapshotResult]:
        started = time.perf_counter()
        settings = {"timezone": self.workspace.timezone, "retention_days": self.workspace.retention_days}
        with self._lock:
            captured, version = self._index.capture(self._lock), self._index.version
            parts = self._parts(captured)
        try:
            store = Store.create(folder, settings, parts, sync, is_empty=is_empty)
        finally:
            with self._lock:
                self._index.release(captured, is_stored=False)
        return store, SnapshotResult(version, store.snapshot_bytes, time.perf_counter() - started)

    def close(self) -> None:
        """Save what changed and let go of the directory.

        Where the disk has no room for a snapshot, the journal keeps what changed. Raises NotDurableError where that
        cannot be relied on.
        """
        if self._store is None:
            return
        if self._snapshots is not None:
            self._snapshots.stop()
        try:
            self.snapshot()
        except DataDirectoryError as error:
            _log.warning("no snapshot was taken, the journal has what changed: %s", error)
        finally:
            store, self._store = self._store, None
            store.close()

    def verify(self) -> list[str]:
        """What of the indexes is not what the columns say, one sentence each; nothing where all is well."""
        with self._lock:
            self._index.prepare()
            return self._index.faults()

    def _require_store(self) -> Store:
        if self._store is None:
            raise InvalidArgumentError("the workspace lives in memory alone", hint="open one in a directory")
        return self._store

    def _parts(self, captured: CapturedIndex) -> Iterator[Part]:
        state, revision = self._catalog.state(), self._index.version
        return chain([Part(("catalogue",), revision, lambda: state)], captured.parts())

    def _restore(self, key: Key, state: Any, revision: int) -> None:
        """Take back one part of a snapshot."""
        if key == ("catalogue",):
            self._catalog.restore(state)
        elif key == ("segments",):
            # Of snapshots that knew no details.
            segments = {name: [text, *NO_DETAILS] for name, text in state.items()}
            self._catalog.restore({"segments": segments, "lists": {}})
        else:
            self._index.restore(key, state, revision)

    def _replay(self, record: Record) -> None:
        """Do again what a record says; ValueError where it does not follow what was done before."""
        if record.version != self._index.version:
            raise ValueError(f"it follows version {record.version}, not {self._index.version}")
        self._do(record)

    def _do(self, record: Record) -> None:
        """Make the change that a record says, which was checked."""
        match record:
            case Batch():
                self._apply(record)
            case CatalogChanged():
                self._catalog.change(record)
                self._index.change_lists({name: each and each[0] for name, each in record.lists.items()})
                if record.segments:
                    self._index.version += 1
            case TypeDeclared(_, name, value_type, event):
                self._index.declare(name, value_type, event)

    def _change(self, record: CatalogChanged | TypeDeclared) -> None:
        """Journal a change that was checked and make it."""
        self._write(b"" if self._store is None else pack(record), lambda: self._do(record))

    def _write(self, payload: bytes, apply: Callable[[], T]) -> T:
        """Journal a change and make it. What then fails in a way nobody foresaw is not in the journal either."""
        if self._store is None:
            return apply()
        before = self._store.last_record
        try:
            self._store.append(payload)
            return apply()
        except BaseException:
            if self._store.last_record > before:
                self._store.withdraw(payload)
            raise

    def _last_record(self) -> int:
        return 0 if self._store is None else self._store.last_record

    def _sync(self, record: int) -> None:
        """Wait until a record, and all before it, may be acknowledged."""
        if self._store is not None:
            self._store.sync(record)

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
        """Grows with every batch that changed something."""
        return self._index.version

    @property
    def user_count(self) -> int:
        """How many users the workspace has."""
        return len(self._index.users.everyone)

    @property
    def event_count(self) -> int:
        """How many events the workspace holds."""
        return sum(event.total for event in self._index.events.values())

    def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory."""
        with self._lock:
            index, materialised = self._index, self._materialised
            return Statistics(
                version=index.version,
                users=self.user_count,
                events=self.event_count,
                user_bytes=index.users.size_bytes,
                event_bytes=sum(event.size_bytes for event in index.events.values()),
                attribute_bytes=sum(attribute.size_bytes for attribute in index.attributes.values()),
                materialised_conditions=len(materialised),
                materialised_bytes=materialised.size_bytes + self._dense.size_bytes,
                materialised_hits=materialised.hits,
                materialised_refreshes=materialised.refreshes,
                materialised_misses=materialised.misses,
                snapshot_bytes=0 if self._store is None else self._store.snapshot_bytes,
                journal_bytes=0 if self._store is None else self._store.journal_bytes,
                snapshot_ms=0 if self._store is None else self._store.snapshot_ms,
                journal_ms=0 if self._store is None else self._store.journal_ms,
            )

    def forget_materialised(self) -> None:
        """Forget all answers kept from earlier queries; the next ones work everything out."""
        with self._lock:
            self._materialised.clear()
            self._dense.clear()

    def prepare(self) -> None:
        """Build all that queries would build when they first ask: sorted partitions, rollups, bitmaps and bins."""
        with self._lock:
            self._index.prepare()

    def now_ms(self) -> int:
        """The present instant of the engine's clock."""
        return self._clock.now_ms()

    # Ingest

    def ingest(self, operations: Sequence[Operation]) -> IngestResult:
        """Apply a batch of row operations. What is bad in it is left out and reported; the rest stands."""
        return self.ingest_all(operations, ())[0]

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
        oldest_day = self._oldest_day()
        limits = self._limits(oldest_day)
        checked = [well_formed(block, limits) for block in blocks]
        kept = [block for block, _ in checked if len(block.user_ids)]
        # The blocks do not depend on what is held, so that they are packed before others have to wait.
        packed = [pack_change(block) for block in kept] if self._store is not None else []
        total = len(operations) + sum(len(block.user_ids) for block in blocks)
        with self._lock:
            if producer is not None and sequence <= self._index.producers.last(producer):
                result = IngestResult(0, total, (), self._index.version)
                by_block: list[tuple[Rejection, ...]] = [() for _ in blocks]
            else:
                if producer is not None:
                    self._require_producer(producer, sequence)
                grouped, message_ids = self._grouped(operations, limits)
                batch = Batch(self._index.version, grouped.changes, kept, message_ids, oldest_day, producer, sequence)
                rejections, of_blocks = self._write_batch(batch, packed)
                rejections += grouped.rejections
                found = iter(of_blocks)
                by_block = [
                    tuple(by_row(refused + (next(found) if len(block.user_ids) else []))) for block, refused in checked
                ]
                every = (*rejections, *(each for part in by_block for each in part))
                accepted = total - grouped.duplicates - sum(each.name is None for each in every)
                result = IngestResult(accepted, grouped.duplicates, tuple(by_row(rejections)), self._index.version)
            # Also of a repeated batch: what it repeats may not be on disk yet.
            record = self._last_record()
        self._sync(record)
        return result, by_block

    def last_sequence(self, producer: str) -> int:
        """The number of the last batch that was taken from a producer and is safe; 0 before the first."""
        with self._lock:
            last, record = self._index.producers.last(producer), self._last_record()
        self._sync(record)
        return last

    def _require_producer(self, producer: str, sequence: int) -> None:
        reason = malformed_text(producer, "producer name", MAX_NAME_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
        self._index.producers.require_next(producer, sequence)

    def _grouped(self, operations: Sequence[Operation], limits: Limits) -> tuple[Grouped, bytes]:
        """The operations as changes, without repeated ones, and the digests of the ids of the others."""
        seen = self._index.messages
        fresh: dict[bytes, None] = {}

        def is_repeated(message_id: str) -> bool:
            found = digest(message_id)
            if found in seen or found in fresh:
                return True
            fresh[found] = None
            return False

        return group(operations, limits, is_repeated), b"".join(fresh)

    def _write_batch(self, batch: Batch, packed: Sequence[bytes]) -> tuple[list[Rejection], list[list[Rejection]]]:
        is_old = batch.oldest_day is not None and self._index.has_events_before(batch.oldest_day)
        if not (batch.changes or batch.blocks or batch.producer or is_old):
            return [], []
        payload = pack_batch(batch, packed) if self._store is not None else b""
        return self._write(payload, lambda: self._apply(batch))

    def _apply(self, batch: Batch) -> tuple[list[Rejection], list[list[Rejection]]]:
        """Make the changes of a batch; what was left out of its operations, and of each of its blocks."""
        rejections = self._index.apply(batch.changes)
        of_blocks = [self._index.apply([block]) for block in batch.blocks]
        self._index.messages.add(split(batch.message_ids))
        if batch.producer is not None:
            self._index.producers.advance(batch.producer, batch.sequence)
            self._index.version += 1
        if batch.oldest_day is not None:
            self._index.drop_events_before(batch.oldest_day)
        return rejections, of_blocks

    def _limits(self, oldest_day: int | None) -> Limits:
        newest_ms = self.now_ms() + FUTURE_TOLERANCE_MS
        return Limits(newest_ms) if oldest_day is None else Limits(newest_ms, self.calendar.day_start_ms(oldest_day))

    def _oldest_day(self) -> int | None:
        """The first day within the retention; None without one."""
        retention = self.workspace.retention_days
        return None if retention is None else self.calendar.day_of(self.now_ms()) - retention + 1

    # Queries

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment, given as text or as a tree.

        `as_of` stands for now and hides later events; without an offset it is a local time of the workspace. Raises
        SegmentError, of the class that tells what is wrong with the definition.
        """
        (outcome,), _ = self.count_all([query], as_of)
        if isinstance(outcome, SegmentError):
            raise outcome.with_traceback(None)
        return outcome

    def count_all(
        self, queries: Sequence[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | SegmentError], int]:
        """How many users are in each of some segments, all of one version; what they share is worked out once.

        Returns the counts and the version. A segment with a fault has its error in the place of its count;
        `elapsed_seconds` of each is the time until its count was there.
        """
        started = time.perf_counter()
        outcomes: list[_Prepared | SegmentError] = []
        for query in queries:
            try:
                outcomes.append(self._prepare(query))
            except SegmentError as error:
                outcomes.append(error)

        def count(evaluator: Evaluator) -> tuple[list[CountResult | SegmentError], int]:
            version = self._index.version
            found: list[CountResult | SegmentError] = []
            for each in outcomes:
                if isinstance(each, SegmentError):
                    found.append(each)
                elif each.fault is not None:
                    found.append(each.fault)
                else:
                    count = evaluator.count_plan(each.plan)
                    found.append(CountResult(count, version, time.perf_counter() - started, each.warnings))
            return found, version

        return self._answer([each for each in outcomes if isinstance(each, _Prepared)], as_of, count)

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment and show a sample of its members, spread evenly and the same for the same version."""
        if not 0 <= sample_size <= MAX_SAMPLE:
            raise InvalidArgumentError(f"a sample of {sample_size} is out of range", hint=f"use 0 to {MAX_SAMPLE:,}")
        started = time.perf_counter()
        prepared = self._prepare(query)

        def answer(evaluator: Evaluator) -> Evaluation:
            prepared.require_sound()
            members = evaluator.members_of_plan(prepared.plan)
            total = len(members)
            size = min(sample_size, total)
            ranks = np.array([members[rank * total // size] for rank in range(size)], np.int64)
            sample = tuple(self._index.users.external(ranks))
            elapsed = time.perf_counter() - started
            bitmap = members.serialize() if include_bitmap else None
            return Evaluation(total, self._index.version, elapsed, prepared.warnings, sample, bitmap)

        return self._answer([prepared], as_of, answer)

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        resume_token: str = "",
    ) -> Members[list[str]]:
        """The external ids of all members of a segment, of one version whatever is ingested meanwhile.

        With a `resume_token`, those that follow it, of the version that it is of, also after the workspace was opened
        again; the query and `as_of` are then absent or as they were. VersionGoneError where they are no longer kept.
        """
        dense = self._members(query, as_of, page_size, resume_token, is_dense=False)
        pages = ((self._external_ids(ids), dense.pages.resume_token) for ids in dense.pages)
        return Members(dense.total, dense.version, dense.warnings, Pages(pages, dense.resume_token))

    def dense_members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        resume_token: str = "",
    ) -> Members[NDArray[np.uint32]]:
        """The dense ids of all members of a segment, ascending, in arrays of at most `page_size`; else as `members`."""
        return self._members(query, as_of, page_size, resume_token, is_dense=True)

    def _members(
        self, query: Query | None, as_of: datetime | None, page_size: int, resume_token: str, *, is_dense: bool
    ) -> Members[NDArray[np.uint32]]:
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgumentError(
                f"a page size of {page_size} is out of range", hint=f"use 1 to {MAX_PAGE_SIZE:,}"
            )
        prepared = None if query is None else self._prepare(query)
        if resume_token:
            token = ResumeToken.parse(resume_token)
            _require_same_stream(token, prepared, as_of, is_dense)
            found = BitMap.deserialize(self._kept.find(token)) if token.position < token.total else BitMap()
            dense = to_array(found)[token.position :]
            warnings: tuple[str, ...] = ()
        elif prepared is None:
            raise InvalidArgumentError("there is neither a query nor a resume token")
        else:
            found, version, record = self._answer([prepared], as_of, lambda evaluator: self._whole(evaluator, prepared))
            dense, warnings = to_array(found), prepared.warnings
            kept_id = NOT_KEPT
            if len(dense) > page_size:
                kept_id = self._kept.keep(version, found.serialize(), is_durable=self._is_durable(record))
            token = ResumeToken(kept_id, _query_digest(prepared, as_of), version, 0, len(dense), is_dense)
        starts = range(0, len(dense), page_size)
        pages = (
            (page, replace(token, position=token.position + start + len(page)).text())
            for start in starts
            for page in [dense[start : start + page_size]]
        )
        can_resume = token.position == token.total or token.kept_id != NOT_KEPT
        return Members(token.total, token.version, warnings, Pages(pages, token.text() if can_resume else ""))

    def _is_durable(self, record: int) -> bool:
        """Whether a record is safe, so that what is of it can be found again after a restart."""
        try:
            self._sync(record)
        except NotDurableError:
            return False
        return True

    def _whole(self, evaluator: Evaluator, prepared: _Prepared) -> tuple[BitMap, int, int]:
        """All members of a query, the version that they are of, and the last record it has."""
        prepared.require_sound()
        return evaluator.members_of_plan(prepared.plan), self._index.version, self._last_record()

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it.

        Raises NotFoundError for a user who is not known.
        """
        prepared = self._prepare(query)

        def answer(evaluator: Evaluator) -> UserExplanation:
            prepared.require_sound()
            user = self._dense_id(user_id)
            return UserExplanation(
                explain(prepared.condition, user, evaluator, self._catalog),
                self._index.version,
                evaluator.context.now_ms,
                self.workspace.timezone,
                prepared.warnings,
            )

        return self._answer([prepared], as_of, answer)

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
        prepared = self._prepared_segments()

        def answer(evaluator: Evaluator) -> UserSegments:
            user = self._dense_id(user_id)
            sound = {name: each.plan for name, each in prepared.items() if each.fault is None}
            return UserSegments(
                tuple(name for name, plan in sound.items() if evaluator.contains(plan, user)),
                self._index.version,
                tuple(f'segment "{name}": {each.fault}' for name, each in prepared.items() if each.fault is not None),
            )

        return self._answer([*prepared.values()], as_of, answer)

    def _dense_id(self, user_id: str) -> int:
        found = self._index.users.find(user_id)
        if found is None:
            raise NotFoundError(f'there is no user "{user_id}"')
        return found

    def _prepared_segments(self) -> Mapping[str, _Prepared]:
        """The saved segments, ready to be answered, by name in alphabetical order."""
        with self._lock:
            revision = self._catalog.revision
            if self._saved_segments[0] != revision:
                prepared = {
                    name: _Prepared(condition, self._planner.plan(condition))
                    for name, condition in sorted(self._catalog.items())
                }
                self._saved_segments = (revision, prepared)
            return self._saved_segments[1]

    def explain_plan(self, query: Query, as_of: datetime | None = None) -> PlanStep:
        """How a segment is worked out: its parts with estimated and true sizes and times."""
        prepared = self._prepare(query)
        with self._lock:
            context = Context(self._as_of_ms(as_of), self.calendar)
            evaluator = self._evaluator([prepared], context, {}, is_live=as_of is None)
            prepared.require_sound()
            return explain_plan(prepared.plan, evaluator)

    def window(self, window: Window, as_of: datetime | None = None) -> Interval:
        """The interval that a window means in the workspace's zone."""
        return resolve(window, self._as_of_ms(as_of), self.calendar)

    def _external_ids(self, dense_ids: NDArray[np.uint32]) -> list[str]:
        with self._lock:
            return self._index.users.external(dense_ids)

    def tables(self) -> Iterator[tuple[str | None, dict[str, ValueType], Iterator[Columns]]]:
        """All users, and then all events of each name, as they are now, in blocks that `ingest_columns` takes.

        Yields the name of the event, None for users, the type of every attribute or property, and the blocks, each to
        be read before the next. Snapshots wait meanwhile. The times of user rows mean nothing.
        """
        with self._snapshot_lock:
            with self._lock:
                captured = self._index.capture(self._lock)
            try:
                yield None, captured.attribute_types(), captured.user_blocks()
                for event in captured.events:
                    yield event.name, dict(event.types), captured.event_blocks(event)
            finally:
                with self._lock:
                    self._index.release(captured, is_stored=False)

    # The schema

    def schema(self) -> list[Field]:
        """Every attribute and property with its type, attributes first."""
        with self._lock:
            return self._index.schema()

    def declare(self, name: str, value_type: ValueType, event: str | None = None) -> None:
        """Fix the type of an attribute, or of an event's property, before or after its first value.

        Raises InvalidArgumentError for a bad name and TypeMismatchError where values have fixed another type already.
        """
        with self._lock:
            self._index.check_declaration(name, value_type, event)
            self._change(TypeDeclared(self._index.version, name, value_type, event))
            record = self._last_record()
        self._sync(record)

    def _prepare(self, query: Query) -> _Prepared:
        """A query taken apart; done before the lock is taken, for hostile texts take their time."""
        if not isinstance(query, str):
            validate(query)
            return _Prepared(query, self._planner.plan(query))
        prepared = self._prepared.get(query)
        if prepared is None:
            condition = parse(query)
            prepared = _Prepared(condition, self._planner.plan(condition))
            if len(query) <= _LONGEST_KEPT_CHARACTERS:
                with self._lock:
                    self._prepared[query] = prepared
                    if len(self._prepared) > _MAX_PREPARED:
                        self._prepared.popitem(last=False)
        return prepared

    def _answer(self, queries: Sequence[_Prepared], as_of: datetime | None, answer: Callable[[Evaluator], T]) -> T:
        """The answer to queries at one version.

        What takes long is worked out first, without keeping others waiting, and brought up to date with what came
        meanwhile, which takes less time each round; the answer then settles the rest, all in one go.
        """
        context = Context(self._as_of_ms(as_of), self.calendar)
        computed: dict[Hashable, CachedAnswer] = {}
        for last in (False,) * _MAX_ROUNDS + (True,):
            with self._lock:
                for key, found in computed.items():
                    self._materialised.keep(key, found)
                evaluator = self._evaluator(queries, context, computed, is_live=as_of is None)
                sound = [each.plan for each in queries if each.fault is None]
                tasks = {} if last else {key: task for plan in sound for key, task in evaluator.tasks(plan).items()}
                if not tasks:
                    return answer(evaluator)
            for key, task in tasks.items():
                cancellation.check()
                computed[key] = task.result(task.work())
        raise AssertionError("the last round answers")

    def _evaluator(
        self,
        queries: Sequence[_Prepared],
        context: Context,
        computed: Mapping[Hashable, CachedAnswer],
        *,
        is_live: bool,
    ) -> Evaluator:
        """What answers the queries now; names are checked if any have come or gone since."""
        revision = (self._index.schema_revision, self._catalog.revision)
        for each in queries:
            if each.checked_at != revision:
                each.fault = None
                try:
                    each.warnings = check_names(each.condition, self._index, self._catalog)
                except SegmentError as error:
                    each.fault = error
                each.checked_at = revision
        return Evaluator(
            self._index,
            context,
            self._materialised,
            self._planner,
            self._dense,
            self._catalog,
            is_live=is_live,
            computed=computed,
        )

    def _as_of_ms(self, as_of: datetime | None) -> int:
        if as_of is None:
            return self.now_ms()
        if 2 <= as_of.year <= 9998:
            instant_ms = self.calendar.local_ms(as_of)
            if FIRST_INSTANT_MS + DAY_MS < instant_ms < LAST_INSTANT_MS - DAY_MS:
                return instant_ms
        raise InvalidArgumentError(f"as-of {as_of} is outside the years that can be answered")


def _query_digest(prepared: _Prepared, as_of: datetime | None) -> bytes:
    """What a stream of members is of, apart from the version."""
    return xxh3_64_digest(repr((format(prepared.condition), as_of)).encode(errors="surrogatepass"))


def _require_same_stream(
    token: ResumeToken, prepared: _Prepared | None, as_of: datetime | None, is_dense: bool
) -> None:
    """Raise InvalidArgumentError where a call resumes a stream that it would not have begun."""
    is_same_query = token.query == _query_digest(prepared, as_of) if prepared is not None else as_of is None
    if not is_same_query or token.is_dense != is_dense:
        raise InvalidArgumentError(
            "the resume token is of a stream of another query or kind of ids",
            hint="leave the query out, or send what the stream began with",
        )


class _RegularSnapshots:
    """A thread that takes snapshots: when the journal has grown, and when only that makes it take records again."""

    def __init__(self, engine: Engine, after_bytes: int) -> None:
        self._engine = engine
        self._after_bytes = after_bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bitseg-snapshots", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the snapshot that is being taken, if there is one."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wait_seconds = _LOOK_SECONDS
        while not self._stopped.wait(wait_seconds):
            wait_seconds = _LOOK_SECONDS
            try:
                if self._engine.is_snapshot_due(self._after_bytes):
                    self._engine.snapshot()
            except DataDirectoryError as error:
                _log.warning("a snapshot failed and will be tried again: %s", error)
                wait_seconds = _RETRY_SECONDS
