"""Saved segments and lists: in the engine, over gRPC, and by both clients."""

import asyncio
import queue
import shutil
import threading
from contextlib import suppress

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitseg.catalog import DEFAULT_SEGMENTS
from bitseg.client import AsyncClient, Client
from bitseg.client.paging import on_all_pages
from bitseg.clock import FixedClock
from bitseg.engine import Engine
from bitseg.errors import (
    AlreadyExistsError,
    BitsegError,
    InUseError,
    InvalidArgumentError,
    InvalidSegmentError,
    NotFoundError,
    SegmentSyntaxError,
    StaleEtagError,
)
from bitseg.operations import Delete, Identify, Track
from bitseg.pb import catalog_pb2, catalog_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.segment import parse
from bitseg.service.catalog import CatalogService
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.wire.segments import to_message
from tests.conftest import NOW_MS
from tests.proxy import BreakingProxy

USERS = [Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(10)]


class SteppingClock:
    """A clock that advances by a second whenever it is read."""

    def __init__(self):
        self.ms = NOW_MS

    def now_ms(self):
        self.ms += 1_000
        return self.ms


@pytest.fixture
def engine():
    engine = Engine(clock=SteppingClock())
    engine.ingest(USERS)
    return engine


@pytest.fixture
def client(server):
    with Client(server.address, timeout_seconds=20) as client:
        yield client


@pytest.fixture(params=["engine", "client"])
def catalog(request, engine):
    """The catalog of the engine and the catalog of a client."""
    if request.param == "engine":
        return engine.catalog
    return request.getfixturevalue("client").catalog


# Segments


def test_Segment_is_created_changed_renamed_cloned_and_deleted(catalog, engine):
    made = catalog.create_segment("Low", "n   < 5", description="Below five", labels={"team": "crm"})
    assert (made.name, made.text, made.definition) == ("Low", "n < 5", parse("n < 5"))
    assert (made.details.description, made.details.labels) == ("Below five", {"team": "crm"})
    assert made.details.created_ms == made.details.updated_ms > NOW_MS
    assert catalog.get_segment("Low") == made
    changed = catalog.update_segment("Low", query=parse("n < 4"), etag=made.etag)
    assert (changed.text, changed.details.description) == ("n < 4", "Below five")
    assert changed.details.created_ms == made.details.created_ms < changed.details.updated_ms
    described = catalog.update_segment("Low", description="", labels={"a": "b", "c": ""})
    assert (described.text, described.details.description, described.details.labels) == (
        "n < 4",
        "",
        {"a": "b", "c": ""},
    )
    assert catalog.update_segment("Low", labels={}).details.labels == {}
    clone = catalog.clone_segment("Low", "Low too")
    assert (clone.text, clone.details.created_ms > described.details.created_ms) == ("n < 4", True)
    renamed = catalog.rename_segment("Low", "Lower")
    assert (renamed.name, renamed.details.created_ms) == ("Lower", made.details.created_ms)
    assert sorted(catalog.segments) == ["Low too", "Lower"]
    catalog.delete_segment("Low too")
    catalog.delete_segment("Lower", etag=renamed.etag)
    assert catalog.segments == {}
    assert engine.user_count == 10


def test_Etags_differ_after_every_change_and_stale_ones_are_refused(catalog, engine):
    changes = (
        lambda: catalog.create_segment("A", "n = 1"),
        lambda: catalog.update_segment("A", query="n = 2"),
        lambda: catalog.update_segment("A", query="n = 1"),
        lambda: catalog.update_segment("A", description="x"),
        lambda: catalog.update_segment("A", labels={"k": "v"}),
        lambda: catalog.rename_segment("A", "B"),
        lambda: catalog.rename_segment("B", "A"),
    )
    seen = [change().etag for change in changes]
    assert len(set(seen)) == len(seen)
    catalog.update_segment("A", description="y", etag=seen[-1])
    version = engine.version
    for stale in (
        lambda: catalog.update_segment("A", query="n = 5", etag=seen[-1]),
        lambda: catalog.rename_segment("A", "C", etag=seen[-1]),
        lambda: catalog.delete_segment("A", etag=seen[0]),
        lambda: catalog.update_segment("A", query="n = 5", etag="nonsense"),
    ):
        with pytest.raises(StaleEtagError, match='the segment "A" has changed since it was read'):
            stale()
    assert engine.version == version


