"""Streams of members that break go on where they were: the same version, every member once, or a clear error."""

import asyncio
import base64
import gc
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from bitseg.client import AsyncClient, Client
from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError, NotDurableError, OverloadedError, VersionGoneError
from bitseg.operations import Delete, Identify
from bitseg.shard import streams
from bitseg.shard.resume_tokens import ResumeToken
from bitseg.shard.streams import MemberStreams
from bitseg.storage import cursors
from bitseg.storage.cursors import CursorStore
from bitseg.storage.journal import SyncPolicy
from tests.conftest import COMMAND, NOW_MS
from tests.proxy import BreakingProxy

QUERY = "n >= 3"
AS_OF = datetime(2024, 1, 30, tzinfo=UTC)


def users(numbers, n=None, prefix="u"):
    return [Identify(f"{prefix}{number}", {"n": number % 10 if n is None else n}, NOW_MS) for number in numbers]


def everyone_of(members):
    return [user for page in members.pages for user in page]


def opened(path, **options):
    return Engine.open(path, clock=FixedClock(NOW_MS), default_segments=False, **options)


def taken(members, pages):
    """The members on the first pages, and the token after them."""
    found = [user for _, page in zip(range(pages), members.pages, strict=False) for user in page]
    return found, members.resume_token


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
@example(58334)
def test_Stream_resumes_whatever_was_ingested_saved_and_reopened(tmp_path_factory, seed):
    random = Random(seed)
    folder = tmp_path_factory.mktemp("stream")
    engine = opened(folder / "0")
    # One user at least: without any there is no attribute to ask for.
    engine.ingest(users(range(random.randint(1, 300))))
    found, token = [], ""
    for life in range(1, 8):
        if not token:
            # Nothing was taken of the only page, so that the stream begins anew.
            assert found == []
            expected, version = everyone_of(engine.members(QUERY)), engine.version
        query = QUERY if not token or random.random() < 0.5 else None
        members = engine.members(query, page_size=random.randint(1, 60), resume_token=token)
        assert (members.total, members.version) == (len(expected), version)
        page, token = taken(members, random.randint(0, 3))
        found += page
        engine.ingest(users(random.sample(range(400), 20), n=random.randint(0, 9)))
        if random.random() < 0.3:
            engine.snapshot()
        # As after kill -9.
        shutil.copytree(folder / str(life - 1), folder / str(life), ignore=shutil.ignore_patterns("lock"))
        engine.close()
        if random.random() < 0.3:
            opened(folder / str(life)).close()
        engine = opened(folder / str(life))
    if token:
        assert found + everyone_of(engine.members(resume_token=token)) == expected
    engine.close()


def test_Token_after_the_last_page_leaves_nothing(engine):
    engine.ingest(users(range(25)))
    for page_size in (4, 100):
        members = engine.members(QUERY, page_size=page_size)
        assert len(everyone_of(members)) == members.total == 16
        rest = engine.members(resume_token=members.resume_token)
        assert (everyone_of(rest), rest.total, rest.version) == ([], 16, members.version)


def test_Token_before_the_first_page_is_the_whole(engine):
    engine.ingest(users(range(25)))
    members = engine.members(QUERY, page_size=4)
    assert everyone_of(engine.members(resume_token=members.resume_token)) == everyone_of(members)


def test_Deleted_users_are_left_out_of_what_follows(engine):
    engine.ingest(users(range(20)))
    found, token = taken(engine.members("everyone", page_size=5), 1)
    engine.ingest([Delete("u7"), Delete("u2"), *users([7, 30])])
    rest = everyone_of(engine.members(resume_token=token))
    assert found + rest == [f"u{number}" for number in range(20) if number != 7]


def test_Token_belongs_to_its_query_instant_and_kind_of_ids(engine):
    engine.ingest(users(range(20)))
    _, token = taken(engine.members(QUERY, page_size=5), 1)
    for call in (
        lambda: engine.members("n >= 4", resume_token=token),
        lambda: engine.dense_members(QUERY, resume_token=token),
        lambda: engine.members(QUERY, as_of=AS_OF, resume_token=token),
        lambda: engine.members(None, as_of=AS_OF, resume_token=token),
    ):
        with pytest.raises(InvalidArgumentError, match="another query or kind of ids"):
            call()
    # The same segment, written in another way.
    assert len(everyone_of(engine.members("(n  >=  3)", resume_token=token))) == 9
    with pytest.raises(InvalidArgumentError, match="neither a query nor a resume token"):
        engine.members()


