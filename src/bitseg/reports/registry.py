"""All reports by the name of their kind."""

from collections.abc import Mapping
from typing import Any

from bitseg.reports.base import Report
from bitseg.reports.count import Count

REPORTS: Mapping[str, type[Report[Any, Any]]] = {"count": Count}


def report_of(kind: str) -> type[Report[Any, Any]]:
    """The class of a kind of report; TypeError for an unknown kind."""
    report = REPORTS.get(kind)
    if report is None:
        raise TypeError(f'unknown kind of report: "{kind}"')
    return report
