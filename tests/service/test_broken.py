"""A server whose workspace is broken says so to callers, to health checks and in the metrics, and still ends."""

import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bitseg import Engine, Identify
from bitseg.client import Client
from bitseg.clock import FixedClock
from bitseg.errors import BitsegError, WorkspaceBrokenError
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from tests.conftest import NOW_MS

NAMES = ("", "bitseg.v1.QueryService")


def test_Broken_workspace_is_told_everywhere_and_the_server_ends(tmp_path, monkeypatch):
    engine = Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS))
    server = Server(engine, Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0"))
    server.start()
    apply = engine._shard.state.apply

    def fail(record):
        apply(record)
        raise MemoryError

    with grpc.insecure_channel(server.address) as channel, Client(server.address) as client:
        health = health_pb2_grpc.HealthStub(channel)

        def statuses():
            return {health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in NAMES}

        assert statuses() == {health_pb2.HealthCheckResponse.SERVING}
        monkeypatch.setattr(engine._shard.state, "apply", fail)
        with pytest.raises(BitsegError):
            client.ingest([Identify("u", {"n": 1}, NOW_MS)])
        assert statuses() == {health_pb2.HealthCheckResponse.NOT_SERVING}
        with pytest.raises(WorkspaceBrokenError) as raised:
            client.count("everyone")
        assert "restart the server" in raised.value.hint
        with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as answer:
            assert b"\nbitseg_ready 0.0\n" in answer.read()
    server.stop(0)
    engine.close()
    with Engine.open(tmp_path / "a", clock=FixedClock(NOW_MS)) as again:
        assert again.user_count == 0