def test_Evicted_version_is_a_clear_error(tmp_path, engine):
    with opened(tmp_path / "a") as kept:
        kept.ingest(users(range(50)))
        _, token = taken(kept.members(QUERY, page_size=5), 2)
    engine.ingest(users(range(50)))
    with pytest.raises(VersionGoneError, match="the members of version 1 are no longer kept"):
        engine.members(resume_token=token)
    (path,) = (tmp_path / "a" / "members").iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:20] + b"x" + whole[21:], b"", None):
        with opened(tmp_path / "a") as again:
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with pytest.raises(VersionGoneError):
                again.members(resume_token=token)
        path.write_bytes(whole)
    with opened(tmp_path / "a") as again:
        assert len(everyone_of(again.members(resume_token=token))) == 25


def test_Version_that_the_journal_lost_cannot_be_resumed(tmp_path):
    """Users whose records a power cut took have their numbers given to others."""
    with opened(tmp_path / "a", sync=SyncPolicy.NEVER) as engine:
        engine.ingest(users(range(30)))
        engine.snapshot()
        engine.ingest(users(range(100, 130)))
        _, token = taken(engine.members("everyone", page_size=5), 1)
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("lock"))
        assert len(everyone_of(engine.members(resume_token=token))) == 55
    for journal in (tmp_path / "b").glob("journal-*"):
        journal.unlink()
    with opened(tmp_path / "b") as engine:
        assert engine.user_count == 30
        engine.ingest(users(range(200, 230)))
        with pytest.raises(VersionGoneError):
            engine.members(resume_token=token)


def test_Members_are_durable_before_their_token_is_sent(tmp_path, monkeypatch):
    with opened(tmp_path / "a") as engine:
        engine.ingest(users(range(30)))
        synced = []
        monkeypatch.setattr(engine._shard.writer.store, "sync", synced.append)
        _, token = taken(engine.members(QUERY, page_size=5), 1)
        assert synced == [engine._shard.writer.store.last_record]
        assert ResumeToken.parse(token).position == 5


def test_Disk_that_failed_does_not_stop_a_stream_either(tmp_path, monkeypatch):
    with opened(tmp_path / "a") as engine:
        engine.ingest(users(range(30)))

        def failed(record):
            raise NotDurableError("the disk has failed")

        with monkeypatch.context() as patched:
            patched.setattr(engine._shard.writer.store, "sync", failed)
            found, token = taken(engine.members(QUERY, page_size=5), 1)
            assert len(found + everyone_of(engine.members(resume_token=token))) == 21
    # What the version has may be lost with the process.
    with opened(tmp_path / "a") as again, pytest.raises(VersionGoneError):
        again.members(resume_token=token)


def test_Number_of_stored_results_is_bounded(monkeypatch):
    monkeypatch.setattr(cursors, "MAX_KEPT", 3)
    store = CursorStore()
    ids = [store.keep(1, b"abc") for _ in range(5)]
    assert store.size_bytes == 9
    assert store.find(ids[2], 1) == b"abc"
    with pytest.raises(VersionGoneError):
        store.find(ids[1], 1)
    with pytest.raises(VersionGoneError):
        store.find(ids[2], 2)


def test_Least_recently_used_results_are_evicted_when_all_take_too_much(tmp_path):
    for folder in (None, tmp_path):
        store = CursorStore(folder, max_bytes=2_500)
        ids = [store.keep(1, bytes([number]) * 1_000) for number in range(2)]
        store.find(ids[0], 1)
        ids.append(store.keep(1, b"z" * 1_000))
        assert store.find(ids[0], 1) == bytes(1_000)
        assert store.find(ids[2], 1) == b"z" * 1_000
        with pytest.raises(VersionGoneError):
            store.find(ids[1], 1)
        assert store.size_bytes <= 2_500
    assert len([*(tmp_path / "members").iterdir()]) == 2


def test_Result_that_is_larger_than_the_bound_stays_until_the_next_one(tmp_path):
    store = CursorStore(tmp_path, max_bytes=10)
    first = store.keep(1, b"a" * 100)
    assert store.find(first, 1) == b"a" * 100
    second = store.keep(1, b"b" * 100)
    assert store.find(second, 1) == b"b" * 100
    with pytest.raises(VersionGoneError):
        store.find(first, 1)


