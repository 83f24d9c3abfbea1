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
    """Journals records and applies them, under a lock that everything that reads the state takes as well.

    A record that was journalled and then could not be applied, for want of memory or because of an interrupt or a bug,
    is taken out of the journal again, and the lock is broken: from then on whoever takes it gets WorkspaceBrokenError,
    so that a state that is half changed is never served, saved or journalled. Opening the workspace again from disk
    gives the state before that record.
    """

    def __init__(self, state: WorkspaceState, store: AnyStore, lock: FairLock) -> None:
        self.lock = lock
        self.state = state
        self.store = store
        self._observers: list[Observer] = []
        # Who has not been told of which commit yet: of several where an observer writes.
        self._untold: deque[tuple[Observer, Commit]] = deque()
        self._is_telling = False
        # Told once when the lock is broken, with it held.
        self.on_broken: Callable[[], None] = lambda: None

    @contextmanager
    def editing(self) -> Iterator[None]:
        """Hold the lock for a change, and put Ctrl-C off until it was let go: an interrupt in between would keep it."""
        with interrupts_deferred(), self.lock:
            yield

    def write(self, record: Record, packed_changes: Sequence[bytes] | None = None) -> Commit:
        """Journal a record, apply it and tell the observers; the caller is `editing`, and calls `sync` after it.

        Where the journal refuses it, nothing has changed: DiskFullError, NotDurableError or DataDirectoryError.
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
        """Wait until a record, by default the last, and all before it may be acknowledged; NotDurableError."""
        self.store.sync(self.store.last_record if record is None else record)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Have an observer told of every commit from here on; a function that ends it.

        The observer is called with the lock held, after the commit was applied and before it is durable, and returns
        at once. An error of its own is logged and changes nothing.
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
            # An observer writes: all are told of the commit before first.
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
        """Take back the last record, whose application failed, and let nobody use the state any more."""
        reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__

        def broken() -> WorkspaceBrokenError:
            return WorkspaceBrokenError(
                f"a change failed half-way ({reason}); nothing of it was acknowledged, and nothing is answered or "
                "written until the workspace was opened again",
                hint="close it and open it again from its directory, or start the server again; send the change again",
            )

        self.lock.break_with(broken)
        try:
            self.store.withdraw(payload)
        finally:
            self.on_broken()
