"""Attacks by callers: all are refused or bounded, and other callers are not affected."""

import logging
import socket
import ssl
import stat
import threading
import time
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pkgutil import iter_modules

import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bitseg import pb
from bitseg.client import Client, Credentials
from bitseg.client.connection import channel_options
from bitseg.columns import Columns
from bitseg.errors import (
    AlreadyExistsError,
    BitsegError,
    DataDirectoryError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RequestError,
    ServerUnavailableError,
    TimeLimitError,
    UnauthenticatedError,
)
from bitseg.operations import Identify, Track
from bitseg.pb import catalog_pb2, catalog_pb2_grpc, ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.protocol import SERVICES, methods
from bitseg.service.access import METHOD_ROLES, OPEN_METHODS, Role
from bitseg.service.interceptors.limits import stream_limits
from bitseg.service.server import Server
from bitseg.service.settings import Settings, is_loopback
from bitseg.service.tokens import TokenFile
from bitseg.values import Column, ValueType
from tests.conftest import NOW_MS, until

USERS = [Identify(f"u{number}", {"n": number}, NOW_MS) for number in range(1_000)]


@contextmanager
def serving(engine, **settings):
    server = Server(engine, Settings(address="127.0.0.1:0", **settings))
    server.start()
    try:
        yield server
    finally:
        server.stop(0)


@pytest.fixture
def tokens(tmp_path):
    """A token for every role, a revoked one, and an invented one."""
    file = TokenFile(tmp_path / "tokens.json")
    made = {role.title: file.create(f"the {role.title}", role) for role in Role}
    made["revoked"] = file.create("gone", Role.ADMIN)
    file.revoke("gone")
    # As long as a real one, with an existing id.
    made["made up"] = made["admin"][:16] + "x" * (len(made["admin"]) - 16)
    return made


@pytest.fixture
def secured(engine, tmp_path, tokens):
    engine.ingest(USERS)
    with serving(engine, tokens=tmp_path / "tokens.json") as server:
        yield server


def client_of(server, token=None, **options):
    return Client(server.address, credentials=Credentials(token), **options)


