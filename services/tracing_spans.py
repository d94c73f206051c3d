"""Spans of requests and of batches; the only module that imports OpenTelemetry, and only where tracing is enabled.

A queue entry carries its request's W3C `traceparent` in `_mutt`. Whoever works on a batch of entries makes one span for
the batch, linked to and from one span in each trace that an event of it belongs to.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util import types

from mutt.settings import TracingSettings
from services.logging_utils import get_logger

TRACES_MOST = 128  # traces of one batch that get a span and a link; the rest are counted
CLOSE_SECONDS = 2.0

Attributes = Mapping[str, str | int]

log = get_logger(__name__)


class Tracing:
    """Makes spans."""

    def __init__(self, settings: TracingSettings, service: str, exporter: SpanExporter) -> None:
        kind = settings.sampler.removeprefix("parentbased_")
        share = {"always_on": 1.0, "always_off": 0.0}.get(kind, settings.ratio)
        root = sampling.TraceIdRatioBased(share)
        self._ids = _Ids()
        self._bound = root.bound
        self._provider = TracerProvider(
            sampler=_LinkedSampler(sampling.ParentBased(root) if kind != settings.sampler else root),
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mutt")

    def request(self, name: str, parent: str | None, seconds: float) -> "Traced | None":
        """Begin the span of a request that began so many seconds ago; None where the sampler leaves it out."""
        context = _context(parent) if parent else None
        if context is None:
            # Most requests begin no trace: what the sampler would say of them costs a tenth of asking it.
            trace_id = self._ids.generate_trace_id()
            if trace_id & sampling.TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
                return None
            self._ids.take_next(trace_id)
        span = self._tracer.start_span(name, context or Context(), SpanKind.SERVER, start_time=_ago(seconds))
        return Traced(self._tracer, span, ()) if span.is_recording() else None

    def batch(
        self, name: str, kind: str, events: Iterable[tuple[str | None, Attributes]], seconds: float = 0
    ) -> "Traced | None":
        """Begin the span of a batch that began so many seconds ago, from its events' `traceparent` and attributes.

        `kind` is "consumer" or "client".

        None where no event is traced. With a single trace in it the batch's span is part of that one; else it is the
        root of its own, and each trace has a span `{name}.event` with a link to it.
        """
        started, span_kind = _ago(seconds), SpanKind[kind.upper()]
        first: dict[str, Attributes] = {}
        counts: dict[str, int] = {}
        for parent, attributes in events:
            if parent is not None:
                first.setdefault(parent, attributes)
                counts[parent] = counts.get(parent, 0) + 1
        alone = len(first) == 1
        members: list[Span] = []
        for parent, attributes in first.items():
            context = _context(parent)
            if context is None:
                continue
            if len(members) == TRACES_MOST:
                break
            span = self._tracer.start_span(
                name if alone else f"{name}.event",
                context,
                span_kind,
                {**attributes, "mutt.events": counts[parent]},
                start_time=started,
            )
            if span.is_recording():
                members.append(span)
        if not members:
            return None
        if alone:
            return Traced(self._tracer, members[0], ())
        batch = self._tracer.start_span(
            name,
            Context(),
            span_kind,
            {"mutt.traces": len(first), "mutt.traces_left_out": len(first) - len(members)},
            [Link(member.get_span_context()) for member in members],
            start_time=started,
        )
        for member in members:
            member.add_link(batch.get_span_context())
        return Traced(self._tracer, batch, members)

    def close(self) -> None:
        """Export what is left within a moment."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class Traced:
    """A span under way, with those in the traces of its events."""

    def __init__(self, tracer: trace.Tracer, span: Span, members: Sequence[Span]) -> None:
        self._tracer = tracer
        self._span = span
        self._members = members

    @property
    def traceparent(self) -> str:
        """The W3C header that names this span."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def past_step(self, name: str, seconds: float) -> None:
        """Note a part of it that began so many seconds ago and ends now."""
        self._tracer.start_span(name, trace.set_span_in_context(self._span, Context()), start_time=_ago(seconds)).end()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Trace a part of it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.past_step(name, time.monotonic() - began)

    def end(self, attributes: Attributes, failure: str | None = None) -> None:
        """End it; `failure` says why it did not succeed."""
        for span in (*self._members, self._span):
            span.set_attributes(attributes)
            if failure is not None:
                span.set_status(Status(StatusCode.ERROR, failure))
            span.end()


class _Ids(RandomIdGenerator):
    """Random ids; the next trace of the calling thread may be given one that was drawn before."""

    def __init__(self) -> None:
        self._next = threading.local()

    def take_next(self, trace_id: int) -> None:
        self._next.trace_id = trace_id

    def generate_trace_id(self) -> int:
        drawn: int | None = self._next.__dict__.pop("trace_id", None)
        return super().generate_trace_id() if drawn is None else drawn


class _LinkedSampler(sampling.Sampler):
    """Keeps a root that is linked to traces which are kept; asks the configured sampler about all else."""

    def __init__(self, configured: sampling.Sampler) -> None:
        self._configured = configured

    def should_sample(  # noqa: PLR0917  (the SDK's order)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> sampling.SamplingResult:
        configured = sampling.ALWAYS_ON if links else self._configured
        return configured.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Linked({self._configured.get_description()})"


class _TellingExporter(SpanExporter):
    """Says once that the collector takes no spans, and once that it does again; the SDK would say it each time."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if (fails := result is not SpanExportResult.SUCCESS) != self._fails:
            self._fails = fails
            if fails:
                log.warning("the collector takes no spans, they are thrown away", endpoint=self._endpoint)
            else:
                log.info("the collector takes spans again", endpoint=self._endpoint)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def open_tracing(settings: TracingSettings, endpoint: str, service: str) -> Tracing:
    """Return what makes spans and exports them from a thread of its own, behind a bounded queue."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    return Tracing(settings, service, _TellingExporter(exporter, endpoint))


@lru_cache(maxsize=1024)
def _context(parent: str) -> Context | None:
    """Return the context that a `traceparent` names; None for one that is not valid."""
    version, *rest = parent.split("-")
    try:
        trace_id, span_id, flags = (int(part, 16) for part in rest[:3])
    except ValueError:
        return None
    if len(version) != 2 or len(rest) != 3:  # noqa: PLR2004  (the four parts of the header)
        return None
    remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context()) if remote.is_valid else None


def _ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * 1_000_000_000)
