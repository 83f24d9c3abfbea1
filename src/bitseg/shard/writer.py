"""The one place where a workspace changes: append → apply → tell observers → sync."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from bitseg.errors import WorkspaceBrokenError
from bitseg.records import Record
from bitseg.runtime.interrupts import interrupts_deferred
from bitseg.runtime.locks import FairLock
from bitseg.shard.state import Commit, WorkspaceState
from bitseg.storage.record_codec import pack_record
from bitseg.storage.store import AnyStore

Observer = Callable[[Commit], None]

_log = logging.getLogger("bitseg.shard")


class Writer:
    """Journals records and applies them, under the lock that readers of the state take as well.

    If applying a journalled record fails, by a lack of memory, an interrupt or a bug, the record is removed from the
    journal and the lock is broken: every later attempt to take it raises WorkspaceBrokenError. A partly changed state
    is thus never served, saved or journalled. Opening the workspace again from disk gives the state before that record.
    """

    def __init__(self, state: WorkspaceState, store: AnyStore, lock: FairLock) -> None:
        self.lock = lock
        self.state = state
        self.store = store
        self._observers: list[Observer] = []

    def write(self, record: Record, packed_changes: Sequence[bytes] | None = None) -> Commit:
        """Journal a record, apply it and call the observers. Call with the lock held, then `sync` without it.

        If the journal refuses the record, nothing changes: DiskFullError, NotDurableError or DataDirectoryError.
        """
        with interrupts_deferred():
            number = self.store.last_record
            payload = pack_record(self.state.version + 1, record, packed_changes) if self.store.keeps_records else b""
            try:
                self.store.append(payload)
                commit = self.state.apply(record)
            except BaseException as error:
                if self.store.last_record > number:
                    self._break(payload, error)
                raise
            self._tell(commit)
            return commit

    def sync(self, record: int | None = None) -> None:
        """Wait until a record (by default the last) may be acknowledged; NotDurableError if it may be lost."""
        self.store.sync(self.store.last_record if record is None else record)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call an observer with every later commit. Returns a function that stops this.

        The observer is called with the lock held, after the record was applied and before it is durable. It must
        return quickly. Its errors are logged and otherwise ignored.
        """
        with self.lock:
            self._observers.append(observer)

        def stop() -> None:
            with self.lock, suppress(ValueError):
                self._observers.remove(observer)

        return stop

    def _tell(self, commit: Commit) -> None:
        for observer in tuple(self._observers):
            try:
                observer(commit)
            except Exception:
                _log.exception("an observer of commits failed at version %d", commit.version)

    def _break(self, payload: bytes, cause: BaseException) -> None:
        """Remove the last record, whose application failed, and break the lock."""
        reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__

        def broken() -> WorkspaceBrokenError:
            return WorkspaceBrokenError(
                f"a change failed midway ({reason}); it was not acknowledged, and the workspace "
                "refuses all calls until it is opened again",
                hint="close and reopen the workspace, or restart the server; then send the change again",
            )

        self.lock.break_with(broken)
        self.store.withdraw(payload)