def test_One_of_many_who_change_the_same_segment_wins(server, engine):
    etag = engine.catalog.create_segment("A", "n = 1").etag
    outcomes = []

    def change(number):
        with Client(server.address) as client:
            try:
                client.catalog.update_segment("A", query=f"n = {number}", etag=etag)
                outcomes.append(number)
            except StaleEtagError:
                outcomes.append(None)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [each for each in outcomes if each is not None]
    assert engine.catalog.get_segment("A").text == f"n = {winner}"
    assert len(outcomes) == 8


def test_Renaming_follows_references_and_changes_no_members(catalog, engine):
    catalog.create_list("vip", ["u1", "u2", "late"])
    catalog.create_segment("Low", 'n < 5 and in list "vip"')
    catalog.create_segment("Not low", 'not in segment "Low" and in list "vip" or in segment "Low" and n = 2')
    before = {name: everyone_of(engine, name) for name in ("Low", "Not low")}
    etag = catalog.get_segment("Not low").etag
    catalog.rename_segment("Low", 'Lo"wer')
    catalog.rename_list("vip", "Very important")
    texts = {name: each.text for name, each in catalog.segments.items()}
    assert texts == {
        'Lo"wer': 'n < 5 and in list "Very important"',
        "Not low": 'not in segment "Lo\\"wer" and in list "Very important" or in segment "Lo\\"wer" and n = 2',
    }
    assert everyone_of(engine, 'Lo\\"wer') == before["Low"]
    assert everyone_of(engine, "Not low") == before["Not low"]
    assert catalog.get_segment("Not low").etag != etag
    with pytest.raises(InUseError, match='is used by "Not low"'):
        catalog.delete_segment('Lo"wer')
    with pytest.raises(InUseError, match='"Very important" is used by "Lo"wer", "Not low"'):
        catalog.delete_list("Very important")


def everyone_of(engine, name):
    return [user for page in engine.members(f'in segment "{name}"').pages for user in page]


def test_Names_that_are_taken_missing_or_bad_change_nothing(catalog, engine):
    catalog.create_segment("A", "n = 1")
    catalog.create_segment("B", 'in segment "A"')
    catalog.create_list("L", ["u1"])
    version = engine.version
    for kind, call in (
        (AlreadyExistsError, lambda: catalog.create_segment("A", "n = 2")),
        (AlreadyExistsError, lambda: catalog.clone_segment("A", "B")),
        (AlreadyExistsError, lambda: catalog.rename_segment("A", "B")),
        (AlreadyExistsError, lambda: catalog.rename_segment("A", "A")),
        (AlreadyExistsError, lambda: catalog.create_list("L", [])),
        (AlreadyExistsError, lambda: catalog.rename_list("L", "L")),
        (NotFoundError, lambda: catalog.get_segment("C")),
        (NotFoundError, lambda: catalog.update_segment("C", query="n = 1")),
        (NotFoundError, lambda: catalog.rename_segment("C", "D")),
        (NotFoundError, lambda: catalog.clone_segment("C", "D")),
        (NotFoundError, lambda: catalog.delete_segment("C")),
        (NotFoundError, lambda: catalog.get_list("C")),
        (NotFoundError, lambda: catalog.update_list("C", description="x")),
        (NotFoundError, lambda: catalog.rename_list("C", "D")),
        (NotFoundError, lambda: catalog.delete_list("C")),
        (InvalidSegmentError, lambda: catalog.create_segment("", "n = 1")),
        (InvalidSegmentError, lambda: catalog.rename_segment("A", "x" * 257)),
        (InvalidSegmentError, lambda: catalog.update_segment("A", query='in segment "B"')),
        (InvalidSegmentError, lambda: catalog.create_segment("C", 'in list "none"')),
        (SegmentSyntaxError, lambda: catalog.update_segment("A", query="n =")),
        (InvalidArgumentError, lambda: catalog.rename_list("L", "")),
        (InvalidArgumentError, lambda: catalog.create_list("", [])),
        (InvalidArgumentError, lambda: catalog.create_list("M", ["", "a"])),
        (InvalidArgumentError, lambda: catalog.create_segment("C", "n = 1", description="x" * 4_097)),
        (InvalidArgumentError, lambda: catalog.update_segment("A", labels={"": "x"})),
        (InvalidArgumentError, lambda: catalog.update_segment("A", labels={"k" * 129: "x"})),
        (InvalidArgumentError, lambda: catalog.update_segment("A", labels={"k": "x" * 257})),
        (InvalidArgumentError, lambda: catalog.update_list("L", labels={str(n): "" for n in range(65)})),
    ):
        with pytest.raises(kind):
            call()
    assert engine.version == version


