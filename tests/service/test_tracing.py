"""Traces from a sender's request to Moogsoft's webhook, as a real OTLP server receives them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mutt.envelope import amend
from mutt.errors import SettingsError
from mutt.settings import TracingSettings
from mutt.variables import read
from services import tracing_spans, tracing_utils
from services.tracing_spans import Heard, TellingExporter, open_tracing
from tests.harness.collector import Collector, Span
from tests.harness.entries import queue_entry
from tests.harness.processes import STOP_TIMEOUT, StartService, fetch
from tests.harness.waiting import wait_for
from tests.service.ingest_api import event, post
from tests.service.moog_stage import Moogsoft, Reply, Request, alert, to
from tests.service.trail import Trail

ROOT = Path(__file__).resolve().parent.parent.parent
TRACE_A, TRACE_B = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


def traced(collector: Collector, **more: str) -> dict[str, Any]:
    """Return the variables of a service that exports its spans there without delay."""
    return {
        "OTEL_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }


def header(trace: str, *, sampled: bool = True) -> str:
    return f"00-{trace}-{PARENT}-{'01' if sampled else '00'}"


def one(collector: Collector, name: str, trace: str = "") -> Span:
    """Return the only span of that name, once it has come."""
    spans = wait_for(lambda: collector.spans(name, trace=trace), f"the span {name}")
    assert len(spans) == 1, spans
    return spans[0]


def test_one_trace_leads_from_the_request_to_the_webhook(
    start_service: StartService, collector: Collector, moogsoft: Moogsoft, trail: Trail
) -> None:
    trail.rule(match_string="TRACED")
    settings = traced(collector, OTEL_TRACES_SAMPLER="parentbased_always_off", MOOG_WEBHOOK_URL=moogsoft.url)
    services = [start_service(name, wait=False, **settings) for name in ("ingestor", "alerter", "moog-forwarder")]
    for service in services:
        service.wait_healthy()
    ingestor, alerter, _ = services

    assert post(ingestor, event(message="TRACED"), headers={"traceparent": header(TRACE_A)}).status_code == 200
    assert post(ingestor, event(message="TRACED, not sampled"), headers={"traceparent": header(TRACE_B, sampled=False)})
    assert post(ingestor, event(message="TRACED, by nobody")).status_code == 200
    trail.send(queue_entry("TRACED by a version without traces")[1])
    moogsoft.wait_delivered(4)

    ingest, batch = one(collector, "ingest"), one(collector, "alerter.batch", TRACE_A)
    webhook = one(collector, "moog.post")
    assert {span.service for span in (ingest, batch, webhook)} == {
        "mutt-ingestor",
        "mutt-alerter",
        "mutt-moog-forwarder",
    }
    assert {ingest.trace, batch.trace, webhook.trace} == {TRACE_A}
    assert ingest.parent == PARENT
    assert {batch.parent, webhook.parent} == {ingest.id}
    assert ingest.began <= batch.began <= webhook.began <= webhook.ended
    for name in ("alerter.judge", "alerter.audit", "alerter.settle"):
        step = one(collector, name, TRACE_A)
        assert step.parent == batch.id
        assert batch.began - 0.001 <= step.began <= step.ended <= batch.ended + 0.001
    (sent,) = [request for request in moogsoft.requests if request.messages == ["TRACED"]]
    assert sent.headers["traceparent"] == f"00-{TRACE_A}-{webhook.id}-01"
    assert sum("traceparent" in request.headers for request in moogsoft.requests) == 1
    assert webhook.attributes["http.response.status_code"] == 200
    assert webhook.attributes["mutt.event_id"] == batch.attributes["mutt.event_id"] in moogsoft.ids()
    assert {span.trace for span in collector.spans()} == {TRACE_A}, "what is not sampled costs no span"

    # Two traces in one batch: it is the root of a trace of its own, linked with both.
    alerter.terminate()
    both = [
        amend(queue_entry(f"TRACED {place}")[1], traceparent=header(trace))
        for place, trace in enumerate((TRACE_A, TRACE_A, TRACE_B))
    ]
    trail.send(*both)
    alerter.start()
    members = wait_for(
        lambda: len(found := collector.spans("alerter.batch.event")) == 2 and found, "a span in each trace"
    )
    root = wait_for(
        lambda: [span for span in collector.spans("alerter.batch") if span.trace not in (TRACE_A, TRACE_B)],
        "the batch's own trace",
    )
    assert isinstance(members, list)
    assert len(root) == 1
    assert set(root[0].links) == {(span.trace, span.id) for span in members}
    assert {span.trace: span.attributes["mutt.events"] for span in members} == {TRACE_A: 2, TRACE_B: 1}
    for span in members:
        assert span.parent == PARENT
        assert span.links == [(root[0].trace, root[0].id)]
    assert {step.parent for step in collector.spans("alerter.settle", trace=root[0].trace)} == {root[0].id}


def test_a_retry_a_dead_letter_and_its_replay_stay_in_the_trace_without_what_moogsoft_answered(
    start_service: StartService, collector: Collector, moogsoft: Moogsoft, trail: Trail
) -> None:
    statuses = iter((500, 422))
    echoes: Callable[[Request], Reply] = lambda request: Reply(next(statuses, 200), body=request.body)  # noqa: E731
    moogsoft.answer = echoes
    trail.redis.lpush("mutt:alert_queue", amend(alert("CONFIDENTIAL")[1], traceparent=header(TRACE_A)))
    again = {"REMEDIATION_SCAN_INTERVAL": "0.2", "REMEDIATION_BACKOFF_BASE": "0"}
    for service, more in (("moog-forwarder", to(moogsoft)), ("remediation", again)):
        start_service(service, wait=False, **traced(collector, **more))
    moogsoft.wait_delivered(1)
    tries = wait_for(lambda: len(found := collector.spans("moog.post")) == 3 and found, "a span of each try")
    assert isinstance(tries, list)
    assert {(span.trace, span.parent) for span in tries} == {(TRACE_A, PARENT)}
    assert [(span.failed, span.problem) for span in tries] == [(True, "5xx"), (True, "4xx"), (False, "")]
    assert [request.headers["traceparent"].split("-")[2] for request in moogsoft.requests] == [one.id for one in tries]


def test_a_collector_that_is_away_or_hangs_costs_no_event_and_no_stall(
    start_service: StartService, moogsoft: Moogsoft, trail: Trail
) -> None:
    trail.rule(match_string="TRACED")
    collector = Collector()  # nobody listens there yet
    quick = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "MOOG_WEBHOOK_URL": moogsoft.url}
    settings = traced(collector, OTEL_TRACES_SAMPLER="always_on", **quick)
    services = [start_service(name, wait=False, **settings) for name in ("ingestor", "alerter", "moog-forwarder")]
    for service in services:
        service.wait_healthy()
    ingestor = services[0]
    assert post(ingestor, event(message="TRACED while it is away")).status_code == 200
    moogsoft.wait_delivered(1)
    for service in services:
        service.wait_log("the collector takes no spans")
        # Which of the two depends on whether the exporter's second is over before it tries to connect.
        assert any(reason in service.log() for reason in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    with collector:
        collector.hang()
        # More spans than the exporter keeps: what is too much is thrown away, and nobody waits.
        for _ in range(3):
            post(ingestor, [event(message="log")] * 100)
            assert post(ingestor, event(message="TRACED while it hangs")).status_code == 200
        moogsoft.wait_delivered(4)
        wait_for(lambda: collector.requests, "an export that hangs")
        trail.wait_rows(304)
        for service in services:
            assert fetch(service.live_url)[0] == 200
        for service in services:
            service.signal(signal.SIGTERM)
        assert [service.process.wait(STOP_TIMEOUT) for service in services] == [0, 0, 0]
    assert all("Traceback" not in service.log() for service in services)


def test_what_makes_and_exports_spans_is_not_imported_where_tracing_is_off() -> None:
    # (The API itself is: redis-py and FastAPI import it wherever it is installed.)
    program = (
        "import sys; from mutt.settings import TracingSettings; from services import tracing_utils\n"
        "import services.ingestor_service, services.alerter_service, services.moog_forwarder_service\n"
        "tracing_utils.configure(TracingSettings(), 'mutt-test')\n"
        "assert tracing_utils.active() is None\n"
        "found = [name for name in sys.modules if name.startswith(('services.tracing_spans', 'grpc'))]\n"
        "assert not found + [name for name in sys.modules if name.startswith('opentelemetry.exporter')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize(
    ("sampler", "ratio", "root", "sampled", "unsampled"),
    [
        ("always_on", 0.0, True, True, True),
        ("always_off", 1.0, False, False, False),
        ("traceidratio", 1.0, True, True, True),
        ("traceidratio", 0.0, False, False, False),
        ("parentbased_always_on", 0.0, True, True, False),
        ("parentbased_always_off", 1.0, False, True, False),
        ("parentbased_traceidratio", 1.0, True, True, False),
        ("parentbased_traceidratio", 0.0, False, True, False),
    ],
)
def test_a_sampler_decides_as_opentelemetry_names_it(  # noqa: PLR0917  (a table's columns)
    collector: Collector, sampler: str, ratio: float, root: bool, sampled: bool, unsampled: bool
) -> None:
    tracing = open_tracing(TracingSettings(enabled=True, sampler=sampler, ratio=ratio), collector.url, "mutt-test")
    wanted = {None: root, header(TRACE_A): sampled, header(TRACE_B, sampled=False): unsampled}
    for parent, kept in wanted.items():
        span = tracing.request("ingest", parent, 0)
        assert (span is not None) == kept, parent
        if span is not None:
            assert int(span.traceparent[-2:], 16) & 1, "the sampled flag"
            span.end({})
    traces: list[tuple[str | None, dict[str, str | int]]] = [(header(trace), {}) for trace in (TRACE_A, TRACE_B)]
    batch = tracing.batch("batch", "consumer", traces)
    assert (batch is not None) == sampled
    # One sampled trace and one that is not: alone it would be part of its trace, and is so here too.
    mixed = tracing.batch("mixed", "consumer", [traces[0], (header(TRACE_B, sampled=False), {})])
    assert (mixed is not None) == sampled
    assert not (mixed and not unsampled) or TRACE_A in mixed.traceparent
    tracing.close()
    assert len(collector.spans("ingest")) == sum(wanted.values())


def test_the_traces_of_a_batch_are_bounded_and_those_left_out_are_counted(collector: Collector) -> None:
    tracing = open_tracing(TracingSettings(enabled=True, sampler="always_on"), collector.url, "mutt-test")
    events: list[tuple[str | None, dict[str, str | int]]] = [(header(f"{n:032x}"), {}) for n in range(1, 201)]
    odd = ["", "garbage", "00-0-0-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE_A}-{PARENT}", "zz-" + "x" * 52]
    batch = tracing.batch("batch", "consumer", [*((text, {}) for text in odd), (None, {}), *events])
    assert batch is not None
    batch.end({"mutt.batch_events": 200})
    tracing.close()
    (root,) = collector.spans("batch")
    assert len(root.links) == len(collector.spans("batch.event")) == 128
    assert root.attributes["mutt.traces"] - root.attributes["mutt.traces_left_out"] == 128
    assert root.attributes["mutt.batch_events"] == 200


def test_an_end_waits_no_longer_than_a_moment_for_a_collector_that_hangs(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing_spans, "CLOSE_SECONDS", 0.2)
    collector.hang()
    tracing = open_tracing(TracingSettings(enabled=True, sampler="always_on"), collector.url, "mutt-test")
    span = tracing.request("ingest", None, 0)
    assert span is not None
    span.end({})
    tracing.close()
    # By itself the exporter would have waited for its time-out, after which nobody waits any more.
    assert collector.is_awaited()


def test_a_service_without_a_collectors_address_says_so(start_service: StartService) -> None:
    service = start_service("remediation", wait=False, OTEL_ENABLED="true")
    assert service.process.wait(60) == 78
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is not set" in service.log()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none at all"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ],
)
def test_what_the_sdk_refuses_is_a_setting_at_fault(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=confidential")
    settings = TracingSettings(enabled=True, endpoint="http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=rf"OpenTelemetry refuses one of .*{name}") as caught:
        tracing_utils.configure(settings, "mutt-test")
    assert "confidential" not in str(caught.value)


@pytest.mark.parametrize("address", ["collector:4317", "http://collector", "ftp://collector:1", "http://a:b@c:1"])
def test_a_collectors_address_has_to_be_one(address: str) -> None:
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        read(TracingSettings, {"OTEL_EXPORTER_OTLP_ENDPOINT": address})


def test_an_exporter_that_raises_is_a_collector_that_takes_nothing(said: Callable[[], str]) -> None:
    class Broken(SpanExporter):
        def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise ValueError("metadata was invalid")

    exporter = TellingExporter(Broken(), "http://collector:4317", Heard())
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert "metadata was invalid" in said()
