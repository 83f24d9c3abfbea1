"""One workspace over 1, 2 and 5 shards: the same answers as one engine, and as the oracle."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.operations import Delete, Identify, Track
from bitseg.query.session import Moment
from bitseg.records import Batch, Field
from bitseg.reports.count import Count
from bitseg.segment import format, parse
from bitseg.values import ValueType
from tests.conftest import NOW_MS
from tests.generate import Generator
from tests.oracle import Oracle
from tests.shard.router import Router

HISTORIES = int(os.environ.get("BITSEG_FUZZ_HISTORIES", "40"))
SEGMENTS_PER_BATCH = 6


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5])
def test_Shards_and_oracle_agree(count):
    @settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, 2**63))
    def agree(seed):
        compare(Generator(seed), count)

    agree()


def compare(generator, count):
    router, oracle = Router(count, generator.zone), Oracle(generator.zone)
    oracle.lists = {name: list(user_ids) for name, user_ids in generator.lists.items()}
    oracle.segments = generator.saved
    for name, user_ids in generator.lists.items():
        router.save_list(name, user_ids)
    for name, condition in generator.saved.items():
        router.save_segment(name, condition)
    batches = [generator.nulls(), *generator.batches()]
    for number, batch in enumerate(batches):
        router.ingest(batch)
        oracle.take(batch)
        # All shards have the same version, because they apply the same records.
        assert {shard.state.version for shard in router.shards} == {
            number + 1 + len(generator.lists) + len(generator.saved)
        }
        for _ in range(SEGMENTS_PER_BATCH if number else 0):
            segment = generator.segment()
            expected = oracle.members(segment, generator.now_ms)
            assert router.members(segment, generator.now_ms) == expected, format(segment)
            assert router.count(segment, generator.now_ms) == len(expected), format(segment)


def test_Attribute_without_users_on_a_shard_is_known_there():
    router = Router(5, "UTC")
    router.ingest([Identify("u", {"plan": "gold"}, NOW_MS), Track("u", "Paid", {"amount": 1}, NOW_MS)])
    assert router.count(parse('plan = "gold" and did "Paid" where amount = 1'), NOW_MS) == 1
    assert router.count(parse("plan is not set"), NOW_MS) == 0


def test_Type_is_the_same_on_all_shards():
    """The first value fixes the type, whichever shard has its user."""
    router = Router(5, "UTC")
    users = [f"u{number}" for number in range(20)]
    router.ingest([Identify(users[0], {"zip": 12345}, NOW_MS)])
    router.ingest([Identify(user, {"zip": "12345"}, NOW_MS) for user in users[1:]])
    router.ingest([Identify(user, {"zip": 12345}, NOW_MS) for user in users[10:]])
    assert router.count(parse("zip = 12345"), NOW_MS) == 11


def test_Shards_answer_at_the_given_moment():
    router = Router(2, "UTC")
    router.ingest([Track("u", "Paid", {}, NOW_MS), Track("v", "Paid", {}, NOW_MS - 7_200_000)])
    report = Count(parse('did "Paid" in last 1 hours'))
    for hours, expected in ((-1, 0), (0, 1), (2, 0), (0, 1)):
        assert router.report(report, NOW_MS + hours * 3_600_000) == expected
    live = [shard.report(report, Moment(NOW_MS)) for shard in router.shards]
    assert sum(live) == 1


def test_Record_without_rows_for_a_shard_still_raises_its_version():
    router = Router(2, "UTC")
    router.ingest([Track("u", "Paid", {}, NOW_MS)])
    router.ingest([Delete("nobody")])
    assert [shard.state.version for shard in router.shards] == [2, 2]


def test_Field_that_is_added_twice_is_the_same():
    engine = Engine(WorkspaceSettings(), clock=FixedClock(NOW_MS))
    engine.ingest([Identify("u", {"plan": "gold"}, NOW_MS)])
    engine._shard.write(Batch([Field(None, "plan", ValueType.STRING), Field("Paid", "amount", ValueType.NUMBER)], []))
    engine.ingest([Track("u", "Paid", {"amount": 1}, NOW_MS)])
    engine._shard.write(Batch([Field("Paid", "amount", ValueType.NUMBER)], []))
    assert engine.count('plan = "gold" and did "Paid" where amount = 1').count == 1
