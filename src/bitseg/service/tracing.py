"""Traces by OpenTelemetry, if it is installed (`pip install bitseg[tracing]`).

Spans are sent to OTEL_EXPORTER_OTLP_ENDPOINT; the other environment variables of OpenTelemetry apply too. If the
program has set a tracer provider, the spans go to that provider.
"""

import os
import time
from collections.abc import Iterable
from typing import Any

try:
    from opentelemetry import propagate, trace
    from opentelemetry.sdk.trace import TracerProvider

    _IS_INSTALLED = True
except ImportError:
    _IS_INSTALLED = False

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure() -> bool:
    """Send spans to the endpoint that the environment names. True if calls are traced."""
    if not _IS_INSTALLED:
        return False
    if not _is_traced() and any(os.environ.get(name) for name in _ENDPOINTS):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "bitseg")
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return _is_traced()


def begin(method: str, request_id: str, metadata: Iterable[tuple[str, str | bytes]], age_seconds: float = 0.0) -> Any:
    """The span of a call that arrived `age_seconds` ago; None without tracing.

    Its parent is the span in the caller's metadata, if there is one.
    """
    if not _IS_INSTALLED or not _is_traced():
        return None
    service, _, name = method.strip("/").rpartition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "bitseg.request_id": request_id}
    parent = propagate.extract({key: value for key, value in metadata if isinstance(value, str)})
    # Not the current span, because a stream's messages are handled in several contexts.
    return trace.get_tracer("bitseg").start_span(
        method.strip("/"),
        context=parent,
        kind=trace.SpanKind.SERVER,
        attributes=attributes,
        start_time=time.time_ns() - int(age_seconds * 1e9),
    )


def end(span: Any, code: str) -> None:
    """End a span of `begin` with the status code of its call."""
    if span is None:
        return
    span.set_attribute("rpc.grpc.status_code", code)
    if code != "OK":
        span.set_status(trace.StatusCode.ERROR, code)
    span.end()


def _is_traced() -> bool:
    return isinstance(trace.get_tracer_provider(), TracerProvider)
