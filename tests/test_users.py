"""One user: what is known of them, and which saved segments they are in, embedded, over gRPC, and printed."""

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.client import AsyncClient, Client
from bitseg.errors import NotFoundError
from bitseg.operations import Delete, Identify, Track
from bitseg.results import EventSummary, UserRecord, UserSegments
from tests.conftest import COMMAND, NOW_MS
from tests.generate import EPOCH, Generator, workspace

HOUR_MS = 3_600_000


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**63))
def test_User_is_in_the_segments_whose_members_have_the_user(seed):
    generator = Generator(seed)
    engine = workspace(generator)
    as_of = EPOCH + timedelta(milliseconds=generator.now_ms)
    done: dict[str, Counter] = {}
    seen = set()
    for batch in generator.batches():
        engine.ingest(batch)
        for operation in batch:
            if operation.message_id in seen:
                continue
            seen |= {operation.message_id} - {None}
            if isinstance(operation, Delete):
                done.pop(operation.user_id, None)
            elif isinstance(operation, Track):
                done.setdefault(operation.user_id, Counter())[operation.event] += 1
    for number in range(8):
        engine.catalog.save_segment(f"random {number}", generator.segment())
    members = {
        name: {user for page in engine.members(saved.definition, as_of).pages for user in page}
        for name, saved in engine.catalog.segments.items()
    }
    for user in {user for page in engine.members("everyone").pages for user in page}:
        found = engine.user_segments(user, as_of)
        assert found.segments == tuple(sorted(name for name, users in members.items() if user in users))
        assert {each.event: each.count for each in engine.user(user).events} == done.get(user, {})


@pytest.fixture
def filled(engine):
    engine.ingest(
        [
            Identify("ann", {"plan": "gold", "tags": ["a", "b"], "age": 30, "born": "1994-01-31"}, NOW_MS),
            Identify("ann", {"age": None}, NOW_MS),
            Identify("bob", {"plan": "free"}, NOW_MS),
            Track("ann", "Charged", {"amount": 1}, NOW_MS - 30 * HOUR_MS),
            Track("ann", "Charged", {"amount": 2}, NOW_MS),
            Track("ann", "Charged", {"amount": 3}, NOW_MS - HOUR_MS),
            Track("bob", "Seen", {}, NOW_MS),
        ]
    )
    engine.catalog.save_segment("payers", 'did "Charged" in last 2 days')
    engine.catalog.save_segment("gold payers", 'in segment "payers" and plan = "gold"')
    engine.catalog.save_segment("not gold", 'not plan = "gold"')
    return engine


ANN = {"born": "1994-01-31", "plan": "gold", "tags": ["a", "b"]}


def test_User_is_shown_with_attributes_and_events(filled, server):
    record = UserRecord("ann", ANN, (EventSummary("Charged", 3, NOW_MS - 30 * HOUR_MS, NOW_MS),), filled.version)
    assert filled.user("ann") == record
    with Client(server.address) as client:
        assert client.user("ann") == record
        assert client.user_segments("ann") == UserSegments(("gold payers", "payers"), filled.version)
        assert client.user_segments("bob").segments == ("not gold",)
        before = datetime(2024, 1, 28, tzinfo=UTC)
        assert client.user_segments("ann", before).segments == ()
        for ask in (client.user, client.user_segments, filled.user, filled.user_segments):
            with pytest.raises(NotFoundError, match='there is no user "cyd"'):
                ask("cyd")
        # Without an offset it is a local time of the workspace, as for the engine.
        assert client.user_segments("ann", datetime(2024, 1, 28)).segments == ()
    filled.ingest([Delete("ann")])
    with pytest.raises(NotFoundError):
        filled.user("ann")


def test_Asyncio_client_shows_users_too(filled, server):
    import asyncio

    async def ask():
        async with AsyncClient(server.address) as client:
            return await client.user("ann"), await client.user_segments("ann")

    assert asyncio.run(ask()) == (filled.user("ann"), filled.user_segments("ann"))


def test_Segments_follow_what_is_saved_and_deleted(filled):
    assert filled.user_segments("bob").segments == ("not gold",)
    filled.catalog.save_segment("seen", 'did "Seen"')
    assert filled.user_segments("bob").segments == ("not gold", "seen")
    filled.catalog.delete_segment("not gold")
    assert filled.user_segments("bob").segments == ("seen",)
    filled.ingest([Track("ann", "Seen", {}, NOW_MS)])
    assert filled.user_segments("ann").segments == ("gold payers", "payers", "seen")


def test_Segment_that_cannot_be_evaluated_is_a_warning(filled):
    filled.catalog.save_segment("broken", "no_such_attribute = 1")
    found = filled.user_segments("ann")
    assert found.segments == ("gold payers", "payers")
    assert len(found.warnings) == 1
    assert 'segment "broken"' in found.warnings[0]
    assert "no_such_attribute" in found.warnings[0]


@pytest.mark.slow
def test_Command_prints_a_user(filled, tmp_path):
    filled.backup(tmp_path / "bitseg-data")

    def run(*arguments):
        done = subprocess.run([COMMAND, "user", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    status, output, _ = run("ann", "--as-of", "2024-01-31T12:00:00Z")
    assert status == 0
    assert output.splitlines() == [
        'born: "1994-01-31"',
        'plan: "gold"',
        'tags: ["a","b"]',
        "Charged: 3 from 2024-01-30T06:00:00Z to 2024-01-31T12:00:00Z",
        'in segment "gold payers"',
        'in segment "payers"',
    ]
    found = json.loads(run("bob", "--json")[1])
    assert (found["attributes"], found["segments"], found["events"][0]["count"]) == ({"plan": "free"}, ["not gold"], 1)
    status, _, errors = run("cyd")
    assert (status, errors) == (1, 'error: there is no user "cyd"\n')