def raw_call(channel, method, token):
    """The status code and details of a call with an empty message, of any kind of method."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    try:
        call = channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=10)
        if method.endswith("/Watch"):
            next(call)
            call.cancel()
            return grpc.StatusCode.OK, ""
        list(call)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return call.code(), call.details()


# The table


def test_Table_has_every_method_of_every_service_and_no_other(secured, tokens):
    with grpc.insecure_channel(secured.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        reflection_request = reflection_pb2.ServerReflectionRequest(list_services="")
        metadata = [("authorization", f"Bearer {tokens['reader']}")]
        answers = stub.ServerReflectionInfo(iter([reflection_request]), metadata=metadata)
        listed = {each.name for each in next(answers).list_services_response.service}
    foreign = [*health_pb2.DESCRIPTOR.services_by_name.values(), *reflection_pb2.DESCRIPTOR.services_by_name.values()]
    descriptors = [*(service.descriptor for service in SERVICES), *foreign]
    assert {descriptor.full_name for descriptor in descriptors} == listed
    paths = {f"/{each.full_name}/{method.name}" for each in descriptors for method in each.methods}
    assert paths == METHOD_ROLES.keys()


def test_Protocol_lists_every_service_of_its_package():
    modules = [import_module(f"bitseg.pb.{each.name}") for each in iter_modules(pb.__path__) if "_pb2" in each.name]
    files = [module.DESCRIPTOR for module in modules if hasattr(module, "DESCRIPTOR")]
    names = {descriptor.full_name for file in files for descriptor in file.services_by_name.values()}
    assert {service.full_name for service in SERVICES} == names


@pytest.mark.parametrize("method", METHOD_ROLES)
def test_Method_admits_the_roles_of_the_table(secured, tokens, method):
    role = METHOD_ROLES[method]
    denied = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    with grpc.insecure_channel(secured.address) as channel:
        for caller in (None, "revoked", "made up", "reader", "writer", "admin"):
            token = None if caller is None else tokens[caller]
            code, details = raw_call(channel, method, token)
            if role is None:
                assert code not in denied
            elif caller in (None, "revoked", "made up"):
                assert code is grpc.StatusCode.UNAUTHENTICATED
            elif Role.named(caller) < role:
                assert code is grpc.StatusCode.PERMISSION_DENIED
                assert f"needs the role {role.title}" in details
                assert f'"the {caller}" is {caller}' in details
            else:
                assert code not in denied


def test_Every_stream_has_a_limit():
    streams = {
        f"/{method.containing_service.full_name}/{method.name}"
        for method in methods()
        if method.client_streaming or method.server_streaming
    }
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert stream_limits(Settings()).keys() == streams | {reflection}


def test_Only_methods_of_the_health_service_need_no_credentials():
    assert {path.split("/")[1] for path in OPEN_METHODS} == {"grpc.health.v1.Health"}


def test_Method_that_is_not_in_the_table_is_refused(secured, tokens, monkeypatch):
    monkeypatch.delitem(METHOD_ROLES, "/bitseg.v1.QueryService/Count")
    with client_of(secured, tokens["admin"]) as client, pytest.raises(PermissionDeniedError, match="nobody may call"):
        client.count("everyone")


# Tokens


def test_Client_errors_say_what_is_missing(secured, tokens):
    with client_of(secured) as client, pytest.raises(UnauthenticatedError, match="there is no token"):
        client.count("everyone")
    with client_of(secured, "made up") as client, pytest.raises(UnauthenticatedError, match="the token is not valid"):
        client.count("everyone")
    with client_of(secured, tokens["reader"]) as client:
        assert client.count("everyone").count == 1_000
        with pytest.raises(PermissionDeniedError, match="needs the role writer"):
            client.ingest(USERS)
        with pytest.raises(PermissionDeniedError, match="needs the role writer"):
            client.catalog.create_segment("S", "everyone")
    with client_of(secured, tokens["writer"]) as client:
        assert client.ingest(USERS[:1]).accepted == 1
        with pytest.raises(PermissionDeniedError, match="needs the role admin"):
            client.backup("/tmp/anywhere")
    assert "bitseg_" not in repr(Credentials(tokens["admin"]))


def is_refused(client):
    try:
        client.count("everyone")
    except UnauthenticatedError:
        return True
    return False


# A running server follows changes of its file of tokens within half a second; a busy machine needs longer.
HEEDED_SECONDS = 3


def test_Running_server_takes_a_token_that_is_made_and_refuses_it_once_revoked(secured, tokens, tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    with client_of(secured, file.create("late", Role.READER)) as client:
        until(lambda: not is_refused(client), HEEDED_SECONDS)
        assert client.count("everyone").count == 1_000
        file.revoke("late")
        until(lambda: is_refused(client), HEEDED_SECONDS)
        with pytest.raises(UnauthenticatedError, match="the token is not valid"):
            client.count("everyone")


def test_First_token_closes_a_server_that_was_open(engine, tmp_path):
    with serving(engine, tokens=tmp_path / "tokens.json") as server, client_of(server) as client:
        assert client.count("everyone").count == 0
        TokenFile(tmp_path / "tokens.json").create("first", Role.READER)
        until(lambda: is_refused(client), HEEDED_SECONDS)
        with pytest.raises(UnauthenticatedError, match="there is no token"):
            client.count("everyone")


def test_Revoked_token_ends_streams_before_another_message_is_accepted(secured, engine, tokens, tmp_path):
    events = engine.event_count
    with client_of(secured, tokens["writer"]) as client:
        producer = client.producer("shop", retry_seconds=0)
        assert producer.ingest([Track("u1", "E", {}, NOW_MS)]).accepted == 1
        TokenFile(tmp_path / "tokens.json").revoke("the writer")
        until(lambda: is_refused(client))
        with pytest.raises(UnauthenticatedError):
            producer.ingest([Track("u1", "E", {}, NOW_MS)])
        producer.close()
    assert engine.event_count == events + 1


@pytest.mark.slow
def test_Tokens_are_unchanged_when_their_file_is_damaged_or_missing(secured, tokens, tmp_path, caplog):
    path = tmp_path / "tokens.json"
    whole = path.read_bytes()
    with client_of(secured, tokens["reader"]) as client, client_of(secured) as nobody:
        for damaged in (
            b"",
            b"{}",
            b"[1]",
            b'{"format": 9, "tokens": []}',
            b'{"format": 1, "tokens": [{"id": 1}]}',
            None,
        ):
            caplog.clear()
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with caplog.at_level(logging.ERROR, "bitseg.service"):
                until(lambda: not is_refused(client) and is_refused(nobody) and caplog.records)
            assert ("is missing" in caplog.text) if damaged is None else ("could not be reloaded" in caplog.text)
        path.write_bytes(whole)


def test_Tokens_are_kept_as_hashes_for_their_owner_alone(tokens, tmp_path):
    path = tmp_path / "tokens.json"
    text = path.read_text()
    for token in tokens.values():
        assert token[16:] not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file = TokenFile(path)
    assert [(each.name, each.role, each.revoked is None) for each in file.tokens()] == [
        ("the reader", Role.READER, True),
        ("the writer", Role.WRITER, True),
        ("the admin", Role.ADMIN, True),
        ("gone", Role.ADMIN, False),
    ]
    with pytest.raises(AlreadyExistsError):
        file.create("the reader", Role.ADMIN)
    assert file.create("gone", Role.READER)
    with pytest.raises(NotFoundError):
        file.revoke("nobody")
    with pytest.raises(InvalidArgumentError):
        file.create("", Role.READER)
    path.write_text("nonsense")
    with pytest.raises(DataDirectoryError, match="not a file of tokens"):
        file.create("another", Role.READER)
    assert path.read_text() == "nonsense"


def test_Tokens_and_their_directory_are_durable_before_the_text_is_returned(tmp_path, monkeypatch):
    path = tmp_path / "new" / "folder" / "tokens.json"
    synced = []

    def note(folder):
        synced.append((folder, path.exists()))

    monkeypatch.setattr("bitseg.storage.frames.sync_directory", note)
    TokenFile(path).create("a", Role.READER)
    assert synced == [(tmp_path, False), (tmp_path / "new", False), (path.parent, True)]
    synced.clear()
    TokenFile(path).revoke("a")
    assert synced == [(path.parent, True)]


def test_Many_processes_change_the_tokens_at_once(tmp_path):
    threads = [
        threading.Thread(target=TokenFile(tmp_path / "t.json").create, args=(f"n{number}", Role.READER))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(TokenFile(tmp_path / "t.json").tokens()) == 12


def test_Secrets_are_in_no_log(secured, tokens, caplog, tmp_path):
    with caplog.at_level(logging.DEBUG):
        for token in tokens.values():
            with client_of(secured, token) as client:
                for call in (
                    lambda client=client: client.count("everyone"),
                    lambda client=client: client.count("n ="),
                    lambda client=client: client.ingest(USERS[:1]),
                    lambda client=client: list(client.members("n > 3").pages),
                ):
                    try:
                        call()
                    except Exception as error:
                        assert token not in str(error)
        file = TokenFile(tmp_path / "tokens.json")
        file.create("another", Role.READER)
    written = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "the reader" in written
    for token in tokens.values():
        assert token[16:28] not in written


# Off loopback


@pytest.fixture
def authority(tmp_path):
    """A certificate authority, with a certificate for the server."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    issue(made, tmp_path)
    return made