def test_Results_are_evicted_after_a_day_without_use(tmp_path, monkeypatch):
    store = CursorStore(tmp_path)
    cursor_id = store.keep(1, b"abc")
    now = time.time()
    for hours in (23, 46):
        monkeypatch.setattr(cursors.time, "time", lambda hours=hours: now + hours * 3600)
        assert store.find(cursor_id, 1) == b"abc"
    monkeypatch.setattr(cursors.time, "time", lambda: now + 71 * 3600)
    with pytest.raises(VersionGoneError):
        store.find(cursor_id, 1)
    assert [*(tmp_path / "members").iterdir()] == []


def test_Slow_disk_delays_only_the_stream_that_reads_it(tmp_path, monkeypatch):
    store = CursorStore(tmp_path)
    slow, quick = store.keep(1, b"slow"), store.keep(1, b"quick")
    reading, go_on = threading.Event(), threading.Event()
    read = CursorStore._read

    def slow_read(self, path):
        if path.name.endswith(slow.hex()):
            reading.set()
            assert go_on.wait(30)
        return read(self, path)

    monkeypatch.setattr(CursorStore, "_read", slow_read)
    found = []
    thread = threading.Thread(target=lambda: found.append(store.find(slow, 1)))
    thread.start()
    assert reading.wait(30)
    assert store.find(quick, 1) == b"quick"
    assert store.find(store.keep(1, b"other"), 1) == b"other"
    go_on.set()
    thread.join(30)
    assert found == [b"slow"]


def test_Open_streams_of_one_cursor_share_their_members_and_free_them(engine):
    engine.ingest(users(range(100_000)))
    first = engine.members("everyone", page_size=1_000)
    expected = next(first.pages)
    one = engine._shard.queries._streams.open_bytes
    assert one > 0
    others = [engine.members(resume_token=first.resume_token) for _ in range(5)]
    assert engine._shard.queries._streams.open_bytes == one
    assert len(everyone_of(others.pop())) == 99_000
    assert all(next(each.pages)[0] not in expected for each in others)
    del first, others
    gc.collect()
    assert engine._shard.queries._streams.open_bytes == 0


def test_Stream_that_was_read_to_its_end_takes_nothing(engine):
    engine.ingest(users(range(100)))
    members = engine.members("everyone", page_size=30)
    assert engine._shard.queries._streams.open_bytes > 0
    everyone_of(members)
    assert engine._shard.queries._streams.open_bytes == 0


def test_Members_of_open_streams_are_bounded_in_bytes(engine):
    engine.ingest(users(range(100_000)))
    engine._shard.queries._streams = MemberStreams(CursorStore(), lambda record: True, max_open_bytes=20_000)
    segments = [f"n >= {number}" for number in range(1, 4)]
    first = engine.members(segments[0], page_size=1_000)
    with pytest.raises(OverloadedError, match=r"take \d+,\d+ bytes, the limit is 20,000"):
        engine.members(segments[1], page_size=1_000)
    # Nothing is kept of a stream that was refused.
    assert len(engine._shard.queries._streams._cursors._results) == 1
    # A page alone is bounded anyway.
    assert engine.members(segments[1], page_size=100_000).total == 80_000
    assert len(everyone_of(first)) == 90_000
    assert len(everyone_of(engine.members(segments[1], page_size=1_000))) == 80_000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 70) | st.integers(2**18 - 3, 2**18 + 3) | st.integers(0, 2**22), unique=True),
    st.integers(0, 40),
    st.integers(1, 50),
)
def test_Pages_of_a_bitmap_are_its_ids_in_order_from_any_position(ids, position, page_size):
    token = ResumeToken(bytes(16), bytes(8), 1, position, len(ids), True)
    pages = [*streams._pages(token, streams._Opened(BitMap(ids)), page_size)]
    assert [int(each) for page in pages for each in page.ids] == sorted(ids)[position:]
    assert all(len(page.ids) == page_size for page in pages[:-1])
    sent = [min(position + (number + 1) * page_size, len(ids)) for number in range(len(pages))]
    assert [ResumeToken.parse(page.resume_token).position for page in pages] == sent


def test_Disk_that_refuses_does_not_stop_a_stream(tmp_path, caplog):
    with opened(tmp_path / "a") as engine:
        engine.ingest(users(range(30)))
        (tmp_path / "a" / "members").write_text("not a folder")
        found, token = taken(engine.members(QUERY, page_size=5), 1)
        assert len(found + everyone_of(engine.members(resume_token=token))) == 21
        assert "cannot be resumed after a restart" in caplog.text


