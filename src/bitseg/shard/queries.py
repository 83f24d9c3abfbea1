"""Queries over the users of one shard, at a moment that the caller gives."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitseg.errors import InvalidArgumentError, NotDurableError, NotFoundError, SegmentError
from bitseg.index.operators.user_events import summary_of
from bitseg.query.evaluate import Evaluator
from bitseg.query.explain import explain
from bitseg.query.explain_plan import explain_plan
from bitseg.query.session import Checked, Moment, Prepared, Query, QuerySession
from bitseg.reports.base import P, Report
from bitseg.reports.count import Count
from bitseg.reports.run import partial_of
from bitseg.results import (
    CountResult,
    Evaluation,
    PlanStep,
    UserExplanation,
    UserRecord,
    UserSegments,
)
from bitseg.shard.streams import MemberQuery, Membership, MemberStream, MemberStreams
from bitseg.shard.writer import Writer
from bitseg.storage.cursors import CursorStore

MAX_SAMPLE = 1_000
MAX_BATCH_QUERIES = 1_000


class Queries:
    """Answers queries over one state, safe to use from many threads. `answer_bytes` bounds the cached answers.

    Every answer has one version. An invalid segment raises a subclass of SegmentError that says what is wrong.
    """

    def __init__(self, writer: Writer, cursors: CursorStore, answer_bytes: int) -> None:
        self._writer = writer
        self._state = writer.state
        catalog = self._state.catalog
        self.session = QuerySession(self._state.index, catalog, lambda: catalog.revision, writer.lock, answer_bytes)
        self._streams = MemberStreams(cursors, self._is_durable)

    @property
    def open_stream_bytes(self) -> int:
        """The memory of the members of open streams."""
        return self._streams.open_bytes

    def count(self, query: Query, moment: Moment) -> CountResult:
        """How many users are in a segment."""
        started = time.perf_counter()
        prepared = self.session.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> CountResult:
            return self._counted(checked[0], evaluator, started)

        return self.session.answer([prepared], moment, settle)

    def count_all(self, queries: Sequence[Query], moment: Moment) -> tuple[list[CountResult | SegmentError], int]:
        """How many users are in each segment, all at one version, and that version.

        An invalid segment has its error in place of its count. InvalidArgumentError for more than 1,000 segments.
        """
        started = time.perf_counter()
        if len(queries) > MAX_BATCH_QUERIES:
            raise InvalidArgumentError(
                f"the batch has {len(queries):,} queries, the limit is {MAX_BATCH_QUERIES:,}",
                hint="send smaller batches",
            )
        outcomes: list[Prepared | SegmentError] = []
        for query in queries:
            try:
                outcomes.append(self.session.prepare(query))
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
            return counts, self._state.version

        return self.session.answer([outcome for outcome in outcomes if isinstance(outcome, Prepared)], moment, settle)

    def _counted(self, query: Checked, evaluator: Evaluator, started: float) -> CountResult:
        query.require_sound()
        report = Count(query.prepared.condition)
        count = report.finish(report.partial(evaluator))
        return CountResult(count, self._state.version, time.perf_counter() - started, query.warnings)

    def report(self, report: Report[P, Any], moment: Moment) -> P:
        """The partial result of a report over the users of this shard."""
        return partial_of(report, self.session, moment)

    def evaluate(self, query: Query, moment: Moment, sample_size: int, *, include_bitmap: bool) -> Evaluation:
        """Count a segment, with an evenly spread sample of members; `include_bitmap` adds all as Roaring bytes."""
        if not 0 <= sample_size <= MAX_SAMPLE:
            raise InvalidArgumentError(f"a sample of {sample_size} is out of range", hint=f"use 0 to {MAX_SAMPLE:,}")
        started = time.perf_counter()
        prepared = self.session.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> Evaluation:
            checked[0].require_sound()
            members = evaluator.members(prepared.plan)
            total = len(members)
            size = min(sample_size, total)
            ranks = np.array([members[rank * total // size] for rank in range(size)], np.int64)
            sample = tuple(self._state.index.users.external(ranks))
            elapsed = time.perf_counter() - started
            bitmap = members.serialize() if include_bitmap else None
            return Evaluation(total, self._state.version, elapsed, checked[0].warnings, sample, bitmap)

        return self.session.answer([prepared], moment, settle)

    def stream(
        self,
        query: Query | None,
        as_of: datetime | None,
        moment_of: Callable[[datetime | None], Moment],
        page_size: int,
        resume_token: str,
        *,
        is_dense: bool,
    ) -> MemberStream:
        """Begin a stream of a segment's members, or resume one (see `MemberStreams.open` for the errors).

        `as_of` is part of the stream's identity, and `moment_of` gives the moment at which a stream begins.
        """
        return self._streams.open(
            None if query is None else self._member_query(query, moment_of),
            as_of,
            page_size,
            resume_token,
            is_dense=is_dense,
        )

    def _member_query(self, query: Query, moment_of: Callable[[datetime | None], Moment]) -> MemberQuery:
        prepared = self.session.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> Membership:
            checked[0].require_sound()
            users = evaluator.members(prepared.plan)
            return Membership(users, self._state.version, self._writer.store.last_record, checked[0].warnings)

        return MemberQuery(prepared.condition, lambda as_of: self.session.answer([prepared], moment_of(as_of), settle))

    def _is_durable(self, record: int) -> bool:
        """Wait until a record is durable; False if it may be lost."""
        try:
            self._writer.sync(record)
        except NotDurableError:
            return False
        return True

    def external_ids(self, dense_ids: NDArray[np.uint32]) -> list[str]:
        """The external ids of users, in the same order, without deleted users."""
        with self._writer.lock:
            return self._state.index.users.external(dense_ids)

    def explain(self, user_id: str, query: Query, moment: Moment) -> UserExplanation:
        """Whether each condition of a segment holds for one user; NotFoundError for an unknown user."""
        prepared = self.session.prepare(query)

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> UserExplanation:
            checked[0].require_sound()
            user = self._dense_id(user_id)
            return UserExplanation(
                explain(prepared.condition, user, evaluator, self._state.catalog),
                self._state.version,
                moment.now_ms,
                self._state.index.calendar.zone_name,
                checked[0].warnings,
            )

        return self.session.answer([prepared], moment, settle)

    def explain_plan(self, query: Query, moment: Moment) -> PlanStep:
        """How a segment is evaluated: its parts with estimated and actual sizes, and seconds."""

        def settle(evaluator: Evaluator, checked: Checked) -> PlanStep:
            checked.require_sound()
            return explain_plan(checked.plan, evaluator)

        return self.session.answer_at_once(self.session.prepare(query), moment, settle)

    def user(self, user_id: str) -> UserRecord:
        """A user's attributes and a summary of each event; NotFoundError for an unknown user."""
        with self._writer.lock:
            dense = self._dense_id(user_id)
            index = self._state.index
            values = {name: attribute.value(dense) for name, attribute in sorted(index.attributes.items())}
            summaries = (summary_of(dense, event) for _, event in sorted(index.events.items()))
            return UserRecord(
                user_id,
                {name: value for name, value in values.items() if value is not None},
                tuple(summary for summary in summaries if summary is not None),
                self._state.version,
            )

    def user_segments(self, user_id: str, moment: Moment) -> UserSegments:
        """The saved segments that a user is in; NotFoundError for an unknown user."""
        prepared = self.session.prepare_saved()

        def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> UserSegments:
            user = self._dense_id(user_id)
            by_name = dict(zip(prepared, checked, strict=True))
            return UserSegments(
                tuple(
                    name
                    for name, query in by_name.items()
                    if query.fault is None and evaluator.contains(query.plan, user)
                ),
                self._state.version,
                tuple(f'segment "{name}": {query.fault}' for name, query in by_name.items() if query.fault is not None),
            )

        return self.session.answer([*prepared.values()], moment, settle)

    def _dense_id(self, user_id: str) -> int:
        dense = self._state.index.users.find(user_id)
        if dense is None:
            raise NotFoundError(f'there is no user "{user_id}"')
        return dense