def test_Pages_show_each_segment_once_in_order_whatever_comes_and_goes(catalog):
    for number in range(25):
        catalog.create_segment(f"s{number:02}", f"n = {number}", labels={"odd": str(number % 2)})
    first = catalog.list_segments(page_size=10)
    assert [each.name for each in first.items] == [f"s{number:02}" for number in range(10)]
    assert first.total == 25
    catalog.create_segment("s05b", "n = 1")
    catalog.create_segment("s10b", "n = 1")
    catalog.delete_segment("s09")
    second = catalog.list_segments(page_size=10, page_token=first.next_page_token)
    assert [each.name for each in second.items] == ["s10", "s10b", *(f"s{number}" for number in range(11, 19))]
    with pytest.raises(InvalidArgumentError, match="this page token belongs to another search"):
        catalog.list_segments(name_contains="s", page_token=first.next_page_token)
    for token in ("nonsense", "é", first.next_page_token[:-2]):
        with pytest.raises(InvalidArgumentError, match="invalid page token"):
            catalog.list_segments(page_token=token)
    for size in (-1, 1_001):
        with pytest.raises(InvalidArgumentError, match="out of range"):
            catalog.list_segments(page_size=size)
    found = catalog.list_segments(name_contains="S1", labels={"odd": "1"})
    assert [each.name for each in found.items] == ["s11", "s13", "s15", "s17", "s19"]
    assert (found.total, found.next_page_token) == (5, "")


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), max_size=12), st.integers(1, 5)
)
def test_All_pages_together_are_all_segments(names, page_size):
    engine = Engine(clock=FixedClock(NOW_MS))
    for name in names:
        engine.catalog.create_segment(name, "everyone")
    found = on_all_pages(lambda token: engine.catalog.list_segments(page_size=page_size, page_token=token))
    assert [each.name for each in found] == sorted(names)


def test_Pages_of_long_segments_fit_into_messages(stub, engine):
    labels = {f"{number:0128}": "é" * 128 for number in range(64)}
    for number in range(100):
        engine.catalog.create_segment(f"s{number:02}", "everyone", description="d" * 4_000, labels=labels)
    names, token, pages = [], "", 0
    while True:
        page = stub.ListSegments(catalog_pb2.ListSegmentsRequest(page_size=1_000, page_token=token))
        names += [each.name for each in page.segments]
        token, pages = page.next_page_token, pages + 1
        assert page.ByteSize() < 4 * 2**20
        assert page.total_size == 100
        if not token:
            break
    assert names == [f"s{number:02}" for number in range(100)]
    assert pages > 2


# Lists


def test_List_is_created_changed_and_renamed(catalog, engine):
    made = catalog.create_list("vip", ["u1", "u2", "u1", "late"], description="From the fair")
    assert (made.size, made.details.description) == (3, "From the fair")
    assert engine.count('in list "vip"').count == 2
    renamed = catalog.rename_list("vip", "guests")
    assert (renamed.size, renamed.details.description) == (3, "From the fair")
    labelled = catalog.update_list("guests", labels={"a": "b"})
    assert (labelled.size, labelled.details.labels) == (3, {"a": "b"})
    replaced = catalog.update_list("guests", user_ids=["u3"], etag=labelled.etag)
    assert (replaced.size, replaced.details.labels) == (1, {"a": "b"})
    with pytest.raises(StaleEtagError, match='the list "guests" has changed'):
        catalog.save_list("guests", [], etag=labelled.etag)
    saved = catalog.save_list("guests", ["u4", "u5"], description="Anew")
    assert (saved.size, saved.details.description, saved.details.labels) == (2, "Anew", {"a": "b"})
    assert catalog.lists == {"guests": saved}
    assert [user for page in engine.members('in list "guests"').pages for user in page] == ["u4", "u5"]
    assert len({made.etag, renamed.etag, labelled.etag, replaced.etag, saved.etag}) == 5
    found = catalog.list_lists(name_contains="GUE", labels={"a": "b"})
    assert (found.items, found.total) == ((saved,), 1)
    catalog.delete_list("guests", etag=saved.etag)
    assert catalog.lists == {}