@settings(max_examples=int(os.environ.get("BITSEG_FUZZ_FILES", "150")), deadline=None)
@given(st.text(max_size=100) | st.binary(max_size=80).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_Hostile_tokens_are_refused_by_name(text):
    engine = Engine(clock=FixedClock(NOW_MS))
    if text:
        with pytest.raises(InvalidArgumentError, match="invalid resume token"):
            engine.members(resume_token=text)


@settings(max_examples=int(os.environ.get("BITSEG_FUZZ_FILES", "150")), deadline=None)
@given(st.data())
def test_Changed_tokens_are_refused_or_mean_what_they_say(data):
    engine = Engine(clock=FixedClock(NOW_MS))
    engine.ingest(users(range(30)))
    members = engine.members(QUERY, page_size=4)
    token = ResumeToken.parse(members.resume_token)
    number = st.integers(0, 2**32 - 1) | st.integers(0, 40)
    changed = ResumeToken(
        data.draw(st.sampled_from([token.cursor_id, bytes(16), bytes(range(16))])),
        token.query,
        data.draw(number | st.just(token.version)),
        data.draw(number),
        data.draw(number | st.just(token.total)),
        False,
    )
    whole = everyone_of(members)
    try:
        found = everyone_of(engine.members(resume_token=changed.text()))
        assert found == ([] if changed.position >= changed.total else whole[changed.position :])
    except VersionGoneError:
        assert changed.cursor_id != token.cursor_id or changed.version != token.version


# Over the wire


def test_Clients_resume_over_connections_that_break(server, engine):
    engine.ingest(users(range(5_000)))
    expected = everyone_of(engine.members(QUERY))

    async def streamed(address):
        async with AsyncClient(address) as client:
            members = await client.members(QUERY, page_size=100)
            return members.total, [user async for page in members.pages for user in page]

    with BreakingProxy(server.address, cut_after_bytes=9_000) as proxy:
        with Client(proxy.address) as client:
            members = client.members(QUERY, page_size=100)
            assert everyone_of(members) == expected
            assert members.total == len(expected)
        assert proxy.connections > 3
        before = proxy.connections
        assert asyncio.run(streamed(proxy.address)) == (len(expected), expected)
        assert proxy.connections > before + 3


def test_Client_hands_out_tokens_for_a_sender_that_stops_itself(server, engine):
    engine.ingest(users(range(500)))
    expected = everyone_of(engine.members(QUERY))
    with Client(server.address) as client:
        found, token = taken(client.members(QUERY, page_size=50), 3)
    engine.ingest(users(range(500, 600)))
    with Client(server.address) as client:
        assert found + everyone_of(client.members(resume_token=token)) == expected
        assert found + everyone_of(client.members(QUERY, resume_token=token)) == expected
        with pytest.raises(InvalidArgumentError, match="another query"):
            client.members("n = 1", resume_token=token)


def serve(folder, address="127.0.0.1:0"):
    command = [COMMAND, "serve", "--data", str(folder), "--listen", address, "--grace-seconds", "0.2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        found = re.search(r" on (127\.0\.0\.1:\d+)", line)
        if found:
            return process, found[1]
    raise AssertionError(f"the server ended with {process.wait()}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.slow
def test_Client_resumes_after_a_restart_of_the_server(tmp_path, number, monkeypatch):
    resumed = []
    resume = Client._resumed
    monkeypatch.setattr(Client, "_resumed", lambda *arguments: resumed.append(arguments) or resume(*arguments))
    # More than what is under way between the two.
    long = "u" * 300
    with opened(tmp_path / "data") as engine:
        engine.ingest(users(range(60_000), prefix=long))
        expected = everyone_of(engine.members(QUERY))
    process, address = serve(tmp_path / "data")
    found = []
    with Client(address) as client:
        members = client.members(QUERY, page_size=100)
        pages = iter(members.pages)
        found += next(pages)
        client.ingest(users(range(30_000), 0, long))
        process.send_signal(number)
        process.wait(30)
        process.stderr.close()
        process, _ = serve(tmp_path / "data", address)
        for page in pages:
            found += page
        assert client.count(QUERY).count < len(expected)
    assert found == expected
    assert members.total == len(expected)
    assert resumed
    process.terminate()
    process.wait(30)
    process.stderr.close()
