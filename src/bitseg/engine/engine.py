"""The Engine: the public interface of a workspace in this process."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from bitseg.errors import CorruptSnapshotError, DataDirectoryError, InvalidArgumentError, SegmentError
from bitseg.index.index import SchemaField
from bitseg.operations import Operation
from bitseg.query.session import Moment
from bitseg.query.session import Query as Query
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
from bitseg.segment.nodes import Window
from bitseg.segment.windows import Interval, resolve
from bitseg.shard.shard import LocalShard
from bitseg.shard.writer import Observer
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import Progress, Store
from bitseg.values import ValueType


class Engine:
    """A workspace that takes operations and answers segments, safe to use from many threads.

    `Engine()` is only in memory. `Engine.open` uses a data directory: a call that changes something returns when the
    change is durable there, or raises DiskFullError, NotDurableError or DataDirectoryError. A query sees only whole
    batches, including a batch that is applied but not durable yet.

    If a change fails midway, by a lack of memory for example, every later call raises WorkspaceBrokenError: close the
    engine and open it again from its directory.
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
        self._shard = LocalShard(
            Calendar(self.workspace.timezone),
            self.workspace.plain(),
            self.workspace.retention_days,
            materialised_bytes,
        )

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
        """Make a workspace in a directory; DataDirectoryError if the directory has one already.

        It starts with a few saved segments unless `default_segments` is False. The options are those of `open`.
        """
        engine = cls(workspace, **options)
        engine._shard.create(Path(path), sync)
        with engine._abandoned_on_failure():
            engine._shard.snapshots.start(snapshot_after_bytes)
            if default_segments:
                engine.catalog.add_default_segments()
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
        """Open the workspace in a directory; without one, make a workspace in UTC if `create` is set.

        `sync` says when a change is durable: before its call returns, within a second, or when the operating system
        decides. A snapshot is taken when the journal has grown by `snapshot_after_bytes`. `progress` is called with the
        bytes read so far and the total. Afterwards, `recovered` describes what was read. A directory of an earlier
        format is upgraded.

        Raises DirectoryLockedError, CorruptSnapshotError, CorruptJournalError, UnsupportedFormatError or
        DataDirectoryError.
        """
        store = Store.open(Path(path), sync)
        if store is None and create:
            return cls.create(
                path,
                sync=sync,
                snapshot_after_bytes=snapshot_after_bytes,
                default_segments=default_segments,
                **options,
            )
        if store is None:
            raise DataDirectoryError(
                f"there is no workspace in {path}", hint="make one with bitseg import or bitseg init"
            )
        try:
            engine = cls(_settings(path, store.workspace), **options)
            engine._shard.recover(store, progress)
        except BaseException:
            store.abandon()
            raise
        with engine._abandoned_on_failure():
            engine._shard.snapshots.start(snapshot_after_bytes)
            engine._shard.retention.expire(engine.now_ms())
        return engine

    @contextmanager
    def _abandoned_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._shard.abandon()
            raise

    def close(self) -> None:
        """Save the changes and unlock the directory; later changes are refused.

        If the disk has no room for a snapshot, the changes stay in the journal. Raises NotDurableError if they may be
        lost.
        """
        self._shard.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The workspace

    @property
    def catalog(self) -> CatalogApi:
        """Saved segments and static lists."""
        return CatalogApi(self._shard.writer, self.now_ms)

    @property
    def catalogue(self) -> CatalogApi:
        """`catalog` under its name in 0.1."""
        return self.catalog

    @property
    def calendar(self) -> Calendar:
        """Days in the workspace's time zone."""
        return self._shard.state.index.calendar

    @property
    def recovered(self) -> Recovered | None:
        """What was read when the directory was opened; None for a workspace that was just made."""
        return self._shard.recovered

    @property
    def version(self) -> int:
        """The number of the last change, such as a batch, an edit or a declaration."""
        return self._shard.state.version

    @property
    def user_count(self) -> int:
        """How many users the workspace has."""
        return len(self._shard.state.index.users.everyone)

    @property
    def event_count(self) -> int:
        """How many events the workspace has."""
        return self._shard.event_count()

    @property
    def snapshot_failures(self) -> int:
        """How many regular snapshots have failed since the workspace was opened."""
        return self._shard.snapshots.failures

    @property
    def open_stream_bytes(self) -> int:
        """The memory of the members of open streams."""
        return self._shard.queries.open_stream_bytes

    def now_ms(self) -> int:
        """The present instant of the engine's clock."""
        return self._clock.now_ms()

    def statistics(self) -> Statistics:
        """The counts and the memory of everything; nothing is sorted, merged or built for it."""
        return self._shard.statistics()

    def verify(self) -> list[str]:
        """Differences between indexes and columns, one sentence for each; empty if there are no differences."""
        return self._shard.verify()

    def require_sound(self) -> None:
        """Raise WorkspaceBrokenError if a change failed midway, so that the workspace must be opened again."""
        self._shard.lock.require_sound()

    def prepare(self) -> None:
        """Build what the first queries would build: sorted partitions, rollups, bitmaps and bins."""
        self._shard.prepare()

    def forget_materialised(self) -> None:
        """Evict all cached answers, so that the next queries compute everything."""
        self._shard.queries.session.forget()

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call an observer with every later commit. Returns a function that stops this (see `Writer.observe`)."""
        return self._shard.observe(observer)

    def on_broken(self, tell: Callable[[], None]) -> None:
        """Call a function when a change fails midway, after which every call raises WorkspaceBrokenError."""
        self._shard.writer.on_broken = tell

    # On disk

    def snapshot(self) -> SnapshotResult:
        """Write what changed since the last snapshot, while queries and writes go on, and shorten the journal.

        Raises DataDirectoryError or DiskFullError if the disk refuses; nothing is lost then. InvalidArgumentError
        for a workspace in memory.
        """
        self._shard.retention.expire(self.now_ms())
        return self._shard.snapshots.snapshot()

    def flush(self) -> None:
        """Make all changes durable, whatever the policy; NotDurableError if they may be lost."""
        self._shard.writer.store.flush()

    def backup(self, directory: str | Path) -> SnapshotResult:
        """Take a snapshot and copy it into an empty or new directory, which can be opened as the same workspace.

        Queries and writes go on meanwhile. DataDirectoryError or DiskFullError if the disk refuses, or the directory
        has a workspace already.
        """
        return self._shard.snapshots.backup(Path(directory))

    def tables(self) -> Iterator[tuple[str | None, dict[str, ValueType], Iterator[Columns]]]:
        """All users, and then all events of each name, at one version, in blocks that `ingest_columns` takes.

        Yields the name of the event (None for users), the type of every attribute or property, and the blocks. A block
        must be read before the next one. The times of user rows have no meaning. A reader that pauses for 10 seconds
        while a snapshot is due gets VersionGoneError at its next step.
        """
        return self._shard.snapshots.tables()

    # Ingest

    def ingest(self, operations: Iterable[Operation]) -> IngestResult:
        """Apply a batch of row operations atomically. Invalid rows and values are left out and reported."""
        return self.ingest_all(operations if isinstance(operations, list) else [*operations], ())[0]

    def ingest_columns(self, columns: Columns) -> IngestResult:
        """Apply a block of rows, given as columns."""
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
        """Apply row operations and then blocks of columns as one atomic batch.

        The result counts both and has the rejections of the operations; a list has the rejections of every block. The
        batches of a `producer` are numbered by `sequence` from 1 on: a batch that was applied before changes nothing
        and counts as duplicate, and a gap raises InvalidArgumentError.
        """
        now_ms = self.now_ms()
        self._shard.retention.expire(now_ms)
        limits = self._shard.retention.limits(now_ms)
        return self._shard.ingest.take(operations, blocks, limits, producer=producer, sequence=sequence)

    def last_sequence(self, producer: str) -> int:
        """The sequence of a producer's last durable batch; 0 before the first."""
        return self._shard.ingest.last_sequence(producer)

    # Queries

    def count(self, query: Query, as_of: datetime | None = None) -> CountResult:
        """How many users are in a segment, given as text or as a tree.

        `as_of` replaces the present and hides later events; without an offset it is local to the workspace's zone.
        Raises a subclass of SegmentError for an invalid definition.
        """
        return self._shard.queries.count(query, self._moment(as_of))

    def count_all(
        self, queries: Iterable[Query], as_of: datetime | None = None
    ) -> tuple[list[CountResult | SegmentError], int]:
        """How many users are in each of at most 1,000 segments, at one version; shared conditions are computed once.

        Returns the counts and the version. An invalid segment has its error in place of its count. `elapsed_seconds`
        is the time from the start of the batch to the count. InvalidArgumentError for more segments.
        """
        return self._shard.queries.count_all([*queries], self._moment(as_of))

    def evaluate(
        self, query: Query, as_of: datetime | None = None, *, sample_size: int = 0, include_bitmap: bool = False
    ) -> Evaluation:
        """Count a segment, with an evenly spread sample of its members that is the same for the same version."""
        return self._shard.queries.evaluate(query, self._moment(as_of), sample_size, include_bitmap=include_bitmap)

    def members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[list[str]]:
        """The external ids of all members of a segment at one version, whatever is ingested meanwhile.

        `page_size` is at most 100,000; 0 means 10,000. With `resume_token`, continues that stream at its version, even
        after a restart; `query` and `as_of` must then be omitted or unchanged. VersionGoneError if the version's
        members were evicted, OverloadedError if open streams take too much memory.
        """
        queries = self._shard.queries
        stream = queries.stream(query, as_of, self._moment, page_size, resume_token, is_dense=False)
        return stream.members(queries.external_ids)

    def dense_members(
        self,
        query: Query | None = None,
        as_of: datetime | None = None,
        *,
        page_size: int = 0,
        resume_token: str = "",
    ) -> Members[NDArray[np.uint32]]:
        """The dense ids of all members of a segment, ascending, in arrays of at most `page_size`; see `members`."""
        stream = self._shard.queries.stream(query, as_of, self._moment, page_size, resume_token, is_dense=True)
        return stream.members(lambda ids: ids)

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """Whether each condition of a segment holds for one user, with the values and events behind it.

        Raises NotFoundError for an unknown user.
        """
        return self._shard.queries.explain(user_id, query, self._moment(as_of))

    def explain_plan(self, query: Query, as_of: datetime | None = None) -> PlanStep:
        """How a segment is evaluated: its parts with estimated and actual sizes, and seconds."""
        return self._shard.queries.explain_plan(query, self._moment(as_of))

    def user(self, user_id: str) -> UserRecord:
        """A user's attributes, and how often and when each event occurred; NotFoundError for an unknown user."""
        self._moment(None)
        return self._shard.queries.user(user_id)

    def user_segments(self, user_id: str, as_of: datetime | None = None) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for an unknown user."""
        return self._shard.queries.user_segments(user_id, self._moment(as_of))

    def pin_segment(self, name: str) -> None:
        """Cache the members of a saved segment in a bitmap that is refreshed and never evicted: counts are look-ups.

        The bitmap follows edits of the segment and of the segments that it refers to. The pin ends with
        `unpin_segment`, and when the segment is deleted or renamed; it is not saved on disk. Raises NotFoundError if no
        segment has the name, SegmentError if it is invalid, InvalidArgumentError if too many are pinned.
        """
        self._shard.queries.session.pin(name, self._moment(None))

    def unpin_segment(self, name: str) -> None:
        """Unpin a segment; no effect if it is not pinned."""
        self._shard.queries.session.unpin(name)

    @property
    def pinned_segments(self) -> tuple[str, ...]:
        """The names of the pinned segments, in alphabetical order."""
        return self._shard.queries.session.pinned()

    def window(self, window: Window, as_of: datetime | None = None) -> Interval:
        """The interval of a window in the workspace's time zone."""
        return resolve(window, self._as_of_ms(as_of), self.calendar)

    # The schema

    def schema(self) -> list[SchemaField]:
        """Every attribute and property with its type, attributes first."""
        with self._shard.lock:
            return self._shard.state.index.fields()

    def declare(self, name: str, value_type: ValueType, event: str | None = None) -> None:
        """Fix the type of an attribute, or of an event's property, before or after its first value.

        Raises InvalidArgumentError for a bad name and TypeMismatchError if values have already fixed another type.
        """
        self._shard.declare(name, value_type, event)

    def _moment(self, as_of: datetime | None) -> Moment:
        """The moment of a query. Events past the retention are dropped first."""
        self._shard.retention.try_expire(self.now_ms())
        return Moment(self._as_of_ms(as_of), is_live=as_of is None)

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
