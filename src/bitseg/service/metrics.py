"""Metrics for Prometheus: calls are counted when they end, the workspace is measured at each scrape."""

import time
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bitseg.errors import InvalidArgumentError, WorkspaceBrokenError
from bitseg.results import Statistics
from bitseg.service.readiness import Readiness
from bitseg.service.settings import host_and_port

# The shortest is a cached count, the longest a large backup.
_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, readiness: Readiness) -> None:
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
            "Age of the newest event of the last batch.",
            registry=self.registry,
        )
        self.registry.register(_Workspace(readiness))
        # Looking up labels takes longer than counting.
        self._ended: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Count a call that has ended, with its time from arrival to end."""
        children = self._ended.get((method, code))
        if children is None:
            children = self._ended[method, code] = (self._calls.labels(method, code), self._seconds.labels(method))
        calls, durations = children
        calls.inc()
        durations.observe(seconds)

    def streams(self, method: str, change: int) -> None:
        """Change the number of open streams."""
        self._open.labels(method).inc(change)

    def ingested(self, newest_ms: int, now_ms: int) -> None:
        """Set the ingest lag to the age of a batch's newest event."""
        self._lag.set(max(now_ms - newest_ms, 0) / 1000)


class MetricsServer:
    """Serves a registry over HTTP. `address` has the actual port, also for port 0.

    Raises InvalidArgumentError for an address that cannot be used.
    """

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
    """Reads the statistics of the engine at each scrape."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def collect(self) -> Iterator[Metric]:
        statistics: Statistics | None = None
        if self._readiness.is_ready:
            with suppress(WorkspaceBrokenError):
                statistics = self._readiness.engine.statistics()
        yield GaugeMetricFamily("bitseg_ready", "Whether the workspace is open.", int(statistics is not None))
        if statistics is None:
            return
        yield GaugeMetricFamily("bitseg_version", "Version of the workspace.", statistics.version)
        yield GaugeMetricFamily("bitseg_users", "Users of the workspace.", statistics.users)
        yield GaugeMetricFamily("bitseg_events", "Events of the workspace.", statistics.events)
        parts = GaugeMetricFamily("bitseg_bytes", "Size of a part, in memory or on disk.", labels=["part"])
        for part in ("user", "event", "attribute", "materialised", "snapshot", "journal"):
            parts.add_metric([part], getattr(statistics, f"{part}_bytes"))
        yield parts
        yield GaugeMetricFamily(
            "bitseg_materialised_conditions", "Conditions whose answers are cached.", statistics.materialised_conditions
        )
        lookups = CounterMetricFamily(
            "bitseg_materialised_lookups",
            "Lookups of cached answers: unchanged, brought up to date, or computed.",
            labels=["outcome"],
        )
        lookups.add_metric(["hit"], statistics.materialised_hits)
        lookups.add_metric(["refresh"], statistics.materialised_refreshes)
        lookups.add_metric(["miss"], statistics.materialised_misses)
        yield lookups
        yield CounterMetricFamily(
            "bitseg_snapshot_failures",
            "Regular snapshots that failed since the workspace was opened; they are retried.",
            self._readiness.engine.snapshot_failures,
        )
        for what, instant_ms in (("snapshot", statistics.snapshot_ms), ("journal", statistics.journal_ms)):
            age = GaugeMetricFamily(f"bitseg_{what}_age_seconds", _AGES[what])
            if instant_ms:
                age.add_metric([], max(time.time() - instant_ms / 1000, 0))
            yield age


_AGES = {
    "snapshot": "Since the last snapshot was taken; absent for a workspace in memory.",
    "journal": "Since the oldest record that is in no snapshot was written; absent if every record is in a snapshot.",
}
