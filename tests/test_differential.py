"""Whole random segments over whole random histories: the engine against the oracle."""

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitseg.segment import format
from tests.generate import EPOCH, Generator, workspace
from tests.oracle import Oracle

pytestmark = pytest.mark.slow

SEGMENTS_PER_BATCH = 10
HISTORIES = int(os.environ.get("BITSEG_FUZZ_HISTORIES", "400"))


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**63))
def test_Engine_and_oracle_agree(seed):
    compare(Generator(seed))


def compare(generator: Generator) -> None:
    engine = workspace(generator)
    oracle = Oracle(generator.zone)
    oracle.lists = {name: list(user_ids) for name, user_ids in generator.lists.items()}
    oracle.segments = generator.saved
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    nulls = generator.nulls()
    engine.ingest(nulls)
    oracle.take(nulls)
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
