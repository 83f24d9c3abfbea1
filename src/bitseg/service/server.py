"""The server: services, health and reflection on one address, metrics on another."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bitseg.engine import Engine
from bitseg.errors import InvalidArgumentError
from bitseg.protocol import ADMIN, CATALOG, INGEST, QUERY, SERVICES
from bitseg.segment import parse
from bitseg.service import tracing
from bitseg.service.admin import AdminService
from bitseg.service.catalog import CatalogService
from bitseg.service.ingest import IngestService
from bitseg.service.interceptors.limits import stream_limits
from bitseg.service.interceptors.pipeline import build_interceptors
from bitseg.service.interceptors.threads import ThreadPools
from bitseg.service.metrics import Metrics, MetricsServer
from bitseg.service.query import QueryService
from bitseg.service.readiness import Readiness
from bitseg.service.settings import Settings, host_and_port
from bitseg.service.streams import StallDetector
from bitseg.service.tls import server_credentials

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    # Without this, a second server on the same port would start and share the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_metadata_size", 16 * 2**10),
    ("grpc.max_concurrent_streams", 128),
    # Close connections whose callers are gone or never finish the handshake.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # The shortest interval at which callers may ping.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """Serves one engine over gRPC, and metrics over HTTP where the settings have an address for them.

    `address` and `metrics_address` have the actual ports, also for port 0 in the settings. Without an engine, the
    server answers that it is not ready until `serve` is called. The caller has to close the engine. Raises
    InvalidArgumentError for an address that cannot be used, and for settings that would expose the server without
    authentication.
    """

    def __init__(self, engine: Engine | None = None, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        host_and_port(settings.address)
        tracing.configure()
        self._grace_seconds = settings.grace_seconds
        self._engine = engine
        self._readiness = readiness = Readiness()
        self.metrics = Metrics(readiness)
        self._stalls = StallDetector(settings.stall_seconds)
        limits = stream_limits(settings)
        self._threads = ThreadPools(sum(stream_limit.limit for stream_limit in limits.values()))
        self._server = grpc.server(
            self._threads.unary,
            interceptors=build_interceptors(settings, limits, self._threads, self._stalls, self.metrics),
            options=[*_OPTIONS, ("grpc.max_receive_message_length", settings.max_message_bytes)],
        )
        self._health = health.HealthServicer()
        self._add_services(readiness)
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.address = self._listen(settings)
        self._metrics_server = (
            MetricsServer(self.metrics.registry, settings.metrics_address) if settings.metrics_address else None
        )
        self.metrics_address = "" if self._metrics_server is None else self._metrics_server.address

    def _add_services(self, readiness: Readiness) -> None:
        handlers = {
            QUERY: QueryService(readiness),
            INGEST: IngestService(readiness, self.metrics),
            CATALOG: CatalogService(readiness),
            ADMIN: AdminService(readiness),
        }
        for service in SERVICES:
            service.add_to_server(handlers[service], self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name for service in SERVICES]
        reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def _listen(self, settings: Settings) -> str:
        host, _ = host_and_port(settings.address)
        credentials = server_credentials(settings)
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(settings.address)
            else:
                bound = self._server.add_secure_port(settings.address, credentials)
        except RuntimeError:
            raise InvalidArgumentError(
                f"cannot listen on {settings.address}",
                hint=f"another program may use the port; --listen {host}:0 takes any free one",
            ) from None
        return f"{host}:{bound}"

    def start(self) -> None:
        """Start to accept calls, and to answer them if the server has an engine."""
        self._stalls.start()
        self._server.start()
        if self._engine is not None:
            self.serve(self._engine)

    def serve(self, engine: Engine) -> None:
        """Answer calls with an engine."""
        # The first use builds the parser, which takes 0.2 seconds. No caller should wait for it.
        parse("everyone")
        self._readiness.engine = engine
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        # Only a restart helps then.
        engine.on_broken(lambda: self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING))

    def stop(self, grace_seconds: float | None = None) -> None:
        """Refuse further calls, let calls under way finish for `grace_seconds`, then cancel them."""
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(self._grace_seconds if grace_seconds is None else grace_seconds)
        self._stalls.drain()
        stopped.wait()
        self._stalls.stop()
        self._threads.close()
        if self._metrics_server is not None:
            self._metrics_server.stop()

    def _set_health(self, status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType") -> None:
        for name in ("", *(service.full_name for service in SERVICES)):
            self._health.set(name, status)
