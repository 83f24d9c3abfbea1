"""The server process: services, health and reflection on one address."""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError
from bitseg.pb import admin_pb2, admin_pb2_grpc, ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from bitseg.segment import parse
from bitseg.service.admin import AdminService
from bitseg.service.ingest import IngestService
from bitseg.service.interceptor import ErrorInterceptor
from bitseg.service.query import QueryService

DEFAULT_ADDRESS = "127.0.0.1:50051"
MAX_MESSAGE_BYTES = 16 * 2**20
# Each open stream of members holds a thread until it ends.
WORKER_THREADS = 64
_SWITCH_SECONDS = 0.0005

_SERVICES = (
    query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name,
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)


class Server:
    """Serves one engine. `address` is HOST:PORT, port 0 for any free one; `address` then tells which it became.

    Raises InvalidArgumentError for an address that cannot be listened on. The engine stays the caller's to close.
    """

    def __init__(self, engine: Engine, address: str = DEFAULT_ADDRESS) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="bitseg"),
            interceptors=[ErrorInterceptor()],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", -1),
                # Without this, a second server on the same port would start and share the calls.
                ("grpc.so_reuseport", 0),
            ],
        )
        query_pb2_grpc.add_QueryServiceServicer_to_server(QueryService(engine), self._server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestService(engine), self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(engine), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdigit() or int(port) > 65_535:
            raise InvalidArgumentError(f"{address!r} is not an address", hint="write HOST:PORT")
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            raise InvalidArgumentError(
                f"cannot listen on {address}",
                hint=f"another program may have the port; --listen {host or '127.0.0.1'}:0 takes any free one",
            ) from None
        self.address = f"{host}:{bound}"

    def start(self) -> None:
        """Take calls from here on."""
        # The parser is built by its first use, which takes a fifth of a second that no caller should wait for.
        parse("everyone")
        # A short call waits for the interpreter at most this long while another thread computes.
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._server.start()
        for service in ("", *_SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Refuse further calls, let those under way finish within the grace, then end them."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
