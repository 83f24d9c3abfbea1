"""Clients save catalog entries atomically."""

import threading

import grpc
import pytest

from bitseg.client import Client
from bitseg.errors import BitsegError
from tests.proxy import BreakingProxy


def test_Callers_who_save_a_segment_at_once_all_succeed(server, engine):
    outcomes = []

    def save(number):
        with Client(server.address) as client:
            for turn in range(10):
                try:
                    outcomes.append(client.catalog.save_segment(f"S{turn}", f"n = {number}").name)
                except BitsegError as error:
                    outcomes.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(f"S{turn}" for turn in range(10) for _ in range(6))
    assert len(engine.catalog.segments) == 10


def test_List_is_unchanged_when_its_upload_breaks_off(server, engine):
    before = engine.catalog.create_list("L", [f"u{number}" for number in range(1_000)])

    class BrokenOffError(Exception):
        pass

    def ids(cut):
        yield from (f"v{number}" for number in range(60_000))
        cut()
        yield from (f"w{number}" for number in range(60_000))

    def fail():
        raise BrokenOffError

    with BreakingProxy(server.address) as proxy, Client(proxy.address) as client:
        for cut in (proxy.cut, fail):
            with pytest.raises((BitsegError, grpc.RpcError)):
                client.catalog.save_list("L", ids(cut))
            assert engine.catalog.get_list("L") == before
    with Client(server.address) as client:
        assert client.catalog.save_list("L", ids(lambda: None)).size == 120_000
    assert engine.catalog.get_list("L").size == 120_000
