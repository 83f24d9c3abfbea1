"""Reports give the same result for any split of the users."""

from functools import reduce

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitseg.errors import SegmentError
from bitseg.operations import Track
from bitseg.query.session import Moment
from bitseg.reports.count import Count
from bitseg.reports.registry import REPORTS, report_of
from bitseg.reports.run import partial_of
from bitseg.segment import parse
from bitseg.values import ValueType
from tests.conftest import NOW_MS
from tests.generate import ATTRIBUTES, EVENTS, PROPERTIES, Generator, workspace

PARTS = 3


def parts_of(generator):
    """Engines over disjoint parts of the users, with the same schema."""
    engines = [workspace(generator) for _ in range(PARTS)]
    for engine in engines:
        for event, known in ((None, ATTRIBUTES), *((name, PROPERTIES) for name in EVENTS)):
            for name, kind in known.items():
                engine.declare(name, ValueType.STRING if kind == "version" else ValueType(kind), event)
    return engines


@settings(max_examples=40, deadline=None)
@example(8)
@given(st.integers(0, 2**63))
@pytest.mark.slow
def test_Count_over_split_users_equals_the_count_over_all(seed):
    generator = Generator(seed)
    whole, *parts = [parts_of(generator)[0], *parts_of(generator)]
    for batch in generator.batches():
        # A message id is known to one part only, and names one operation of all.
        rows = [each._replace(message_id=None) for each in batch]
        whole.ingest(rows)
        for number, part in enumerate(parts):
            part.ingest([each for each in rows if sum(each.user_id.encode()) % PARTS == number])
    moment = Moment(generator.now_ms, is_live=False)
    for _ in range(15):
        report = Count(generator.segment())
        partials = [partial_of(report, part._shard.queries.session, moment) for part in parts]
        expected = report.finish(partial_of(report, whole._shard.queries.session, moment))
        assert report.finish(reduce(report.merge, partials)) == expected
        assert report.finish(reduce(report.merge, reversed(partials))) == expected


def test_Report_at_a_given_moment_is_the_count_at_that_moment(engine):
    engine.ingest([Track("u", "A", {}, NOW_MS - 3_500_000)])
    report = Count(parse('did "A" in last 2 hours'))
    counts = [
        partial_of(report, engine._shard.queries.session, Moment(NOW_MS + hours * 3_600_000)) for hours in (0, 1, 2, 0)
    ]
    assert counts == [1, 1, 0, 1]


def test_Report_on_an_unknown_name_raises(engine):
    with pytest.raises(SegmentError, match="nothing"):
        partial_of(Count(parse("nothing = 1")), engine._shard.queries.session, Moment(NOW_MS))


def test_Registry_has_every_report_and_refuses_others():
    assert {"count": Count} == REPORTS
    assert report_of("count") is Count
    with pytest.raises(TypeError, match='"unheard of"'):
        report_of("unheard of")