def issue(authority, folder, name="server", identity="127.0.0.1"):
    certificate = authority.issue_cert(identity)
    (folder / f"{name}.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / f"{name}.key")


def tls(folder, **more):
    return {"tls_certificate": folder / "server.pem", "tls_key": folder / "server.key", **more}


def test_Open_server_is_refused_off_loopback(engine, tmp_path, authority):
    everywhere = "0.0.0.0:0"
    tokens = tmp_path / "tokens.json"
    for settings, message in (
        ({}, "can reach .* without credentials"),
        ({"tokens": tokens}, "can reach .* without credentials"),
        (tls(tmp_path), "can reach .* without credentials"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Server(engine, Settings(address=everywhere, **settings))
    TokenFile(tokens).create("a", Role.READER)
    with pytest.raises(InvalidArgumentError, match="would not be encrypted"):
        Server(engine, Settings(address=everywhere, tokens=tokens))
    for settings in (
        {"insecure": True},
        {"tokens": tokens, **tls(tmp_path)},
        tls(tmp_path, tls_client_ca=tmp_path / "ca.pem"),
    ):
        server = Server(engine, Settings(address=everywhere, **settings))
        server.start()
        server.stop(0)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.org:1", False),
    ],
)
def test_Loopback_is_recognised(address, expected):
    assert is_loopback(address) is expected


@pytest.mark.slow
def test_Tls_needs_the_right_authority(engine, tmp_path, authority):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with serving(engine, **tls(tmp_path)) as server:
        with Client(server.address, credentials=Credentials(ca=tmp_path / "ca.pem")) as client:
            assert client.count("everyone").count == 0
        for credentials in (None, Credentials(tls=True), Credentials(ca=tmp_path / "other.pem")):
            with Client(server.address, credentials=credentials) as client, pytest.raises(ServerUnavailableError):
                client.count("everyone")


@pytest.mark.slow
def test_Mutual_tls_asks_for_a_certificate_and_tokens_raise_the_role(engine, tmp_path, authority, tokens):
    issue(authority, tmp_path, "client", "sender")
    issue(trustme.CA(), tmp_path, "stranger", "sender")
    settings = tls(tmp_path, tls_client_ca=tmp_path / "ca.pem", tokens=tmp_path / "tokens.json")

    def credentials(name, token=None):
        return Credentials(
            token, ca=tmp_path / "ca.pem", certificate=tmp_path / f"{name}.pem", key=tmp_path / f"{name}.key"
        )

    with serving(engine, **settings) as server:
        for refused in (Credentials(tokens["admin"], ca=tmp_path / "ca.pem"), credentials("stranger", tokens["admin"])):
            with Client(server.address, credentials=refused) as client, pytest.raises(ServerUnavailableError):
                client.count("everyone")
        with Client(server.address, credentials=credentials("client")) as client:
            assert client.count("everyone").count == 0
            with pytest.raises(PermissionDeniedError, match='"certificate" is reader'):
                client.ingest(USERS)
        with Client(server.address, credentials=credentials("client", tokens["writer"])) as client:
            assert client.ingest(USERS).accepted == 1_000
        with Client(server.address, credentials=credentials("client", tokens["revoked"])) as client:
            assert is_refused(client)


def test_Certificate_is_read_again_when_it_changes(engine, tmp_path, authority, caplog):
    with serving(engine, **tls(tmp_path)) as server:
        host, port = server.address.split(":")

        def shown():
            return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))

        before = shown()
        whole = (tmp_path / "server.key").read_bytes()
        (tmp_path / "server.key").write_text("half a ke")
        with caplog.at_level(logging.ERROR, "bitseg.service"):
            assert shown() == before
        assert "could not be reloaded" in caplog.text
        (tmp_path / "server.key").write_bytes(whole)
        issue(authority, tmp_path)
        assert shown() != before
        with Client(server.address, credentials=Credentials(ca=tmp_path / "ca.pem")) as client:
            assert client.count("everyone").count == 0


