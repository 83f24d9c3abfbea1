"""A shard: the users that one state holds, and all that can be done with them."""

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
    """One part of a workspace: whole users, of which no other shard has any.

    Records, their types and the moment of a question come from outside, so that several shards take the same changes
    in one order, hold the same schema, and stand at one moment.
    """

    def write(self, record: Record) -> Commit:
        """Take a record, whose types are resolved, as the next version, and wait until it is safe."""
        ...

    def report(self, report: Report[P, Any], moment: Moment) -> P:
        """The partial result of a report over the users of the shard, to be merged with those of others."""
        ...

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Have an observer told of every commit from here on; a function that ends it."""
        ...


class LocalShard:
    """A shard in this process: a state with its writer, in memory or kept in a data directory.

    `settings` are those of the workspace as plain values, and `answer_bytes` bounds the cached answers.
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
        """Write to a store from here on, of which a snapshot has some version."""
        self.writer = Writer(self.state, store, self.lock)
        self.ingest = Ingest(self.writer)
        self.retention = Retention(self.writer, self._retention_days)
        self.snapshots = Snapshots(self.writer, self._settings)
        self.snapshots.saved_version = saved_version
        cursors = CursorStore(store.path, self.state.version) if isinstance(store, Store) else CursorStore()
        self.queries = Queries(self.writer, cursors, self._answer_bytes)

    def create(self, path: Path, sync: SyncPolicy) -> None:
        """Keep the shard in a directory that has none; DataDirectoryError if it has one."""
        store, result = self.snapshots.create(path, sync, is_empty=True)
        self._attach(store, result.version)

    def recover(self, store: Store, progress: Progress) -> None:
        """Bring back what a store has, and keep the shard there; a directory of an earlier format is written anew.

        Raises CorruptSnapshotError, CorruptJournalError, UnsupportedFormatError or DataDirectoryError.
        """
        recovery = StateRecovery(self.state, store.version, is_legacy=store.is_legacy)
        self.recovered = store.recover(recovery.restore, recovery.replay, progress, recovery.restored)
        is_saved = not (self.recovered.records or store.needs_upgrade)
        self._attach(store, self.state.version if is_saved else -1)
        if store.needs_upgrade:
            self.snapshots.snapshot()

    def write(self, record: Record) -> Commit:
        """Take a record, whose types are resolved, as the next version, and wait until it is safe."""
        with self.writer.editing():
            commit = self.writer.write(record)
            number = self.writer.store.last_record
        self.writer.sync(number)
        return commit

    def report(self, report: Report[P, Any], moment: Moment) -> P:
        """The partial result of a report over the users of the shard, to be merged with those of others."""
        return self.queries.report(report, moment)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Have an observer told of every commit from here on; a function that ends it (see `Writer.observe`)."""
        return self.writer.observe(observer)

    def declare(self, name: str, value_type: ValueType, event: str | None) -> None:
        """Fix the type of an attribute, or of an event's property.

        Raises InvalidArgumentError for a bad name and TypeMismatchError where values have fixed another type already.
        """
        with self.writer.editing():
            self.state.index.check_declaration(name, value_type, event)
            self.writer.write(TypeDeclared(event, name, value_type))
        self.writer.sync()

    def close(self) -> None:
        """Save what changed and let go of the directory.

        Where the disk has no room for a snapshot, the journal keeps what changed. Raises NotDurableError where that
        cannot be relied on.
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
            _log.warning("no snapshot was taken, the journal has what changed: %s", error)
        finally:
            self.writer.store = ClosedStore(store.last_record)
            store.close()

    def abandon(self) -> None:
        """Let go of the directory after a failure, without any more writing."""
        self.snapshots.stop()
        store = self.writer.store
        self.writer.store = ClosedStore(store.last_record)
        store.abandon()

    def verify(self) -> list[str]:
        """Differences between indexes and columns, one sentence each; empty where all is well.

        The users, each attribute and each event are checked one after the other, with the lock held for one at a time.
        Others may write between, so that the answer is not of a single version.
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
        """How many events the shard holds."""
        with self.lock:
            return sum(event.total for event in self.state.index.events.values())

    def statistics(self) -> Statistics:
        """How much there is of everything, and what it takes in memory.

        All numbers are kept or read off arrays and bitmaps as they are: nothing is sorted, merged or built. The lock is
        held for one attribute or event at a time, so that others may write between, and bytes may be of a later version
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
        with self.lock:
            return part.size_bytes

    def prepare(self) -> None:
        """Build all that queries would build when they first ask: sorted partitions, rollups, bitmaps and bins."""
        with self.lock:
            self.state.index.prepare()
