"""Metrics for Prometheus: calls as they end, and the workspace as it is when somebody looks."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bitseg.errors import InvalidArgumentError
from bitseg.service.readiness import Readiness
from bitseg.service.settings import host_and_port

# From a warm count to a large backup.
_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What a server counts and measures, by a registry of its own."""

    def __init__(self, opening: Readiness) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "bitseg_requests", "Calls that have ended, by status code.", ["method", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "bitseg_request_seconds",
            "Time from a call's arrival to its end, waiting included.",
            ["method"],
            buckets=_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._open = Gauge("bitseg_open_streams", "Streams under way.", ["method"], registry=self.registry)
        self._lag = Gauge(
            "bitseg_ingest_lag_seconds",
            "Age of the newest event of the batch that was taken last.",
            registry=self.registry,
        )
        self.registry.register(_Workspace(opening))
        # Looking up labels takes longer than counting.
        self._ended: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Note the end of a call."""
        found = self._ended.get((method, code))
        if found is None:
            found = self._ended[method, code] = (self._calls.labels(method, code), self._seconds.labels(method))
        calls, durations = found
        calls.inc()
        durations.observe(seconds)

    def streams(self, method: str, change: int) -> None:
        """Note that streams have begun or ended."""
        self._open.labels(method).inc(change)

    def ingested(self, newest_ms: int, now_ms: int) -> None:
        """Note a batch whose newest event is of an instant."""
        self._lag.set(max(now_ms - newest_ms, 0) / 1000)


class MetricsServer:
    """Serves a registry over HTTP at HOST:PORT; `address` tells the port that 0 became. InvalidArgumentError."""

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        host, port = host_and_port(address)
        try:
            self._server, self._thread = start_http_server(port, host.strip("[]"), registry)
        except OSError as error:
            raise InvalidArgumentError(f"cannot listen on {address} for metrics: {error.strerror or error}") from error
        self.address = f"{host}:{self._server.server_port}"

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Workspace(Collector):
    """Reads the statistics of the engine when it is asked."""

    def __init__(self, opening: Readiness) -> None:
        self._opening = opening

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("bitseg_ready", "Whether the workspace is open.", int(self._opening.is_ready))
        if not self._opening.is_ready:
            return
        found = self._opening.engine.statistics()
        yield GaugeMetricFamily("bitseg_version", "Version of the workspace.", found.version)
        yield GaugeMetricFamily("bitseg_users", "Users of the workspace.", found.users)
        yield GaugeMetricFamily("bitseg_events", "Events of the workspace.", found.events)
        parts = GaugeMetricFamily("bitseg_bytes", "What a part takes, in memory or on disk.", labels=["part"])
        for part in ("user", "event", "attribute", "materialised", "snapshot", "journal"):
            parts.add_metric([part], getattr(found, f"{part}_bytes"))
        yield parts
        yield GaugeMetricFamily("bitseg_materialised_conditions", "Answers kept.", found.materialised_conditions)
        asked = CounterMetricFamily(
            "bitseg_materialised_lookups",
            "Answers asked for: kept as they were, brought up to date, or worked out afresh.",
            labels=["outcome"],
        )
        asked.add_metric(["hit"], found.materialised_hits)
        asked.add_metric(["refresh"], found.materialised_refreshes)
        asked.add_metric(["miss"], found.materialised_misses)
        yield asked
        yield CounterMetricFamily(
            "bitseg_snapshot_failures",
            "Regular snapshots that failed since the workspace was opened; each is tried again.",
            self._opening.engine.snapshot_failures,
        )
        for what, instant_ms in (("snapshot", found.snapshot_ms), ("journal", found.journal_ms)):
            age = GaugeMetricFamily(f"bitseg_{what}_age_seconds", _AGES[what])
            if instant_ms:
                age.add_metric([], max(time.time() - instant_ms / 1000, 0))
            yield age


_AGES = {
    "snapshot": "Since the last snapshot was taken; absent for a workspace in memory.",
    "journal": "Since the oldest record was written that no snapshot has; absent where there is none.",
}
