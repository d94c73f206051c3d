"""Spans of requests and of batches; the only module that imports OpenTelemetry, and only where tracing is enabled.

A queue entry carries its request's W3C `traceparent` in `_mutt`. Whoever works on a batch of entries makes one span for
the batch, linked to and from one span in each trace that an event of it belongs to.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice

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
        self._follows = kind != settings.sampler
        self._provider = TracerProvider(
            sampler=_LinkedSampler(sampling.ParentBased(root) if self._follows else root),
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mutt")

    def request(self, name: str, parent: str | None, seconds: float) -> "Traced | None":
        """Begin the span of a request that began so many seconds ago; None where the sampler leaves it out."""
        remote = _remote(parent) if parent else None
        if remote is None:
            trace_id = self._ids.generate_trace_id()
            if not self._draws(trace_id):
                return None
            self._ids.take_next(trace_id)
        elif not self._keeps(remote):
            return None
        span = self._tracer.start_span(name, _under(remote), SpanKind.SERVER, start_time=_ago(seconds))
        return Traced(self._tracer, span, ())

    def batch(
        self, name: str, kind: str, events: Iterable[tuple[str | None, Attributes]], seconds: float = 0
    ) -> "Traced | None":
        """Begin the span of a batch that began so many seconds ago, from its events' `traceparent` and attributes.

        `kind` is "consumer" or "client". None where no event is traced. With a single trace in it the batch's span is
        part of that one; else it is the root of its own, and each trace has a span `{name}.event` with a link to it.
        """
        first: dict[str, tuple[SpanContext, Attributes]] = {}
        counts: Counter[str] = Counter()
        for parent, attributes in events:
            if parent is None:
                continue
            if parent not in counts and (remote := _remote(parent)) is not None and self._keeps(remote):
                first[parent] = remote, attributes
            counts[parent] += 1
        if not first:
            return None
        started, span_kind = _ago(seconds), SpanKind[kind.upper()]
        members = [
            self._tracer.start_span(
                name if len(first) == 1 else f"{name}.event",
                _under(remote),
                span_kind,
                {**attributes, "mutt.events": counts[parent]},
                start_time=started,
            )
            for parent, (remote, attributes) in islice(first.items(), TRACES_MOST)
        ]
        if len(first) == 1:
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

    def _draws(self, trace_id: int) -> bool:
        """Tell whether a trace that begins here is kept, from the bits that OpenTelemetry's ratio sampler looks at."""
        return trace_id & sampling.TraceIdRatioBased.TRACE_ID_LIMIT < self._bound

    def _keeps(self, remote: SpanContext) -> bool:
        """Tell whether a trace that began elsewhere is kept; asking the sampler would cost ten times as much."""
        return remote.trace_flags.sampled if self._follows else self._draws(remote.trace_id)

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


class Heard(logging.Handler):
    """Keeps the SDK's last complaint, which it would log each time."""

    words = "not known"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.words = record.getMessage()


class TellingExporter(SpanExporter):
    """Says once that the collector takes no spans, and why, and once that it does again."""

    def __init__(self, exporter: SpanExporter, endpoint: str, heard: Heard) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._heard = heard
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export them."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  (such as a header that gRPC refuses; the thread has to go on)
            result, self._heard.words = SpanExportResult.FAILURE, str(error)
        if (fails := result is not SpanExportResult.SUCCESS) != self._fails:
            self._fails = fails
            if fails:
                problem = self._heard.words
                log.warning(
                    "the collector takes no spans, they are thrown away", endpoint=self._endpoint, problem=problem
                )
            else:
                log.info("the collector takes spans again", endpoint=self._endpoint)
        return result

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is left."""
        return self._exporter.force_flush(timeout_millis)


def open_tracing(settings: TracingSettings, endpoint: str, service: str) -> Tracing:
    """Return what makes spans and exports them from a thread of its own, behind a bounded queue."""
    heard, sdk = Heard(), logging.getLogger("opentelemetry")
    sdk.setLevel(logging.ERROR)
    sdk.propagate, sdk.handlers = False, [heard]
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
    return Tracing(settings, service, TellingExporter(exporter, endpoint, heard))


@lru_cache(maxsize=1024)
def _remote(parent: str) -> SpanContext | None:
    """Return what a `traceparent` names; None for one that is not valid."""
    version, *rest = parent.split("-")
    try:
        trace_id, span_id, flags = (int(part, 16) for part in rest)
    except ValueError:
        return None
    remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return remote if len(version) == 2 and remote.is_valid else None  # noqa: PLR2004  (the header's first part)


def _under(remote: SpanContext | None) -> Context:
    return Context() if remote is None else trace.set_span_in_context(NonRecordingSpan(remote), Context())


def _ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * 1_000_000_000)
