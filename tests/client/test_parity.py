"""Engine, Client and AsyncClient: the same methods, the same parameters, the same answers."""

import asyncio
import inspect
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from bitseg import api
from bitseg.cli.main import cli
from bitseg.client import AsyncClient, Client
from bitseg.client.catalog import AsyncRemoteCatalog, RemoteCatalog
from bitseg.client.paging import AsyncMembers
from bitseg.clock import FixedClock
from bitseg.engine import Engine, WorkspaceSettings
from bitseg.engine.catalog import CatalogApi
from bitseg.entries import ENTRY_KINDS
from bitseg.errors import BitsegError
from bitseg.operations import Delete, Identify, Page, Track
from bitseg.results import CountResult, Members
from bitseg.segment import parse
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from tests.conftest import NOW_MS

KINDS = [(api.Workspace, Engine, Client, AsyncClient), (api.Catalog, CatalogApi, RemoteCatalog, AsyncRemoteCatalog)]


def methods(protocol):
    return [
        name
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and (not name.startswith("_") or name in ("__enter__", "__exit__"))
        if name not in ("__init__", "__subclasshook__")
    ]


@pytest.mark.parametrize(("protocol", "engine", "client", "async_client"), KINDS)
def test_Methods_have_the_parameters_of_the_protocol(protocol, engine, client, async_client):
    names = methods(protocol)
    assert len(names) > 10
    for name in names:
        expected = inspect.signature(getattr(protocol, name)).parameters
        asynchronous = {"__enter__": "__aenter__", "__exit__": "__aexit__"}.get(name, name)
        for kind, method in ((engine, name), (client, name), (async_client, asynchronous)):
            assert inspect.signature(getattr(kind, method)).parameters == expected, (kind, method)
        assert inspect.iscoroutinefunction(getattr(async_client, asynchronous)), name
        if not name.startswith("_"):
            assert all(getattr(kind, name).__doc__ for kind in (engine, client, async_client)), name


@pytest.mark.parametrize(("protocol", "engine", "client", "async_client"), KINDS)
def test_Properties_are_those_of_the_protocol(protocol, engine, client, async_client):
    names = [name for name, member in vars(protocol).items() if isinstance(member, property)]
    assert names
    for name in names:
        for kind in (client, async_client):
            assert not callable(inspect.getattr_static(kind, name)), (kind, name)
        assert name in dir(engine) or name in inspect.getsource(engine.__init__)


@pytest.mark.parametrize("kind", ENTRY_KINDS)
def test_Catalog_has_every_verb_for_every_kind_of_entry(kind):
    names = {f"{verb}_{kind}" for verb in ("get", "create", "update", "rename", "delete")}
    assert names | {f"list_{kind}s", f"{kind}s"} <= vars(api.Catalog).keys()
    assert {"show", "list", "create", "update", "rename", "delete"} <= cli.commands[f"{kind}s"].commands.keys()


def test_Calls_of_both_clients_are_documented_as_their_description_is():
    for kind in (Client, AsyncClient):
        assert inspect.signature(kind.count).return_annotation is CountResult
        assert kind.count.__qualname__ == "Calls.count"
        assert "How many users" in kind.count.__doc__


class Asynchronous:
    """An AsyncClient that waits for every call."""

    def __init__(self, target, loop):
        self._target, self._loop = target, loop

    def __getattr__(self, name):
        member = getattr(self._target, name)
        if inspect.isawaitable(member):
            return self._answer(member)
        if not callable(member):
            return Asynchronous(member, self._loop)
        return lambda *arguments, **options: self._answer(member(*arguments, **options))

    def _answer(self, awaitable):
        async def answer():
            found = await awaitable
            if isinstance(found, AsyncMembers):
                # The members are read before the loop stops again.
                ids = [user async for user in found]
                return (found.total, found.version, found.warnings, ids)
            return found

        return self._loop.run_until_complete(answer())


class Workspaces:
    """The same contents in three engines: used directly, by a client and by an asyncio client."""

    def __init__(self, zone):
        self.engines = [Engine(WorkspaceSettings(zone), clock=FixedClock(NOW_MS)) for _ in range(3)]
        self.servers = [Server(each, Settings(address="127.0.0.1:0")) for each in self.engines[1:]]
        for each in self.servers:
            each.start()
        self.loop = asyncio.new_event_loop()
        self.client = Client(self.servers[0].address)
        self.async_client = self.loop.run_until_complete(self._made(self.servers[1].address))
        self.all = [self.engines[0], self.client, Asynchronous(self.async_client, self.loop)]

    async def _made(self, address):
        return AsyncClient(address)

    def close(self):
        self.client.close()
        self.loop.run_until_complete(self.async_client.close())
        self.loop.close()
        for each in self.servers:
            each.stop(0)