def test_Bad_certificates_are_refused_at_the_start(engine, tmp_path, authority):
    issue(trustme.CA(), tmp_path, "other")
    for settings, message in (
        ({"tls_certificate": tmp_path / "server.pem"}, "a certificate and its key"),
        ({"tls_client_ca": tmp_path / "ca.pem"}, "a certificate and its key"),
        (tls(tmp_path) | {"tls_key": tmp_path / "other.key"}, "not a certificate and its key"),
        (tls(tmp_path) | {"tls_key": tmp_path / "missing.key"}, "cannot read"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Server(engine, Settings(address="127.0.0.1:0", **settings))
    for credentials in (Credentials(certificate=tmp_path / "server.pem"), Credentials(ca=tmp_path / "missing.pem")):
        with pytest.raises(InvalidArgumentError):
            Client("127.0.0.1:1", credentials=credentials)


# Too much


def test_Oversize_messages_are_refused_and_the_limit_named(engine):
    with serving(engine, max_message_bytes=2**20) as server, Client(server.address) as client:
        with pytest.raises(RequestError, match=r"RESOURCE_EXHAUSTED.*1048576"):
            client.ingest([Identify("u", {"a": "x" * 2**21}, NOW_MS)])
        with pytest.raises(RequestError, match=r"RESOURCE_EXHAUSTED.*1048576"):
            client.catalog.create_list("l", [f"{number:0500}" for number in range(4_000)])
        # Uploads of lists are not bound by this limit.
        assert client.catalog.save_list("l", (f"{number:020}" for number in range(60_000))).size == 60_000
        for text, message in (
            ("n = 1 " * 50_000, "262,144"),
            ("(" * 200 + "n = 1" + ")" * 200, "100"),
            ("not " * 60 + "n = 1", "40"),
        ):
            with pytest.raises(BitsegError, match=message):
                client.count(text)
        assert client.count("everyone").count == 0


def test_Oversize_metadata_are_refused(server):
    with grpc.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        request = query_pb2.CountRequest(expression="everyone")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Count(request, metadata=[("x-large", "x" * 200_000)])
        assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        assert stub.Count(request).count == 0


@pytest.fixture
def large(engine):
    """A workspace with many pages of members, and attributes that take long to search."""
    total = 400_000
    names = [f"{number * 7919 % total:06}-and-so-on@example.org" for number in range(total)]
    values = {"email": Column(ValueType.STRING, np.arange(total, dtype=np.uint32), names)}
    users = [f"{number:06}" + "u" * 200 for number in range(total)]
    engine.ingest_columns(Columns(None, users, np.full(total, NOW_MS), values, np.arange(total)))
    return engine


SLOW = 'email matches "^(a|b|[0-9])*9{part}[^x]*x?[^y]*org$"'


def test_Query_that_takes_too_long_ends_and_the_limit_is_named(large):
    with serving(large, max_query_seconds=0.1) as server, Client(server.address) as client:
        started = time.perf_counter()
        with pytest.raises(TimeLimitError, match=r"more than 0\.1 seconds, the limit of the server"):
            client.count(SLOW.format(part=1))
        assert time.perf_counter() - started < 5
        assert client.count("everyone").count == 400_000


def test_Work_ends_when_its_caller_has_given_up(large, caplog):
    with serving(large) as server, grpc.insecure_channel(server.address) as channel:
        query = query_pb2_grpc.QueryServiceStub(channel)
        with caplog.at_level(logging.INFO, "bitseg.calls"):
            for number, method in enumerate((query.Count, query.Evaluate)):
                request = {
                    query.Count: query_pb2.CountRequest,
                    query.Evaluate: query_pb2.EvaluateRequest,
                }[method](expression=SLOW.format(part=number))
                future = method.future(request)
                time.sleep(0.05)
                future.cancel()
            stream = query.StreamMembers(query_pb2.StreamMembersRequest(expression=SLOW.format(part=7)))
            time.sleep(0.05)
            stream.cancel()
            until(lambda: len(caplog.records) == 3)
    ended = [record.fields for record in caplog.records]
    assert [each["code"] for each in ended] == ["CANCELLED"] * 3
    # Each one takes half a second or more.
    assert large.statistics().materialised_conditions == 0


@pytest.mark.slow
def test_Slow_readers_are_ended_and_delay_nobody(large):
    with serving(large, max_streams=4, stall_seconds=1.0) as server, ExitStack() as stack:
        stalled = []
        for _ in range(4):
            channel = stack.enter_context(grpc.insecure_channel(server.address, options=channel_options()))
            stream = query_pb2_grpc.QueryServiceStub(channel).StreamMembers(
                query_pb2.StreamMembersRequest(expression="everyone", page_size=1_000)
            )
            stalled.append((next(stream), stream))
        client = stack.enter_context(Client(server.address, retry_seconds=0))
        with pytest.raises(OverloadedError, match="4 streams of members are open already, which is the limit"):
            client.members("everyone")
        taken = []
        for _ in range(50):
            started = time.perf_counter()
            client.count("everyone")
            taken.append(time.perf_counter() - started)
        assert np.median(taken) < 0.5

        def has_room():
            try:
                client.members("everyone", page_size=10)
            except OverloadedError:
                return False
            return True

        until(has_room)
        for first, stream in stalled:
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
            assert caught.value.code() is grpc.StatusCode.CANCELLED
            # The others continue.
            assert client.members(resume_token=first.resume_token).total == 400_000


def test_Thousands_of_idle_connections_delay_nobody(secured, tokens):
    host, port = secured.address.split(":")
    with ExitStack() as stack:
        for _ in range(2_000):
            stack.enter_context(socket.create_connection((host, int(port))))
        # Connections that send the preface and nothing else.
        for _ in range(300):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with client_of(secured, tokens["reader"]) as client:
            for _ in range(20):
                assert client.count("everyone").count == 1_000


def test_Calls_without_credentials_delay_nobody(secured, tokens):
    """Half a request, health watchers and reflections: more of every kind than there are threads."""

    def never():
        threading.Event().wait(20)
        yield b""

    with ExitStack() as stack:
        channel = stack.enter_context(
            grpc.insecure_channel(secured.address, options=[("grpc.use_local_subchannel_pool", 1)])
        )
        halves = [
            channel.stream_stream(method)(never())
            for method in ("/bitseg.v1.QueryService/Count", "/bitseg.v1.IngestService/IngestBatch")
            for _ in range(60)
        ]
        for call in halves:
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        others = stack.enter_context(
            grpc.insecure_channel(secured.address, options=[("grpc.use_local_subchannel_pool", 1)])
        )
        health = health_pb2_grpc.HealthStub(others)
        watchers = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(64)]
        assert {next(each).status for each in watchers} == {health_pb2.HealthCheckResponse.SERVING}
        with pytest.raises(grpc.RpcError) as caught:
            next(health.Watch(health_pb2.HealthCheckRequest()))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "64 watchers of the health" in caught.value.details()
        with client_of(secured, tokens["reader"]) as client:
            assert client.count("everyone").count == 1_000
        for each in watchers:
            each.cancel()

        def has_room():
            watcher = health.Watch(health_pb2.HealthCheckRequest())
            try:
                return next(watcher).status == health_pb2.HealthCheckResponse.SERVING
            except grpc.RpcError:
                return False
            finally:
                watcher.cancel()

        until(has_room)


@pytest.mark.slow
def test_Half_requests_occupy_threads_only_for_a_while(engine):
    def never():
        threading.Event().wait(20)
        yield b""

    with serving(engine, stall_seconds=0.5) as server, grpc.insecure_channel(server.address) as channel:
        halves = [channel.stream_stream("/bitseg.v1.QueryService/Count")(never()) for _ in range(100)]
        # More than there are threads.
        with Client(server.address) as client:
            assert client.count("everyone").count == 0
        halves += [channel.stream_stream("/grpc.health.v1.Health/Check")(never()) for _ in range(20)]
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=15)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for each in halves:
            with pytest.raises(grpc.RpcError) as caught:
                next(each)
            assert caught.value.code() is grpc.StatusCode.CANCELLED
        nothing = channel.stream_stream("/bitseg.v1.QueryService/Count")(iter([]))
        with pytest.raises(grpc.RpcError) as caught:
            next(nothing)
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the call has no request",
        )