def test_Etag_of_a_list_differs_when_a_user_on_it_is_deleted(catalog, engine):
    etag = catalog.create_list("vip", ["u1", "u2"]).etag
    engine.ingest([Delete("u1")])
    found = catalog.get_list("vip")
    assert (found.size, found.etag != etag) == (1, True)


def test_List_larger_than_a_message_is_uploaded_in_parts(client, engine):
    ids = [f"{number:0100}" for number in range(200_000)]
    assert client.catalog.save_list("large", iter(ids)).size == 200_000
    assert engine.catalog.get_list("large").size == 200_000


# Over the wire alone


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(server.address) as channel:
        yield catalog_pb2_grpc.CatalogServiceStub(channel)


def refused(call, code):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is code
    return caught.value.details()


def test_Update_mask_says_what_changes(stub):
    made = stub.CreateSegment(
        catalog_pb2.CreateSegmentRequest(
            segment={"name": "S", "expression": "n = 1", "description": "d", "labels": {"k": "v"}}
        )
    ).segment
    assert made.definition == to_message(parse("n = 1"))

    def update(paths, **fields):
        mask = None if paths is None else {"paths": paths}
        request = catalog_pb2.UpdateSegmentRequest(segment={"name": "S", **fields}, update_mask=mask)
        found = stub.UpdateSegment(request).segment
        return found.expression, found.description, dict(found.labels)

    assert update(None, description="e") == ("n = 1", "e", {"k": "v"})
    assert update(None, expression="n = 2") == ("n = 2", "e", {"k": "v"})
    assert update(["description"], expression="n = 3") == ("n = 2", "", {"k": "v"})
    assert update(["labels"]) == ("n = 2", "", {})
    assert update(["definition"], definition=to_message(parse("n = 4")), expression="n = 5") == ("n = 4", "", {})
    assert update(["*"], expression="n = 6", labels={"a": "b"}) == ("n = 6", "", {"a": "b"})
    assert update([], description="kept out") == ("n = 6", "", {"a": "b"})
    # What was read can be sent as it is.
    read = stub.GetSegment(catalog_pb2.GetSegmentRequest(name="S")).segment
    read.description = "read and written"
    assert stub.UpdateSegment(catalog_pb2.UpdateSegmentRequest(segment=read)).segment.description == "read and written"
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert "'etag', which cannot be changed" in refused(lambda: update(["etag"]), invalid)
    assert "no definition" in refused(lambda: update(["expression"]), invalid)
    assert "no definition" in refused(lambda: update(["*"], description="x"), invalid)
    both = {"expression": "n = 1", "definition": to_message(parse("n = 2"))}
    assert "different segments" in refused(lambda: update(None, **both), invalid)
    assert "no definition" in refused(
        lambda: stub.CreateSegment(catalog_pb2.CreateSegmentRequest(segment={"name": "T"})), invalid
    )


def test_Update_mask_of_a_list(stub):
    stub.CreateList(
        catalog_pb2.CreateListRequest(list={"name": "L", "description": "d"}, user_ids={"user_ids": ["u1"]})
    )

    def update(paths, **fields):
        mask = None if paths is None else {"paths": paths}
        users = {key: fields.pop(key) for key in ("user_ids", "csv") if key in fields}
        request = catalog_pb2.UpdateListRequest(list={"name": "L", **fields}, update_mask=mask, **users)
        found = stub.UpdateList(request).list
        return found.size, found.description, dict(found.labels)

    assert update(None, labels={"k": "v"}) == (1, "d", {"k": "v"})
    assert update(["description"], user_ids={"user_ids": ["u1", "u2"]}) == (2, "", {"k": "v"})
    assert update(["*"]) == (2, "", {})
    assert update([], csv={"content": b"id\nu7\nu8\nu9\n"}) == (3, "", {})
    assert update([], user_ids={"user_ids": []}) == (0, "", {})
    refused(lambda: update(["size"]), grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"", "", "no header line"),
        (b"a,b\nx\n", "b", "line 2 has no user id"),
        (b"a,b\nx,\n", "b", "line 2 has no user id"),
        (b"a,b\nx,y\n", "c", 'no column "c"'),
        (b'a\n"x\n', "", "not CSV"),
        (b"a\n\xff\xfe\n", "", "not valid Unicode"),
    ],
)
def test_Bad_csv_is_refused_whole(stub, engine, content, column, message):
    request = catalog_pb2.CreateListRequest(list={"name": "L"}, csv={"content": content, "user_column": column})
    assert message in refused(lambda: stub.CreateList(request), grpc.StatusCode.INVALID_ARGUMENT)
    assert engine.catalog.lists == {}


