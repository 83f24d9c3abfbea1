"""Events that go by the clock, and what a snapshot has of them."""

import shutil

import pytest

from bitseg import Engine, Track, WorkspaceSettings
from bitseg.clock import FixedClock
from tests.conftest import NOW_MS

DAY_MS = 86_400_000


@pytest.mark.parametrize("is_crashed", [False, True])
def test_Day_that_was_dropped_and_comes_again_is_saved_as_it_is(tmp_path, is_crashed):
    """As where a batch was checked before midnight and is written after it, or the clock is set back."""
    clock = FixedClock(NOW_MS)
    engine = Engine.create(tmp_path / "a", WorkspaceSettings(retention_days=2), clock=clock, default_segments=False)
    engine.ingest([Track("old", "E", {"n": 1}, NOW_MS - DAY_MS)])
    engine.snapshot()
    clock.at_ms += DAY_MS
    assert engine.count('did "E"').count == 0
    clock.at_ms -= DAY_MS
    engine.ingest([Track("new", "E", {"n": 2}, NOW_MS - DAY_MS)])
    if is_crashed:
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("lock"))
        Engine.open(tmp_path / "b", clock=clock).close()
    engine.close()
    with Engine.open(tmp_path / ("b" if is_crashed else "a"), clock=clock) as again:
        assert [len(again.user(user).events) for user in ("old", "new")] == [0, 1]
        assert again.count('did "E" where n = 2').count == 1
