"""The Engine: the one writer and the door to every query."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitseg.calendar import DAY_MS, FIRST_INSTANT_MS, LAST_INSTANT_MS, Calendar
from bitseg.catalogue import Catalogue
from bitseg.clock import Clock, SystemClock
from bitseg.errors import DataDirectoryError, InvalidArgumentError, NotFoundError, SegmentError
from bitseg.fairness import FairLock
from bitseg.index.bitmaps import to_array
from bitseg.index.context import Context
from bitseg.index.index import Field, Index
from bitseg.index.lists import UserList
from bitseg.ops import (
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    Columns,
    Limits,
    Operation,
    Rejection,
    group,
    malformed_text,
    selected,
    timestamp_reason,
)
from bitseg.query.account import account
from bitseg.query.check import check_names
from bitseg.query.dense import DenseBitmaps
from bitseg.query.evaluate import Evaluator
from bitseg.query.explain import explain
from bitseg.query.materialise import Materialised, MaterialisedConditions
from bitseg.query.plan import Plan, Planner
from bitseg.results import CountResult, Evaluation, IngestResult, Members, PlanStep, Statistics, UserExplanation
from bitseg.segment import parse, validate
from bitseg.segment.nodes import Condition, Window
from bitseg.segment.windows import Interval, resolve
from bitseg.storage import snapshot
from bitseg.storage.directory import DataDirectory
from bitseg.texts import Texts
from bitseg.values import ValueType

FUTURE_TOLERANCE_MS = 3_600_000
MAX_SAMPLE = 1_000
DEFAULT_PAGE_SIZE = 10_000
MAX_PAGE_SIZE = 100_000
MAX_RETENTION_DAYS = 100_000
DEFAULT_MATERIALISED_BYTES = 512 * 2**20

Query = str | Condition

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

    `Engine()` lives in memory alone. `Engine.open` reads a data directory and `close` writes what changed back.
    A query sees whole batches only.
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
        self._catalogue = Catalogue()
        self._materialised = MaterialisedConditions(materialised_bytes)
        self._planner = Planner()
        self._dense = DenseBitmaps(materialised_bytes // 4)
        self._prepared: OrderedDict[str, _Prepared] = OrderedDict()
        self._directory: DataDirectory | None = None
        self._saved_version = -1

    @classmethod
    def create(cls, path: str | Path, workspace: Workspace | None = None, **options: Any) -> "Engine":
        """Make a workspace in a directory that has none; DataDirectoryError if it has one."""
        directory = DataDirectory(Path(path))
        try:
            if (directory.path / snapshot.FILE_NAME).exists():
                raise DataDirectoryError(f"{path} holds a workspace already")
            engine = cls(workspace, **options)
            engine._directory = directory
            engine.save()
        except BaseException:
            directory.close()
            raise
        return engine

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True, **options: Any) -> "Engine":
        """Open the workspace in a directory; where there is none, make one in UTC if `create` is set.

        Raises DirectoryLockedError, CorruptSnapshotError, UnsupportedFormatError or DataDirectoryError.
        """
        if not create and not (Path(path) / snapshot.FILE_NAME).exists():
            raise DataDirectoryError(
                f"there is no workspace in {path}", hint="make one with bitseg import or bitseg init"
            )
        directory = DataDirectory(Path(path))
        try:
            parts = snapshot.read(directory.path)
            _, settings = next(parts, ("workspace", {}))
            engine = cls(Workspace(**settings), **options)
            for kind, state in parts:
                if kind == "segments":
                    engine._catalogue.restore(state)
                else:
                    engine._index.restore(kind, state)
        except BaseException:
            directory.close()
            raise
        engine._directory = directory
        engine._saved_version = engine._index.version if settings else -1
        return engine

    def save(self) -> None:
        """Write a snapshot if anything changed since the last; DataDirectoryError where the disk refuses."""
        with self._lock:
            if self._directory is None or self._saved_version == self._index.version:
                return
            self.save_to(self._directory.path)
            self._saved_version = self._index.version

    def save_to(self, folder: Path) -> None:
        """Write a snapshot into a folder, from which `open` makes a workspace with the same contents."""
        with self._lock:
            settings = {"timezone": self.workspace.timezone, "retention_days": self.workspace.retention_days}
            parts = chain([("workspace", settings), ("segments", self._catalogue.state())], self._index.state())
            snapshot.write(folder, parts)

    def close(self) -> None:
        """Save and let go of the directory."""
        with self._lock:
            try:
                self.save()
            finally:
                if self._directory is not None:
                    self._directory.close()
                    self._directory = None

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
        self, operations: Sequence[Operation], blocks: Sequence[Columns]
    ) -> tuple[IngestResult, list[tuple[Rejection, ...]]]:
        """Apply row operations and then blocks of columns as one batch, of which a query sees all or nothing.

        The result counts both and has the rejections of the operations; those of each block are apart.
        """
        limits = self._limits()
        well_formed = [_well_formed(block, limits) for block in blocks]
        with self._lock:
            grouped = group(operations, limits, self._index.messages.is_repeated)
            rejections = grouped.rejections + self._index.apply(grouped.changes)
            by_block = [
                tuple(_by_row(refused + self._index.apply([kept] if len(kept.user_ids) else [])))
                for kept, refused in well_formed
            ]
            self._drop_old_events()
            total = len(operations) + sum(len(block.user_ids) for block in blocks)
            refused = sum(each.name is None for each in (*rejections, *(each for part in by_block for each in part)))
            accepted = total - grouped.duplicates - refused
            result = IngestResult(accepted, grouped.duplicates, tuple(_by_row(rejections)), self._index.version)
            return result, by_block

    def _limits(self) -> Limits:
        newest_ms, oldest_day = self.now_ms() + FUTURE_TOLERANCE_MS, self._oldest_day()
        return Limits(newest_ms) if oldest_day is None else Limits(newest_ms, self.calendar.day_start_ms(oldest_day))

    def _drop_old_events(self) -> None:
        oldest_day = self._oldest_day()
        if oldest_day is not None:
            self._index.drop_events_before(oldest_day)

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
        self, query: Query, as_of: datetime | None = None, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Members[list[str]]:
        """The external ids of all members of a segment, of one version whatever is ingested meanwhile."""
        dense = self.dense_members(query, as_of, page_size=page_size)
        return Members(dense.total, dense.version, dense.warnings, map(self._external_ids, dense.pages))

    def dense_members(
        self, query: Query, as_of: datetime | None = None, *, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Members[NDArray[np.uint32]]:
        """The dense ids of all members of a segment, ascending, in arrays of at most `page_size`."""
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidArgumentError(
                f"a page size of {page_size} is out of range", hint=f"use 1 to {MAX_PAGE_SIZE:,}"
            )
        prepared = self._prepare(query)

        def answer(evaluator: Evaluator) -> tuple[BitMap, int]:
            prepared.require_sound()
            return evaluator.members_of_plan(prepared.plan), self._index.version

        members, version = self._answer([prepared], as_of, answer)
        dense = to_array(members)
        pages = (dense[start : start + page_size] for start in range(0, len(dense), page_size))
        return Members(len(dense), version, prepared.warnings, pages)

    def explain(self, user_id: str, query: Query, as_of: datetime | None = None) -> UserExplanation:
        """The truth of a segment's every condition for one user, with the values and events behind it.

        Raises NotFoundError for a user who is not known.
        """
        prepared = self._prepare(query)

        def answer(evaluator: Evaluator) -> UserExplanation:
            prepared.require_sound()
            user = self._index.users.find(user_id)
            if user is None:
                raise NotFoundError(f'there is no user "{user_id}"')
            return UserExplanation(
                explain(prepared.condition, user, evaluator, self._catalogue),
                self._index.version,
                evaluator.context.now_ms,
                self.workspace.timezone,
                prepared.warnings,
            )

        return self._answer([prepared], as_of, answer)

    def account(self, query: Query, as_of: datetime | None = None) -> PlanStep:
        """How a segment is worked out: its parts with estimated and true sizes and times."""
        prepared = self._prepare(query)
        with self._lock:
            context = Context(self._as_of_ms(as_of), self.calendar)
            evaluator = self._evaluator([prepared], context, {}, is_live=as_of is None)
            prepared.require_sound()
            return account(prepared.plan, evaluator)

    def window(self, window: Window, as_of: datetime | None = None) -> Interval:
        """The interval that a window means in the workspace's zone."""
        return resolve(window, self._as_of_ms(as_of), self.calendar)

    def _external_ids(self, dense_ids: NDArray[np.uint32]) -> list[str]:
        with self._lock:
            return self._index.users.external(dense_ids)

    # Saved segments, lists, and the schema

    @property
    def segments(self) -> Mapping[str, Condition]:
        """The saved segments by name."""
        with self._lock:
            return dict(self._catalogue)

    def save_segment(self, name: str, query: Query) -> None:
        """Keep a segment under a name, in place of the one that had it, for use as `in segment "name"`.

        Attributes and events need not have arrived yet. Raises SegmentSyntaxError and InvalidSegmentError for a
        definition that means nothing, that refers to what is not saved, or to itself, directly or through others.
        """
        condition = self._condition(query)
        with self._lock:
            self._catalogue.save(name, condition, self._index.lists)
            self._index.version += 1

    def delete_segment(self, name: str) -> None:
        """Forget a saved segment; NotFoundError if there is none, InUseError while others refer to it."""
        with self._lock:
            self._catalogue.delete(name)
            self._index.version += 1

    @property
    def lists(self) -> Mapping[str, int]:
        """How many ids each list has, by name."""
        with self._lock:
            return {name: len(each.user_ids) for name, each in self._index.lists.items()}

    def save_list(self, name: str, user_ids: Iterable[str]) -> int:
        """Keep user ids under a name, in place of the list that had it, for use as `in list "name"`; how many.

        Ids of users who have not arrived yet count once they do. Raises InvalidArgumentError for a bad name or id.
        """
        user_list = UserList(name, user_ids)
        reason = malformed_text(name, "list name", MAX_NAME_BYTES)
        for user_id in user_list.user_ids:
            reason = reason or malformed_text(user_id, "user id", MAX_ID_BYTES)
        if reason is not None:
            raise InvalidArgumentError(reason)
        with self._lock:
            self._index.lists[name] = user_list
            self._index.version += 1
            self._index.schema_revision += 1
        return len(user_list.user_ids)

    def delete_list(self, name: str) -> None:
        """Forget a list; NotFoundError if there is none, InUseError while saved segments refer to it."""
        with self._lock:
            if name not in self._index.lists:
                raise NotFoundError(f'there is no list "{name}"')
            self._catalogue.require_list_unused(name)
            del self._index.lists[name]
            self._index.version += 1
            self._index.schema_revision += 1

    def schema(self) -> list[Field]:
        """Every attribute and property with its type, attributes first."""
        with self._lock:
            return self._index.schema()

    def declare(self, name: str, value_type: ValueType, event: str | None = None) -> None:
        """Fix the type of an attribute, or of an event's property, before or after its first value.

        Raises InvalidArgumentError for a bad name and TypeMismatchError where values have fixed another type already.
        """
        with self._lock:
            self._index.declare(name, value_type, event)

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
        worked_out: dict[Hashable, Materialised] = {}
        for last in (False,) * _MAX_ROUNDS + (True,):
            with self._lock:
                for key, found in worked_out.items():
                    self._materialised.keep(key, found)
                evaluator = self._evaluator(queries, context, worked_out, is_live=as_of is None)
                sound = [each.plan for each in queries if each.fault is None]
                tasks = {} if last else {key: task for plan in sound for key, task in evaluator.tasks(plan).items()}
                if not tasks:
                    return answer(evaluator)
            worked_out |= {key: task.result(task.work()) for key, task in tasks.items()}
        raise AssertionError("the last round answers")

    def _evaluator(
        self,
        queries: Sequence[_Prepared],
        context: Context,
        worked_out: Mapping[Hashable, Materialised],
        *,
        is_live: bool,
    ) -> Evaluator:
        """What answers the queries now; names are checked if any have come or gone since."""
        revision = (self._index.schema_revision, self._catalogue.revision)
        for each in queries:
            if each.checked_at != revision:
                each.fault = None
                try:
                    each.warnings = check_names(each.condition, self._index, self._catalogue)
                except SegmentError as error:
                    each.fault = error
                each.checked_at = revision
        return Evaluator(
            self._index,
            context,
            self._materialised,
            self._planner,
            self._dense,
            self._catalogue,
            is_live=is_live,
            worked_out=worked_out,
        )

    @staticmethod
    def _condition(query: Query) -> Condition:
        """The valid tree of a query."""
        if isinstance(query, str):
            return parse(query)
        validate(query)
        return query

    def _as_of_ms(self, as_of: datetime | None) -> int:
        if as_of is None:
            return self.now_ms()
        if 2 <= as_of.year <= 9998:
            instant_ms = self.calendar.local_ms(as_of)
            if FIRST_INSTANT_MS + DAY_MS < instant_ms < LAST_INSTANT_MS - DAY_MS:
                return instant_ms
        raise InvalidArgumentError(f"as-of {as_of} is outside the years that can be answered")