def test_Upload_that_breaks_off_or_is_out_of_order_changes_nothing(stub, engine):
    engine.catalog.create_list("L", ["u1"])
    head = catalog_pb2.UploadListRequest(list={"name": "L"})
    part = catalog_pb2.UploadListRequest(user_ids={"user_ids": ["u2", "u3"]})

    def breaking():
        yield head
        yield part
        raise OSError("the file has gone")

    refused(lambda: stub.UploadList(breaking()), grpc.StatusCode.UNKNOWN)
    for messages in ([], [part], [head, part, head]):
        refused(lambda messages=messages: stub.UploadList(iter(messages)), grpc.StatusCode.INVALID_ARGUMENT)
    assert engine.catalog.get_list("L").size == 1
    assert stub.UploadList(iter([head, part, part])).list.size == 2


@pytest.mark.parametrize("head", [{}, {"is_complete": False}])
def test_Upload_during_the_stop_of_a_server_changes_nothing(engine, head):
    engine.catalog.create_list("L", ["u1"])
    server = Server(engine, Settings(address="127.0.0.1:0"))
    server.start()
    half_way, stopped = threading.Event(), threading.Event()

    def parts():
        yield catalog_pb2.UploadListRequest(list={"name": "L"}, **head)
        yield catalog_pb2.UploadListRequest(user_ids={"user_ids": ["u2", "u3"]})
        half_way.set()
        stopped.wait(20)
        yield catalog_pb2.UploadListRequest(user_ids={"user_ids": ["u4"]})

    with grpc.insecure_channel(server.address) as channel:
        upload = catalog_pb2_grpc.CatalogServiceStub(channel).UploadList.future(parts())
        assert half_way.wait(10)
        server.stop()
        stopped.set()
        assert upload.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert engine.catalog.get_list("L").size == 1


class Uploads:
    """Records uploads in the service: arriving messages, and the errors of calls."""

    def __init__(self):
        self.messages, self.ended = queue.SimpleQueue(), queue.SimpleQueue()


@pytest.fixture
def uploads(monkeypatch):
    uploads = Uploads()
    upload = CatalogService.UploadList

    def arriving(requests):
        for request in requests:
            uploads.messages.put(request)
            yield request

    def watched(self, requests, context):
        try:
            response = upload(self, arriving(requests), context)
        except Exception as error:
            uploads.ended.put(error)
            raise
        uploads.ended.put(None)
        return response

    monkeypatch.setattr(CatalogService, "UploadList", watched)
    return uploads


@pytest.mark.parametrize("head", [{}, {"is_complete": False}])
def test_Upload_whose_caller_dies_changes_nothing(engine, head, uploads):
    before = engine.catalog.create_list("L", [f"u{number}" for number in range(1_000)])
    server = Server(engine, Settings(address="127.0.0.1:0"))
    server.start()
    cut = threading.Event()

    def parts():
        yield catalog_pb2.UploadListRequest(list={"name": "L"}, **head)
        for number in range(5):
            yield catalog_pb2.UploadListRequest(user_ids={"user_ids": [f"v{number}"]})
        cut.wait(20)

    with BreakingProxy(server.address) as proxy, grpc.insecure_channel(proxy.address) as channel:
        upload = catalog_pb2_grpc.CatalogServiceStub(channel).UploadList.future(parts())
        for _ in range(6):
            uploads.messages.get(timeout=10)
        proxy.cut()
        assert isinstance(uploads.ended.get(timeout=10), BitsegError)
        cut.set()
        assert upload.code() is not grpc.StatusCode.OK
    server.stop(0)
    assert engine.catalog.get_list("L") == before