def test_Open_reflections_and_uploads_are_bounded(secured, tokens):
    release = threading.Event()

    def waiting(message):
        yield message
        release.wait(20)

    metadata = [("authorization", f"Bearer {tokens['writer']}")]
    with grpc.insecure_channel(secured.address) as channel:
        reflection_request = reflection_pb2.ServerReflectionRequest(list_services="")
        reflected = reflection_pb2_grpc.ServerReflectionStub(channel)
        open_ones = [reflected.ServerReflectionInfo(waiting(reflection_request), metadata=metadata) for _ in range(8)]
        for each in open_ones:
            next(each)
        with pytest.raises(grpc.RpcError) as caught:
            next(reflected.ServerReflectionInfo(waiting(reflection_request), metadata=metadata))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        head = catalog_pb2.UploadListRequest(list={"name": "l"})
        uploads = [catalog.UploadList.future(waiting(head), metadata=metadata) for _ in range(9)]
        until(lambda: any(each.done() for each in uploads))
        (refused,) = [each for each in uploads if each.done()]
        assert "8 uploads of lists are open already" in refused.details()
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        answered = next(ingest.Ingest(iter([ingest_pb2.IngestRequest(producer="p")]), metadata=metadata))
        assert answered.last_sequence == 0
        release.set()
        for each in uploads:
            if each is not refused:
                assert each.result(10).list.size == 0