@pytest.fixture(scope="module")
def workspaces():
    workspaces = Workspaces("America/New_York")
    yield workspaces
    workspaces.close()


def comparable(answer):
    """An answer without its elapsed time."""
    if isinstance(answer, BitsegError):
        return (type(answer), answer.message)
    if isinstance(answer, Members):
        return [answer.total, answer.version, [*answer.warnings], [*answer]]
    if isinstance(answer, list | tuple) and not hasattr(answer, "_fields"):
        return [comparable(each) for each in answer]
    if hasattr(answer, "elapsed_seconds"):
        return replace(answer, elapsed_seconds=0.0)
    return answer


def outcome(workspace, call):
    try:
        return comparable(call(workspace))
    except BitsegError as error:
        return comparable(error)


EASTERN = timezone(timedelta(hours=-5))
FIRST = [
    Identify("a", {"n": 1, "name": "Ann", "tags": ["x", "y"], "home": {"lat": 1.5, "lon": 2}}, NOW_MS),
    Identify("b", {"n": np.int64(2), "score": np.float32(0.5), "ok": np.bool_(True)}, NOW_MS),
    Identify("c", {"seen": datetime(2024, 1, 30, 12, tzinfo=UTC), "born": date(1990, 5, 1), "ok": False}, NOW_MS),
    Identify("d", {"seen": datetime(2024, 1, 30, 7), "n": None, "tags": ("z",)}, NOW_MS),
    Identify("e", {"n": object(), "name": {1, 2}, "seen": b"bytes", "tags": "x"}, NOW_MS),
    Track(
        "a",
        "Paid",
        {"amount": np.int32(5), "at": datetime(2024, 1, 30, 20, tzinfo=EASTERN)},
        NOW_MS,
    ),
    Track("a", "Paid", {"amount": float("nan")}, NOW_MS - 5),
    Track("", "Paid", {}, NOW_MS),
    Track("b", "Paid", {}, NOW_MS + 10**9),
    Page("a", "Home", {"url": "/"}, NOW_MS, "m1"),
    Page("a", "Home", {"url": "/"}, NOW_MS, "m1"),
    Delete("nobody", "m2"),
    Delete("nobody", "m2"),
    Identify(b"bytes", {}, NOW_MS),
    Identify("half \ud800", {}, NOW_MS),
    Track("a", "", {}, NOW_MS),
    Track("a", b"Paid", {}, NOW_MS),
    Track("a", "Paid", {b"amount": 1, "x" * 257: 1, "": 2, "bad": "half \ud800", "large": 2**53 + 1}, NOW_MS),
    Track("a", "Paid", None, NOW_MS),
    Page("a", "Home", {}, "soon"),
    Identify("u", {}, 2**60),
    Identify("u", {"n": 1}, NOW_MS, "m" * 129),
]

