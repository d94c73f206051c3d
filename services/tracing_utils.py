"""OpenTelemetry where it is enabled; nothing is imported and nothing costs where it is not.

Who may trace asks `active` once and keeps the answer: None stays None for as long as the process runs.
"""

from typing import TYPE_CHECKING

from mutt.errors import SettingsError
from mutt.settings import TracingSettings

if TYPE_CHECKING:
    from services.tracing_spans import Tracing

_tracing: "Tracing | None" = None


def configure(settings: TracingSettings, service: str) -> None:
    """Export spans over OTLP/gRPC; raises SettingsError without a collector's address."""
    global _tracing  # noqa: PLW0603  (one process, one tracer, set once before the loop starts)
    if not settings.enabled:
        return
    if settings.endpoint is None:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is not set: OTEL_ENABLED=true needs a collector's address")
    from services.tracing_spans import open_tracing

    _tracing = open_tracing(settings, settings.endpoint, service)


def active() -> "Tracing | None":
    """Return what makes spans, None when nothing is traced."""
    return _tracing


def close() -> None:
    """Export what is left, but wait no longer than a moment for a collector that hangs."""
    if _tracing is not None:
        _tracing.close()
