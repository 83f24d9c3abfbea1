"""Limits how many streams of every kind may be open."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from bitseg.protocol import CATALOG, INGEST, QUERY
from bitseg.service.interceptors.call import Call, Endpoint, Method
from bitseg.service.metrics import Metrics
from bitseg.service.settings import Settings
from bitseg.service.streams import ConcurrencyLimit

MAX_UPLOADS = 8
MAX_REFLECTIONS = 8
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def stream_limits(settings: Settings) -> dict[str, ConcurrencyLimit]:
    """The limits of all methods that stream, by path."""
    return {
        QUERY.path("StreamMembers"): ConcurrencyLimit("streams of members", settings.max_streams),
        INGEST.path("Ingest"): ConcurrencyLimit("producers", settings.max_producers),
        CATALOG.path("UploadList"): ConcurrencyLimit("uploads of lists", MAX_UPLOADS),
        _REFLECTION: ConcurrencyLimit("reflections", MAX_REFLECTIONS),
    }


class StreamLimits:
    """Refuses a stream with OverloadedError at the limit of its method, and counts open streams in the metrics."""

    def __init__(self, limits: Mapping[str, ConcurrencyLimit], metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """Count a stream against the limit of its method until it ends. KeyError for a method without a limit."""
        if not method.is_stream:
            return inner
        path, limit = method.path, self._limits[method.path]

        def answer(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with limit, self._counted(path):
                return inner(call, requests, context)

        def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with limit, self._counted(path):
                yield from inner(call, requests, context)

        return respond if method.streams_responses else answer

    @contextmanager
    def _counted(self, path: str) -> Iterator[None]:
        self._metrics.streams(path, 1)
        try:
            yield
        finally:
            self._metrics.streams(path, -1)
