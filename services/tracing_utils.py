"""OpenTelemetry where it is enabled; nothing is imported and nothing costs where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mutt.errors import SettingsError
from mutt.settings import TracingSettings

_tracer: Any = None


def configure(settings: TracingSettings, service: str) -> None:
    """Export spans over OTLP/gRPC; raises SettingsError without a collector's address."""
    global _tracer  # noqa: PLW0603  (one process, one tracer, set once before the loop starts)
    if not settings.enabled:
        return
    if settings.endpoint is None:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is not set: OTEL_ENABLED=true needs a collector's address")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    insecure = not settings.endpoint.startswith("https://")
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint, insecure=insecure)))
    _tracer = provider.get_tracer("mutt")


@contextmanager
def span(name: str, *, parent: str | None = None, **attributes: str | int) -> Iterator[None]:
    """Trace what happens inside, under the W3C `traceparent` of an event when there is one."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes):
        yield


def traceparent() -> str | None:
    """Return the W3C `traceparent` of the current span, None when nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