CALLS = {
    "ingest": lambda w: w.ingest(FIRST),
    "ingest a generator": lambda w: w.ingest(Identify(f"g{number}", {"g": number}, NOW_MS) for number in range(50)),
    "count": lambda w: w.count("n = 1"),
    "count a numpy value": lambda w: w.count("n = 2 and score = 0.5 and ok = true"),
    "count a datetime value": lambda w: w.count("seen >= 2024-01-30T12:00:00Z"),
    "count a datetime value without offset": lambda w: w.count("seen = 2024-01-30T12:00:00Z"),
    "count a date value": lambda w: w.count("born = 1990-05-01"),
    "count a tree": lambda w: w.count(parse("n = 1 or g < 5")),
    "count a page": lambda w: w.count('did "Page Viewed" where name = "Home" exactly 1 times'),
    "count a fault": lambda w: w.count("nothing_of_the_kind = 1"),
    "count bad text": lambda w: w.count("n ="),
    "count at a local time": lambda w: w.count('did "Paid" today', datetime(2024, 1, 31, 6, 59)),
    "count at a later local time": lambda w: w.count('did "Paid" today', datetime(2024, 1, 31, 7, 0)),
    "count at an instant": lambda w: w.count('did "Paid" today', datetime(2024, 1, 31, 12, tzinfo=UTC)),
    "count at no such year": lambda w: w.count("everyone", datetime(1, 1, 1)),
    "count at no such year of an offset": lambda w: w.count("everyone", datetime(9999, 12, 31, tzinfo=UTC)),
    "count_all": lambda w: w.count_all(["n = 1", "nix = 1", parse("n = 2"), "n ="]),
    "count_all of a generator": lambda w: w.count_all((f"g = {number}" for number in range(3)), datetime(2024, 2, 1)),
    "count_all of a thousand": lambda w: len(w.count_all(["everyone"] * 1_000)[0]),
    "count_all of 1,001": lambda w: w.count_all(["everyone"] * 1_001),
    "evaluate": lambda w: w.evaluate("everyone", sample_size=7, include_bitmap=True),
    "evaluate too many": lambda w: w.evaluate("everyone", sample_size=1_001),
    "evaluate less than none": lambda w: w.evaluate("everyone", sample_size=-1),
    "members": lambda w: w.members("g is set", page_size=7),
    "members of default pages": lambda w: w.members("g is set", page_size=0),
    "members at a local time": lambda w: w.members('did "Paid" today', datetime(2024, 1, 31, 7)),
    "members of pages below none": lambda w: w.members("everyone", page_size=-1),
    "members of pages too large": lambda w: w.members("everyone", page_size=100_001),
    "members of nothing": lambda w: w.members(),
    "explain": lambda w: w.explain("a", 'did "Paid" today and n = 1', datetime(2024, 1, 31, 7)),
    "explain nobody": lambda w: w.explain("nobody", "everyone"),
    "user": lambda w: w.user("a"),
    "user with a datetime": lambda w: w.user("c"),
    "nobody": lambda w: w.user("nobody"),
    "create a segment": lambda w: w.catalog.create_segment("S", "n = 1", labels={"a": "b"}).text,
    "create it again": lambda w: w.catalog.create_segment("S", "n = 1"),
    "save it": lambda w: w.catalog.save_segment("S", "n = 2").details.labels,
    "save another": lambda w: w.catalog.save_segment("T", parse("n = 3"), description="d").details.description,
    "save with a stale etag": lambda w: w.catalog.save_segment("T", "n = 3", etag="stale"),
    "save a missing one with an etag": lambda w: w.catalog.save_segment("U", "n = 3", etag="stale"),
    "save a bad one": lambda w: w.catalog.save_segment("T", "n ="),
    "segments": lambda w: sorted(w.catalog.segments),
    "list segments": lambda w: [each.text for each in w.catalog.list_segments(name_contains="s").items],
    "list no such page": lambda w: w.catalog.list_segments(page_size=1_001),
    "list a page beyond 32 bits": lambda w: outcome(w, lambda w: w.catalog.list_segments(page_size=10**12))[0],
    "rename": lambda w: w.catalog.rename_segment("T", "V").name,
    "clone": lambda w: w.catalog.clone_segment("V", "W").text,
    "delete": lambda w: w.catalog.delete_segment("W"),
    "create a list of a generator": lambda w: w.catalog.create_list("L", (user for user in "ab")).size,
    "save a list of a generator": lambda w: w.catalog.save_list("L", (user for user in "abc"), description="d").size,
    "save a list with a bad id": lambda w: w.catalog.save_list("L", ["a", ""]),
    "update a list of a generator": lambda w: w.catalog.update_list("L", user_ids=(user for user in "ab")).size,
    "lists": lambda w: {name: (each.size, each.details.description) for name, each in w.catalog.lists.items()},
    "rename a list": lambda w: w.catalog.rename_list("L", "M").name,
    "delete a list": lambda w: w.catalog.delete_list("M"),
    "delete it again": lambda w: w.catalog.delete_list("M"),
    "user_segments": lambda w: w.user_segments("a", datetime(2024, 1, 31, 7)),
    "calendar": lambda w: w.calendar.zone_name,
    "snapshot of a workspace in memory": lambda w: w.snapshot(),
}


@pytest.mark.parametrize("name", CALLS)
def test_Engine_and_both_clients_answer_alike(workspaces, name):
    answers = [outcome(each, CALLS[name]) for each in workspaces.all]
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def test_Table_of_calls_makes_what_it_is_meant_to(workspaces):
    engine = workspaces.engines[0]
    assert engine.count("seen = 2024-01-30T12:00:00Z").count == 2
    assert engine.count("n = 2 and score = 0.5 and ok = true").count == 1
    assert engine.count('did "Paid" today', datetime(2024, 1, 31, 7)).count == 1
    assert engine.count('did "Paid" today', datetime(2024, 1, 31, 6, 59)).count == 0
    assert [*engine.members("g is set", page_size=7)] == [f"g{number}" for number in range(50)]
