"""Whole random segments over whole random histories: the engine against the oracle."""

import os
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitseg.clock import FixedClock
from bitseg.engine import Engine, Workspace
from bitseg.segment import format
from tests.generate import EPOCH, HOUR_MS, Generator
from tests.oracle import Oracle

SEGMENTS_PER_BATCH = 10
HISTORIES = int(os.environ.get("BITSEG_FUZZ_HISTORIES", "400"))


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**63))
def test_engine_and_oracle_agree(seed):
    compare(Generator(seed))


def compare(generator: Generator) -> None:
    # The history reaches past `now`; the clock allows it and as-of hides it.
    engine = Engine(Workspace(generator.zone), clock=FixedClock(generator.now_ms + 100 * 24 * HOUR_MS))
    oracle = Oracle(generator.zone)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    for batch in generator.batches():
        engine.ingest(batch)
        oracle.take(batch)
        for _ in range(SEGMENTS_PER_BATCH):
            segment = generator.segment()
            members = engine.members(segment, as_of)
            found = {user for page in members.pages for user in page}
            assert found == oracle.members(segment, generator.now_ms), format(segment)
            assert members.total == len(found)
            assert engine.count(segment, as_of).count == len(found), format(segment)