@pytest.mark.parametrize("head", [{}, {"is_complete": False}])
@pytest.mark.slow
def test_Upload_of_invalid_protobuf_changes_nothing(server, engine, head, uploads):
    before = engine.catalog.create_list("L", [f"u{number}" for number in range(1_000)])
    messages = [
        catalog_pb2.UploadListRequest(list={"name": "L"}, **head).SerializeToString(),
        catalog_pb2.UploadListRequest(user_ids={"user_ids": ["v1", "v2"]}).SerializeToString(),
        b"\x0a\xff\xff\xff\x7f",
    ]
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary("/bitseg.v1.CatalogService/UploadList")
        with pytest.raises(grpc.RpcError):
            call(iter(messages), timeout=20)
    # Longer than the service waits for a broken connection to be detected.
    with suppress(queue.Empty):
        assert isinstance(uploads.ended.get(timeout=2), BitsegError)
    assert engine.catalog.get_list("L") == before


def test_Upload_is_complete_when_its_last_message_says_so(stub, engine):
    def message(**parts):
        return catalog_pb2.UploadListRequest(**parts)

    before = engine.catalog.create_list("L", ["u1"])
    head = message(list={"name": "L"}, is_complete=False)
    part = message(user_ids={"user_ids": ["u2", "u3"]})
    unfinished = refused(lambda: stub.UploadList(iter([head, part])), grpc.StatusCode.INVALID_ARGUMENT)
    assert "the upload ended before it was complete" in unfinished
    refused(lambda: stub.UploadList(iter([head, part, message()])), grpc.StatusCode.INVALID_ARGUMENT)
    assert engine.catalog.get_list("L") == before
    assert stub.UploadList(iter([head, part, message(is_complete=True)])).list.size == 2
    assert stub.UploadList(iter([head, message(user_ids={"user_ids": ["u4"]}, is_complete=True)])).list.size == 1
    assert stub.UploadList(iter([message(list={"name": "L"}, is_complete=True)])).list.size == 0
    # A caller that does not know the field.
    assert stub.UploadList(iter([message(list={"name": "L"}), part])).list.size == 2


def test_Update_with_allow_missing_saves_what_is_not_there(stub, engine):
    def segment(**fields):
        request = catalog_pb2.UpdateSegmentRequest(segment={"name": "S", **fields}, allow_missing=True)
        found = stub.UpdateSegment(request).segment
        return found.expression, found.description

    assert segment(expression="n = 1", description="d") == ("n = 1", "d")
    assert segment(expression="n = 2") == ("n = 2", "d")
    assert "needs a definition" in refused(lambda: segment(description="e"), grpc.StatusCode.INVALID_ARGUMENT)
    refused(lambda: segment(expression="n = 3", etag="stale"), grpc.StatusCode.ABORTED)
    engine.catalog.delete_segment("S")
    refused(lambda: segment(expression="n = 3", etag="stale"), grpc.StatusCode.NOT_FOUND)

    def users(**fields):
        request = catalog_pb2.UpdateListRequest(list={"name": "L"}, allow_missing=True, **fields)
        return stub.UpdateList(request).list.size

    assert "needs the users" in refused(users, grpc.StatusCode.INVALID_ARGUMENT)
    assert users(user_ids={"user_ids": ["u1", "u2"]}) == 2
    assert users(csv={"content": b"id\nu7\n"}) == 1


