"""A shard: some users of a workspace in one state, and every operation on them."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from bitseg.calendar import Calendar
from bitseg.errors import DataDirectoryError, WorkspaceBrokenError
from bitseg.index.attributes import Attribute
from bitseg.index.events import Event
from bitseg.query.session import Moment
from bitseg.records import Record, TypeDeclared
from bitseg.reports.base import P, Report
from bitseg.results import Recovered, Statistics
from bitseg.runtime import cancellation
from bitseg.runtime.locks import FairLock
from bitseg.shard.ingest import Ingest
from bitseg.shard.queries import Queries
from bitseg.shard.recovery import StateRecovery
from bitseg.shard.retention import Retention
from bitseg.shard.snapshots import Snapshots
from bitseg.shard.state import Commit, WorkspaceState
from bitseg.shard.writer import Observer, Writer
from bitseg.storage.cursors import CursorStore
from bitseg.storage.journal import SyncPolicy
from bitseg.storage.store import AnyStore, ClosedStore, NullStore, Progress, Store
from bitseg.values import ValueType

_log = logging.getLogger("bitseg.shard")


class Shard(Protocol):
    """One part of a workspace. Every user is in exactly one shard.

    Callers give the records, their types, and the moment of a query. Several shards can thus apply changes in the same
    order, have the same schema, and answer at the same moment.
    """

    def write(self, record: Record) -> Commit:
        """Apply a record with resolved types as the next version, and wait until it is durable."""
        ...

    def report(self, report: Report[P, Any], moment: Moment) -> P:
        """The partial result of a report over the users of the shard, to be merged with those of other shards."""
        ...

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call an observer with every later commit. Returns a function that stops this."""
        ...


class LocalShard:
    """A shard in this process: a state with its writer, in memory or in a data directory.

    `settings` are the workspace's settings as plain values, and `answer_bytes` bounds the cached answers.
    """

    def __init__(
        self,
        calendar: Calendar,
        settings: Mapping[str, Any],
        retention_days: int | None,
        answer_bytes: int,
    ) -> None:
        self.lock = FairLock()
        self.state = WorkspaceState(calendar)
        self.recovered: Recovered | None = None
        self._settings = settings
        self._retention_days = retention_days
        self._answer_bytes = answer_bytes
        self._attach(NullStore(), -1)

    def _attach(self, store: AnyStore, saved_version: int) -> None:
        """Write to a store from here on, whose snapshot has `saved_version`."""
        self.writer = Writer(self.state, store, self.lock)
        self.ingest = Ingest(self.writer)
        self.retention = Retention(self.writer, self._retention_days)
        self.snapshots = Snapshots(self.writer, self._settings)
        self.snapshots.saved_version = saved_version
        cursors = CursorStore(store.path, self.state.version) if isinstance(store, Store) else CursorStore()
        self.queries = Queries(self.writer, cursors, self._answer_bytes)

    def create(self, path: Path, sync: SyncPolicy) -> None:
        """Store the shard in a directory; DataDirectoryError if it has a workspace already."""
        store, result = self.snapshots.create(path, sync, is_empty=True)
        self._attach(store, result.version)

    def recover(self, store: Store, progress: Progress) -> None:
        """Restore the shard from a store, and keep it there. A directory of an earlier format is upgraded.

        Raises CorruptSnapshotError, CorruptJournalError, UnsupportedFormatError or DataDirectoryError.
        """
        recovery = StateRecovery(self.state, store.version, is_legacy=store.is_legacy)
        self.recovered = store.recover(recovery.restore, recovery.replay, progress, recovery.restored)
        is_saved = not (self.recovered.records or store.needs_upgrade)
        self._attach(store, self.state.version if is_saved else -1)
        if store.needs_upgrade:
            self.snapshots.snapshot()

    def write(self, record: Record) -> Commit:
        """Apply a record with resolved types as the next version, and wait until it is durable."""
        with self.writer.editing():
            commit = self.writer.write(record)
            number = self.writer.store.last_record
        self.writer.sync(number)
        return commit

    def report(self, report: Report[P, Any], moment: Moment) -> P:
        """The partial result of a report over the users of the shard, to be merged with those of other shards."""
        return self.queries.report(report, moment)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call an observer with every later commit. Returns a function that stops this (see `Writer.observe`)."""
        return self.writer.observe(observer)

    def declare(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Fix the type of an attribute, or of an event's property.

        Raises InvalidArgumentError for a bad name and TypeMismatchError if values have already fixed another type.
        """
        with self.writer.editing():
            self.state.index.check_declaration(name, value_type, event)
            self.writer.write(TypeDeclared(event, name, value_type))
        self.writer.sync()

    def close(self) -> None:
        """Save the changes and unlock the directory.

        If the disk has no room for a snapshot, the changes stay in the journal. Raises NotDurableError if they may be
        lost.
        """
        store = self.writer.store
        if not isinstance(store, Store):
            return
        self.snapshots.stop()
        if self.lock.is_broken:
            self.abandon()
            return
        try:
            self.snapshots.snapshot()
        except (DataDirectoryError, WorkspaceBrokenError) as error:
            _log.warning("no snapshot was taken, the changes are in the journal: %s", error)
        finally:
            self.writer.store = ClosedStore(store.last_record)
            store.close()

    def abandon(self) -> None:
        """Unlock the directory after a failure, without writing."""
        self.snapshots.stop()
        store = self.writer.store
        self.writer.store = ClosedStore(store.last_record)
        store.abandon()

    def verify(self) -> list[str]:
        """Differences between indexes and columns, one sentence for each; empty if there are no differences.

        The users, every attribute and every event are checked in turn, and the lock is released in between. Writes may
        happen meanwhile, so that the answer is not of a single version.
        """
        with self.lock:
            checks = self.state.index.checks()
        faults: list[str] = []
        for check in checks:
            cancellation.check()
            with self.lock:
                faults += check()
        return faults

    def event_count(self) -> int:
        """How many events the shard has."""
        with self.lock:
            return sum(event.total for event in self.state.index.events.values())

    def statistics(self) -> Statistics:
        """The counts and the memory of everything in the shard.

        The numbers are counters or sizes of arrays and bitmaps: nothing is sorted, merged or built. The lock is
        released after every attribute and event. Writes may happen meanwhile, so that bytes may be of a later version
        than `version`.
        """
        index, store = self.state.index, self.writer.store
        answers, words = self.queries.session.cache, self.queries.session.word_counter
        with self.lock:
            version, users, events = index.version, len(index.users.everyone), self.event_count()
            user_bytes = index.users.size_bytes
            answers_bytes = answers.size_bytes + words.size_bytes
            conditions, hits = len(answers), answers.hits
            refreshes, misses = answers.refreshes, answers.misses
            measured = ([*index.events.values()], [*index.attributes.values()])
        event_bytes, attribute_bytes = (sum(map(self._measured, parts)) for parts in measured)
        # Without the lock, because the store reads the sizes of files.
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
        with self.lock:
            return part.size_bytes

    def prepare(self) -> None:
        """Build what the first queries would build: sorted partitions, rollups, bitmaps and bins."""
        with self.lock:
            self.state.index.prepare()
