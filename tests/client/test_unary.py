"""The descriptor that makes methods of both clients from the description of a call."""

import asyncio
import inspect

import pytest

from bitseg.client import AsyncClient, Client
from bitseg.client.unary import Call, UnaryMethods, unary


def describe(name: str, *, size: int = 7) -> Call[str]:
    """What the call does."""
    return Call("Service", "Method", (name, size), str)


class Methods(UnaryMethods):
    fetch = unary(describe)

    def __init__(self, answer):
        self._answer = answer


class Sync(Methods):
    def call(self, call):
        return self._answer(call)


class Async(Methods):
    is_async = True

    async def call(self, call):
        return self._answer(call)


@pytest.mark.parametrize("kind", [Sync, Async])
def test_Method_has_the_signature_name_and_docstring_of_its_description(kind):
    assert str(inspect.signature(kind.fetch)) == "(self, name: str, *, size: int = 7) -> str"
    assert str(inspect.signature(kind(None).fetch)) == "(name: str, *, size: int = 7) -> str"
    assert (kind.fetch.__name__, kind.fetch.__qualname__) == ("fetch", "Methods.fetch")
    assert kind.fetch.__doc__ == "What the call does."
    assert inspect.iscoroutinefunction(kind.fetch) is kind.is_async


def test_Method_makes_the_call_that_is_described():
    def answer(call):
        return (call.service, call.method, call.request)

    expected = ("Service", "Method", ("a", 8))
    assert Sync(answer).fetch("a", size=8) == expected
    assert Sync.fetch(Sync(answer), "a", size=8) == expected
    assert asyncio.run(Async(answer).fetch(name="a", size=8)) == expected


def test_Method_refuses_other_parameters():
    with pytest.raises(TypeError, match="positional argument"):
        Sync(None).fetch("a", 8)


def test_Help_shows_the_calls_of_clients():
    for kind in (Client, AsyncClient):
        names = [name for name, _ in inspect.getmembers(kind, inspect.isfunction)]
        assert {"count", "count_all", "evaluate", "explain", "user", "ingest", "backup", "members"} <= {*names}
