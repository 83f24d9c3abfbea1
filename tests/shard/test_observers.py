"""Observers are told of every commit once and in order, whatever one of them does."""

import pytest

from bitseg import Track
from tests.conftest import NOW_MS


def track(user):
    return Track(user, "E", {}, NOW_MS)


def test_Observer_that_writes_changes_no_order(engine):
    versions = []

    def writes(commit):
        if commit.version < 4:
            engine.ingest([track(f"u{commit.version}")])

    engine.observe(writes)
    engine.observe(lambda commit: versions.append(commit.version))
    engine.ingest([track("u")])
    assert versions == [1, 2, 3, 4]
    assert engine.count('did "E"').count == 4


def test_Commit_is_told_to_the_others_where_one_observer_ends_the_call(engine):
    versions = []

    def leaves(commit):
        raise SystemExit

    stop = engine.observe(leaves)
    engine.observe(lambda commit: versions.append(commit.version))
    with pytest.raises(SystemExit):
        engine.ingest([track("u")])
    stop()
    engine.ingest([track("v")])
    assert versions == [1, 2]
    assert engine.count('did "E"').count == 2


def test_Observer_that_stops_another_is_heeded(engine):
    versions = []
    engine.observe(lambda commit: stop())
    stop = engine.observe(lambda commit: versions.append(commit.version))
    engine.ingest([track("u")])
    assert versions == []
