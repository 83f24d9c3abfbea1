"""The one place where a workspace changes: append → apply → tell observers → sync."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

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
        # Pending calls of observers; there are several commits if an observer writes.
        self._untold: deque[tuple[Observer, Commit]] = deque()
        self._is_telling = False
        # Called once when the lock is broken, with the lock held.
        self.on_broken: Callable[[], None] = lambda: None

    @contextmanager
    def editing(self) -> Iterator[None]:
        """Hold the lock for a change, and defer Ctrl-C until it is released: an interrupt might leave it locked."""
        with interrupts_deferred(), self.lock:
            yield

    def write(self, record: Record, packed_changes: Sequence[bytes] | None = None) -> Commit:
        """Journal a record, apply it and call the observers. Call within `editing`, then `sync` after it.

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
        self._untold += [(observer, commit) for observer in self._observers]
        if self._is_telling:
            # An observer writes. All observers get the previous commit first.
            return
        self._is_telling = True
        try:
            while self._untold:
                observer, untold = self._untold.popleft()
                if observer in self._observers:
                    self._tell_one(observer, untold)
        finally:
            self._is_telling = False

    def _tell_one(self, observer: Observer, commit: Commit) -> None:
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
        try:
            self.store.withdraw(payload)
        finally:
            self.on_broken()
