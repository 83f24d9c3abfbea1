"""Running a report over the users of one index."""

from collections.abc import Sequence
from typing import Any

from bitseg.query.evaluate import Evaluator
from bitseg.query.session import Checked, Moment, QuerySession
from bitseg.reports.base import P, Report


def partial_of(report: Report[P, Any], session: QuerySession, moment: Moment) -> P:
    """The report's partial result at one version; SegmentError if one of its conditions cannot be answered."""
    queries = [session.prepare(condition) for condition in report.conditions()]

    def settle(evaluator: Evaluator, checked: Sequence[Checked]) -> P:
        for query in checked:
            query.require_sound()
        return report.partial(evaluator)

    return session.answer(queries, moment, settle)
