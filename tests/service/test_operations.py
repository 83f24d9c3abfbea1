"""A server as its operators see it: metrics, logs, traces, readiness, configuration, and stopping."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitseg.cli.serving import serve_command
from bitseg.cli.settings import to_settings
from bitseg.client import Client
from bitseg.clock import FixedClock
from bitseg.columns import Columns
from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError, NotReadyError, SegmentSyntaxError
from bitseg.operations import Identify, Track
from bitseg.pb import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.service import logs
from bitseg.service.access import Role
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from tests.conftest import COMMAND, NOW_MS, until

USERS = [Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(100)]


def scraped(server):
    """The metrics by name and labels, as Prometheus reads them."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=10) as response:
        text = response.read().decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_Metrics_tell_of_calls_and_of_the_workspace(tmp_path):
    with Engine.open(tmp_path / "data", clock=FixedClock(NOW_MS)) as engine:
        server = Server(engine, Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0"))
        server.start()
        with Client(server.address) as client:
            client.ingest([*USERS, Track("u1", "E", {}, NOW_MS - 5_000), Track("u1", "E", {}, NOW_MS - 9_000)])
            for _ in range(3):
                client.count('did "E"')
            with pytest.raises(SegmentSyntaxError):
                client.count("n =")
            list(client.members("n > 3").pages)
            before = scraped(server)
            client.snapshot()
            client.ingest(USERS[:1])
            after = scraped(server)
        server.stop(0)
    count = "/bitseg.v1.QueryService/Count"
    assert before[f'bitseg_requests_total{{code="OK",method="{count}"}}'] == 3
    assert before[f'bitseg_requests_total{{code="INVALID_ARGUMENT",method="{count}"}}'] == 1
    assert before[f'bitseg_request_seconds_count{{method="{count}"}}'] == 4
    assert 0 < before[f'bitseg_request_seconds_sum{{method="{count}"}}'] < 5
    assert before['bitseg_open_streams{method="/bitseg.v1.QueryService/StreamMembers"}'] == 0
    assert before["bitseg_ingest_lag_seconds"] == 5
    assert (before["bitseg_ready"], before["bitseg_users"], before["bitseg_events"]) == (1, 100, 2)
    assert before['bitseg_bytes{part="event"}'] > 0
    assert before['bitseg_bytes{part="journal"}'] > 0
    assert before['bitseg_materialised_lookups_total{outcome="hit"}'] >= 2
    assert before['bitseg_materialised_lookups_total{outcome="miss"}'] >= 1
    assert 0 <= before["bitseg_snapshot_age_seconds"] < 60
    assert 0 <= before["bitseg_journal_age_seconds"] < 60
    assert before["bitseg_snapshot_failures_total"] == 0
    assert after["bitseg_snapshot_age_seconds"] < before["bitseg_snapshot_age_seconds"] + 60
    assert after['bitseg_bytes{part="journal"}'] < before['bitseg_bytes{part="journal"}']
    assert after["bitseg_version"] > before["bitseg_version"]


def test_Metrics_of_a_workspace_in_memory_have_no_ages(engine):
    server = Server(engine, Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0"))
    assert scraped(server)["bitseg_ready"] == 0
    server.start()
    found = scraped(server)
    assert found["bitseg_ready"] == 1
    assert "bitseg_snapshot_age_seconds" not in found
    with pytest.raises(InvalidArgumentError, match=r"cannot listen .* for metrics"):
        Server(engine, Settings(address="127.0.0.1:0", metrics_address=server.metrics_address))
    server.stop(0)


def test_Request_ids_go_through_logs_and_answers(server, caplog):
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.DEBUG, "bitseg.calls"):
        stub = query_pb2_grpc.QueryServiceStub(channel)
        for text, code in (("everyone", "OK"), ("n =", "INVALID_ARGUMENT")):
            caplog.clear()
            request = query_pb2.CountRequest(expression=text)
            try:
                _, call = stub.Count.with_call(request, metadata=[("x-request-id", "order-17")])
            except grpc.RpcError as error:
                call = error
            assert dict(call.trailing_metadata())["x-request-id"] == "order-17"
            until(lambda: caplog.records)
            (record,) = caplog.records
            assert record.fields["request_id"] == "order-17"
            assert (record.fields["method"], record.fields["code"]) == ("/bitseg.v1.QueryService/Count", code)
            assert record.levelno == (logging.DEBUG if code == "OK" else logging.INFO)
        caplog.clear()
        with pytest.raises(grpc.RpcError):
            stub.Count(request, metadata=[("x-request-id", "too long" * 60)])
        until(lambda: caplog.records)
        assert re.fullmatch("[0-9a-f]{16}", caplog.records[0].fields["request_id"])


def test_Unexpected_error_is_internal_and_only_the_log_has_details(server, engine, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(engine, "count", broken)
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        query_pb2_grpc.QueryServiceStub(channel).Count(query_pb2.CountRequest(expression="everyone"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    details = caught.value.details()
    assert not re.search("secret|RuntimeError|Traceback", f"{details}{caught.value.trailing_metadata()}")
    request_id = re.search("under the request id ([0-9a-f]+)", details)[1]
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.fields["request_id"] == request_id
    assert record.exc_info[0] is RuntimeError
    assert "secret of the house" in str(record.exc_info[1])


@pytest.mark.parametrize("format", logs.FORMATS)
def test_Logs_are_lines_with_fields(format, capsys, monkeypatch):
    log = logging.getLogger("bitseg")
    before = (log.handlers, log.level, log.propagate)
    try:
        logs.configure(format, "info")
        log.getChild("calls").info("call", extra={"fields": {"code": "OK", "ms": 1.5}})
        log.getChild("calls").debug("not this")
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("it failed")
    finally:
        log.handlers, log.level, log.propagate = before
    written = capsys.readouterr().err
    if format == "json":
        first, second = map(json.loads, written.splitlines())
        assert (first["level"], first["logger"], first["code"], first["ms"]) == ("info", "bitseg.calls", "OK", 1.5)
        assert first["time"].endswith("Z")
        assert "ValueError: bad" in second["exception"]
    else:
        assert re.match(r"\S+Z info call code=OK ms=1.5\n\S+Z error it failed\nTraceback", written)


def test_Calls_are_traced_below_the_span_of_the_caller(server, engine):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    engine.ingest(USERS)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with grpc.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        metadata = [("traceparent", parent), ("x-request-id", "r1")]
        stub.Count(query_pb2.CountRequest(expression="everyone"), metadata=metadata)
        with pytest.raises(grpc.RpcError):
            stub.Count(query_pb2.CountRequest(expression="n ="), metadata=metadata)
        list(stub.StreamMembers(query_pb2.StreamMembersRequest(expression="everyone"), metadata=metadata))
    until(lambda: len(exporter.get_finished_spans()) == 3)
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)
    assert [span.name for span in spans] == [
        f"bitseg.v1.QueryService/{name}" for name in ("Count", "Count", "StreamMembers")
    ]
    assert [span.attributes["rpc.grpc.status_code"] for span in spans] == ["OK", "INVALID_ARGUMENT", "OK"]
    assert [span.status.is_ok for span in spans] == [True, False, True]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {parent.split("-")[1]}
    assert {f"{span.parent.span_id:016x}" for span in spans} == {parent.split("-")[2]}
    assert {span.attributes["bitseg.request_id"] for span in spans} == {"r1"}


def test_Server_works_where_opentelemetry_is_not_installed(tmp_path):
    """Runs in another process in which the import fails."""
    program = """
import sys
sys.modules["opentelemetry"] = None
from bitseg.client import Client
from bitseg.engine import Engine
from bitseg.service.server import Server
from bitseg.service.settings import Settings
from bitseg.service import tracing
server = Server(Engine(), Settings(address="127.0.0.1:0"))
server.start()
with Client(server.address) as client:
    print(client.count("everyone").count, tracing.configure())
server.stop(0)
"""
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout == "0 False\n"


# Beginning and ending


def test_Server_is_not_ready_until_it_has_its_workspace(engine):
    server = Server(None, Settings(address="127.0.0.1:0"))
    server.start()
    with grpc.insecure_channel(server.address) as channel, Client(server.address) as client:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "bitseg.v1.QueryService"):
            health_request = health_pb2.HealthCheckRequest(service=service)
            assert health.Check(health_request).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(NotReadyError, match="is opening its workspace"):
            client.count("everyone")
        # A client that calls meanwhile gets its answer once the workspace is open.
        threading.Timer(0.1, server.serve, [engine]).start()
        until(lambda: health.Check(health_request).status == health_pb2.HealthCheckResponse.SERVING)
        assert client.count("everyone").count == 0
    server.stop(0)


def test_Stopping_lets_calls_end_and_idle_producers_go(tmp_path):
    with Engine.open(tmp_path / "data") as engine:
        engine.ingest_columns(many_users(100_000))
        server = Server(engine, Settings(address="127.0.0.1:0", grace_seconds=20))
        server.start()
        with Client(server.address) as client, grpc.insecure_channel(server.address) as channel:
            idle = ingest_pb2_grpc.IngestServiceStub(channel).Ingest(open_requests())
            assert next(idle).last_sequence == 0
            pages = client.members("everyone", page_size=500).pages
            found = next(pages)
            stopping = threading.Thread(target=server.stop)
            started = time.monotonic()
            stopping.start()
            with pytest.raises(grpc.RpcError) as caught:
                next(idle)
            # Which of the two depends on whether the connection goes first.
            assert caught.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
            # The stream goes on to its end.
            for page in pages:
                found += page
            stopping.join(20)
            assert not stopping.is_alive()
            assert time.monotonic() - started < 10
        assert len(set(found)) == len(found) == 100_000


def many_users(total):
    import numpy as np

    users = [f"{number:06}" + "u" * 100 for number in range(total)]
    return Columns(None, users, np.full(total, NOW_MS), {}, np.arange(total))


def open_requests():
    yield ingest_pb2.IngestRequest(producer="idle")
    threading.Event().wait(15)


def test_Stopped_server_has_a_snapshot_and_an_empty_journal(tmp_path):
    command = [COMMAND, "serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("serving"):
                address = re.search(r" on (\S+);", line)[1]
                break
        with Client(address) as client, client.producer("p") as producer:
            producer.ingest(USERS)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    with Engine.open(tmp_path / "data") as engine:
        assert engine.recovered.records == 0
        assert (engine.user_count, engine.last_sequence("p")) == (100, 1)


# Configuration


def printed(tmp_path, *arguments, **environment):
    done = subprocess.run(
        [COMMAND, "serve", "--print-config", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=True,
    )
    return done.stdout


def test_Configuration_comes_from_flags_then_environment_then_file(tmp_path):
    (tmp_path / "c.toml").write_text('listen = "127.0.0.1:7"\nsnapshot_mib = 9\nmax_streams = 3\ninsecure = true\n')
    text = printed(
        tmp_path, "--config", "c.toml", "--snapshot-mib", "5", BITSEG_LISTEN="127.0.0.1:8", BITSEG_SYNC="never"
    )
    found = tomllib.loads(text)
    assert (found["snapshot_mib"], found["listen"], found["max_streams"]) == (5, "127.0.0.1:8", 3)
    assert (found["insecure"], found["sync"], found["max_producers"]) == (True, "never", 32)
    for line in (
        "snapshot_mib = 5  # command line",
        'listen = "127.0.0.1:8"  # environment',
        "max_streams = 3  # configuration file",
        "max_producers = 32  # default",
        "# tls_key is not set",
    ):
        assert line in text.splitlines()
    # The output is itself a configuration.
    (tmp_path / "again.toml").write_text(text)
    assert tomllib.loads(printed(tmp_path, "--config", "again.toml")) == found
    assert tomllib.loads(printed(tmp_path, BITSEG_CONFIG="c.toml"))["max_streams"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("listne = 1", "has unknown options: listne"),
        ("listen =", "cannot read the configuration"),
        ('max_streams = "many"', "'many' is not a valid integer"),
        ('sync = "sometimes"', "'sometimes' is not one of"),
        ("max_streams = 0", "0 is not in the range"),
    ],
)
@pytest.mark.slow
def test_Bad_configuration_is_an_error_that_says_where(tmp_path, content, message):
    (tmp_path / "c.toml").write_text(content)
    command = [COMMAND, "serve", "--print-config", "--config", "c.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_Example_configuration_has_every_option_at_its_default():
    """Options without a default are comments. So is `tokens`, whose default depends on `data`."""
    text = (files("bitseg") / "examples" / "bitseg.toml").read_text()
    options = {each.name: each.default for each in serve_command.params if each.name not in ("config", "print_config")}
    defaults = {name: value for name, value in options.items() if isinstance(value, str | int | float | Path)}
    assert tomllib.loads(text) == {**defaults, "data": str(defaults["data"])}
    commented = {*re.findall(r"^# (\w+) = ", text, re.M)}
    assert commented == options.keys() - defaults.keys() >= {"tokens", "tls_key"}


def test_Example_configuration_is_read(tmp_path):
    example = files("bitseg") / "examples" / "bitseg.toml"
    assert tomllib.loads(printed(tmp_path, "--config", str(example))) == tomllib.loads(printed(tmp_path))


def test_Every_setting_has_an_option_and_every_option_its_setting():
    given = {
        "listen": "1.2.3.4:5",
        "metrics": "1.2.3.4:6",
        "tokens": "t",
        "tls_certificate": "c",
        "tls_key": "k",
        "tls_client_ca": "a",
        "certificate_role": "writer",
        "insecure": True,
        "max_message_mib": 3,
        "max_streams": 4,
        "max_producers": 5,
        "max_query_seconds": 6.5,
        "stall_seconds": 7.5,
        "grace_seconds": 8.5,
    }
    assert [*given] == [each.metadata["name"] or each.name for each in fields(Settings)]
    arguments = [
        part
        for name, value in given.items()
        for part in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
    ]
    context = serve_command.make_context("serve", arguments)
    assert to_settings(context.params) == Settings(
        "1.2.3.4:5",
        "1.2.3.4:6",
        Path("t"),
        Path("c"),
        Path("k"),
        Path("a"),
        Role.WRITER,
        True,
        3 * 2**20,
        4,
        5,
        6.5,
        7.5,
        8.5,
    )
    assert to_settings(serve_command.make_context("serve", []).params) == Settings()
