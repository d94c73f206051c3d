"""OpenTelemetry where it is enabled; nothing is imported and nothing costs where it is not.

Who may trace asks `active` once and keeps the answer: None stays None for as long as the process runs.
"""

import os
from typing import TYPE_CHECKING

from mutt.errors import SettingsError
from mutt.settings import TracingSettings

if TYPE_CHECKING:
    from services.tracing_spans import Tracing

_tracing: "Tracing | None" = None


def configure(settings: TracingSettings, service: str) -> None:
    """Export spans over OTLP/gRPC; raises SettingsError without a collector's address or with what the SDK refuses."""
    global _tracing  # noqa: PLW0603  (one process, one tracer, set once before the loop starts)
    if not settings.enabled:
        return
    if settings.endpoint is None:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is not set: OTEL_ENABLED=true needs a collector's address")
    from services.tracing_spans import open_tracing

    try:
        _tracing = open_tracing(settings, settings.endpoint, service)
    except Exception as error:
        # The SDK reads variables of its own, each in its own way, and seldom says which one it refuses.
        named = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        raise SettingsError(f"OpenTelemetry refuses one of {named}: {error}") from error


def active() -> "Tracing | None":
    """Return what makes spans, None when nothing is traced."""
    return _tracing


def close() -> None:
    """Export what is left, but wait no longer than a moment for a collector that hangs."""
    if _tracing is not None:
        _tracing.close()