def test_Queries_name_saved_segments(server, engine):
    engine.catalog.create_segment("Low", "n < 5")
    with grpc.insecure_channel(server.address) as channel:
        query = query_pb2_grpc.QueryServiceStub(channel)
        assert query.Count(query_pb2.CountRequest(segment="Low")).count == 5
        queries = [query_pb2.SegmentQuery(segment="Low"), query_pb2.SegmentQuery(segment="none")]
        low, none = query.BatchCount(query_pb2.BatchCountRequest(queries=queries)).results
        assert (low.count, none.error.code) == (5, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        assert query.Evaluate(query_pb2.EvaluateRequest(segment="Low", sample_size=9)).sample_user_ids == [
            f"u{number}" for number in range(5)
        ]
        (page,) = query.StreamMembers(query_pb2.StreamMembersRequest(segment="Low"))
        assert len(page.user_ids) == 5
        assert query.ExplainUser(query_pb2.ExplainUserRequest(segment="Low", user_id="u1")).explanation.matches
        refused(lambda: query.Count(query_pb2.CountRequest(segment="none")), grpc.StatusCode.NOT_FOUND)


def test_Asyncio_client_manages_the_catalog(server, engine):
    async def manage():
        async with AsyncClient(server.address) as client:
            catalog = client.catalog
            made = await catalog.create_segment("S", "n < 5", labels={"a": "b"})
            assert await catalog.get_segment("S") == made
            assert (await catalog.update_segment("S", description="d", etag=made.etag)).details.description == "d"
            with pytest.raises(StaleEtagError):
                await catalog.update_segment("S", description="e", etag=made.etag)
            await catalog.clone_segment("S", "T")
            await catalog.rename_segment("T", "U")
            assert [each.name for each in (await catalog.list_segments()).items] == ["S", "U"]
            await catalog.delete_segment("U")
            await catalog.create_list("L", ["u1"])
            await catalog.save_list("L", (f"u{number}" for number in range(30_000)))
            await catalog.update_list("L", description="x")
            await catalog.rename_list("L", "M")
            assert (await catalog.get_list("M")).size == 30_000
            assert [each.size for each in (await catalog.list_lists()).items] == [30_000]
            await catalog.delete_list("M")

    asyncio.run(manage())
    assert (list(engine.catalog.segments), engine.catalog.lists) == (["S"], {})


# On disk


def test_Catalog_is_in_journal_and_snapshots(tmp_path):
    with Engine.open(tmp_path / "0", clock=SteppingClock()) as engine:
        catalog = engine.catalog
        assert {*catalog.segments} == {name for name, _, _ in DEFAULT_SEGMENTS}
        catalog.create_list("L", ["u1", "u2"], description="d", labels={"a": "b"})
        catalog.create_segment("S", 'in list "L"', description="e", labels={"c": "d"})
        catalog.create_segment("T", 'in segment "S"')
        if (tmp_path / "0").exists():
            engine.snapshot()
        catalog.rename_list("L", "M")
        catalog.rename_segment("S", "R")
        catalog.clone_segment("R", "Q")
        catalog.update_list("M", labels={})
        catalog.delete_segment("Active today")
        catalog.update_segment("T", description="f")
        catalog.create_list("gone", ["u9"])
        catalog.delete_list("gone")
        expected = (catalog.segments, catalog.lists, engine.version)
        shutil.copytree(tmp_path / "0", tmp_path / "1", ignore=shutil.ignore_patterns("lock"))
    for number in (1, 1, 0):
        with Engine.open(tmp_path / str(number)) as again:
            assert (again.catalog.segments, again.catalog.lists, again.version) == expected
            assert again.verify() == []
    assert expected[0]["T"].text == 'in segment "R"'


def test_Default_segments_are_only_in_new_workspaces(tmp_path):
    with Engine.open(tmp_path / "a") as engine:
        for name in engine.catalog.segments:
            engine.catalog.delete_segment(name)
    with Engine.open(tmp_path / "a") as engine:
        assert engine.catalog.segments == {}
        engine.catalog.save_segment("Regulars", "everyone")
        engine.catalog.add_default_segments()
        assert len(engine.catalog.segments) == len(DEFAULT_SEGMENTS)
        assert engine.catalog.get_segment("Regulars").text == "everyone"
    assert Engine().catalog.segments == {}


def test_Default_segments_match_their_names():
    day = 86_400_000
    engine = Engine(clock=FixedClock(NOW_MS))
    engine.catalog.add_default_segments()
    seen = {
        "daily": range(28),
        "new": [2, 1],
        "today": [0],
        "weekly": [0, 7, 14, 21, 28],
        "lapsed": [31, 90],
        "never": [],
    }
    engine.ingest([Identify(user, {}, NOW_MS) for user in seen])
    engine.ingest([Track(user, "Any", {}, NOW_MS - ago * day) for user, days in seen.items() for ago in days])
    members = {name: set(everyone_of(engine, name)) for name, _, _ in DEFAULT_SEGMENTS}
    assert members == {
        "Active today": {"daily", "today", "weekly"},
        "Active this week": {"daily", "today", "weekly", "new"},
        "New this week": {"new", "today"},
        "Regulars": {"daily", "weekly"},
        "Have not logged in recently": {"lapsed"},
        "Have never done anything": {"never"},
    }