def _by_row(rejections: list[Rejection]) -> list[Rejection]:
    return sorted(rejections, key=lambda rejection: rejection.row)


def _well_formed(columns: Columns, limits: Limits) -> tuple[Columns, list[Rejection]]:
    """The block without its malformed rows, and why each was left out."""
    if columns.event is not None:
        reason = malformed_text(columns.event, "event name", MAX_NAME_BYTES)
        if reason:
            return selected(columns, np.empty(0, np.int64)), [Rejection(int(row), reason) for row in columns.rows]
    oldest_ms = FIRST_INSTANT_MS if columns.event is None else limits.oldest_event_ms
    times_ms = columns.timestamps_ms
    reasons = {
        int(row): timestamp_reason(int(times_ms[row]), limits)
        for row in np.flatnonzero((times_ms < oldest_ms) | (times_ms > limits.newest_ms))
    }
    suspects: Iterable[int]
    try:
        texts = Texts.of(columns.user_ids)
        columns = replace(columns, user_ids=texts)
        suspects = np.flatnonzero((texts.lengths == 0) | (texts.lengths > MAX_ID_BYTES)).tolist()
    except UnicodeEncodeError:
        suspects = range(len(columns.user_ids))
    for row in suspects:
        reason = malformed_text(columns.user_ids[row], "user id", MAX_ID_BYTES)
        if reason:
            reasons[row] = reason
    if not reasons:
        return columns, []
    keep = np.setdiff1d(np.arange(len(times_ms)), list(reasons))
    return selected(columns, keep), [Rejection(int(columns.rows[row]), reason) for row, reason in reasons.items()]
