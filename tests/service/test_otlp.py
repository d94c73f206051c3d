"""OTLP over HTTP on a real ingestor: both encodings, the statuses that exporters act on, the ingest route's promise."""

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.harness.credentials import INGEST_API_KEY
from tests.service.doors import Doors
from tests.service.ingest_api import TRACE, Wire, request

PATH = "/v1/logs"
JSON, PROTOBUF = "application/json", "application/x-protobuf"
BOTH = pytest.mark.parametrize("media", [JSON, PROTOBUF])
HOST = [{"key": "host.name", "value": {"stringValue": "sw1"}}]
SPAN = {"traceId": TRACE.replace("-", ""), "spanId": "eee19b7ec3c1b174", "flags": 1}


def body(media: str, *texts: str, host: str = "sw1") -> bytes:
    """Return a request with a log record for each text, an error."""
    if media == JSON:
        resource = {"attributes": [{"key": "host.name", "value": {"stringValue": host}}]}
        logs = [{"body": {"stringValue": text}, "severityNumber": 17, **SPAN} for text in texts]
        return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": logs}]}]}).encode()
    sent = ExportLogsServiceRequest()
    group = sent.resource_logs.add()
    attribute = group.resource.attributes.add(key="host.name")
    attribute.value.string_value = host
    logs_of_scope = group.scope_logs.add()
    for text in texts:
        log = logs_of_scope.log_records.add(severity_number=17, flags=1)
        log.body.string_value = text
        log.trace_id, log.span_id = bytes.fromhex(TRACE.replace("-", "")), bytes.fromhex("eee19b7ec3c1b174")
    return sent.SerializeToString()


def headers(media: str, **more: str) -> dict[str, str]:
    return {"Content-Type": media, "X-API-KEY": INGEST_API_KEY, **more}


def partial(reply: requests.Response, media: str) -> tuple[int, str]:
    """Return how many records were refused and why, of a reply in the encoding of its request."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["Content-Type"] == media
    if media == JSON:
        said: dict[str, Any] = reply.json().get("partialSuccess", {})
        return int(said.get("rejectedLogRecords", 0)), said.get("errorMessage", "")
    found = ExportLogsServiceResponse.FromString(reply.content).partial_success
    return found.rejected_log_records, found.error_message


def refused(reply: requests.Response, media: str, status: int, code: int) -> str:
    """Return the message of a refusal, which is a Status in the encoding of its request."""
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, media), reply.text
    if media == JSON:
        found = reply.json()
        assert found["code"] == code
        return str(found["message"])
    sent = Status.FromString(reply.content)
    assert sent.code == code
    return str(sent.message)


@BOTH
def test_log_records_are_queued_and_answered_in_their_encoding(doors: Doors, media: str) -> None:
    before = doors.counted("")

    for sent in (body(media, "Überlast\nline two", "two"), b"{}" if media == JSON else b""):
        assert partial(doors.post(PATH, sent, headers(media)), media) == (0, "")
    packed = gzip.compress(body(media, "packed"))
    assert partial(doors.post(PATH, packed, headers(media, **{"Content-Encoding": "gzip"})), media) == (0, "")

    found = doors.events()
    assert [(item.hostname, item.message, item.severity) for item in found] == [
        ("sw1", "Überlast\nline two", 3),
        ("sw1", "two", 3),
        ("sw1", "packed", 3),
    ]
    assert {item.envelope.traceparent for item in found} == {f"00-{TRACE.replace('-', '')}-eee19b7ec3c1b174-01"}
    assert doors.counted("") == before + 3


@BOTH
def test_refused_records_are_a_partial_success_and_quarantined(doors: Doors, media: str) -> None:
    before = doors.counted("validation")

    rejected, words = partial(doors.post(PATH, body(media, "one", "", "three"), headers(media)), media)

    assert rejected == 1
    assert words == "log record 1: message is missing or empty"
    assert [item.message for item in doors.events()] == ["one", "three"]
    assert doors.counted("validation") == before + 1
    assert partial(doors.post(PATH, body(media, "x", host="h" * 300), headers(media)), media)[0] == 1
    assert doors.quarantined() == 1


@BOTH
def test_refusals_are_a_status_that_exporters_know(doors: Doors, media: str) -> None:
    before = doors.counted("auth")
    sent = body(media, "x")
    for wrong in ({}, {"X-API-KEY": "wrong"}, {"Authorization": "Bearer wrong"}):
        refused(doors.post(PATH, sent, {"Content-Type": media, **wrong}), media, 401, Code.UNAUTHENTICATED)
    assert doors.counted("auth") == before + 3
    for good in ({"Authorization": f"Bearer {INGEST_API_KEY}"}, {"X-API-KEY": INGEST_API_KEY}):
        assert partial(doors.post(PATH, sent, {"Content-Type": f"{media}; charset=utf-8", **good}), media)[0] == 0
    for garbage in (b"\xff" * 50, b'{"resourceLogs":7}', gzip.compress(sent)[:-4]):
        refused(doors.post(PATH, garbage, headers(media)), media, 400, Code.INVALID_ARGUMENT)
    reply = doors.post(PATH, sent, headers(media, **{"Content-Encoding": "snappy"}))
    assert "snappy" in refused(reply, media, 400, Code.INVALID_ARGUMENT)
    for large in (b"x" * 300_000, gzip.compress(bytes(5_000_000)), body(media, *["x"] * 151)):
        refused(doors.post(PATH, large, headers(media)), media, 413, Code.RESOURCE_EXHAUSTED)


@BOTH
def test_a_full_queue_and_an_absent_redis_are_to_be_tried_again(doors: Doors, media: str) -> None:
    sent = body(media, "x")
    with doors.full():
        reply = doors.post(PATH, sent, headers(media))
        assert "the queue is full" in refused(reply, media, 503, Code.UNAVAILABLE)
        assert 5 <= int(reply.headers["Retry-After"]) <= 15
    with doors.without_redis():
        reply = doors.post(PATH, sent, headers(media))
        assert "send again" in refused(reply, media, 503, Code.UNAVAILABLE)
        assert int(reply.headers["Retry-After"]) >= 1
    assert partial(doors.post(PATH, sent, headers(media)), media) == (0, "")


def test_a_body_that_does_not_arrive_is_to_be_tried_again(doors: Doors) -> None:
    with Wire(doors.ingestor) as slow:
        slow.send(request(b"\x0a", "Content-Length: 100", f"Content-Type: {PROTOBUF}", path=PATH))
        status, found, reply = slow.read()
        assert (status, found["content-type"]) == (503, PROTOBUF)
        assert int(found["retry-after"]) >= 1
        assert "did not arrive" in Status.FromString(reply).message
        assert slow.is_closed()


def test_an_encoding_that_is_not_known_is_refused_before_its_body(doors: Doors) -> None:
    for media in ("text/plain", "application/grpc", "application/x-ndjson", ""):
        with Wire(doors.ingestor) as wire:
            wire.send(request(b"", "Content-Length: 10", f"Content-Type: {media}", path=PATH))
            status, found, reply = wire.read()
            assert (status, found["content-type"]) == (415, JSON)
            assert f"send {JSON} or {PROTOBUF}" in json.loads(reply)["message"]
    assert requests.get(doors.ingestor.url + PATH, timeout=60).status_code == 405
    for other in ("/v1/traces", "/v1/metrics", "/v1/logs/"):
        assert doors.post(other, b"", headers(PROTOBUF)).status_code == 404


def test_requests_in_both_encodings_and_of_the_ingest_route_share_a_connection(doors: Doors) -> None:
    native = b'{"message":"n","hostname":"h","timestamp":1795000000}'
    both = [request(body(media, media), f"Content-Type: {media}", path=PATH) for media in (JSON, PROTOBUF)]
    with Wire(doors.ingestor) as wire:
        wire.send(b"".join([both[0], request(native), both[1], both[0], request(native), both[1]]))
        replies = [wire.read() for _ in range(6)]
    assert [status for status, _, _ in replies] == [200] * 6
    assert [found["content-type"] for _, found, _ in replies] == [JSON, JSON, PROTOBUF] * 2
    assert [item.message for item in doors.events() if item.message != "n"] == [JSON, PROTOBUF] * 2


def test_hostile_bodies_harm_nobody(doors: Doors) -> None:
    before = doors.counted("internal")
    for sent in (
        b"\x0a\x00" * 90_000,
        b"\x00" * 1000,
        b"\x0a" + b"\xff" * 9 + b"\x01",
        b"\x0a" + b"\x80" * 20,
        b"\x0a\x04\x12\x02\x12\x00",
        b"[" * 100_000,
        b'{"resourceLogs":' * 5000,
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":' + b"9" * 3000 + b"}]}]}]}",
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"doubleValue":1e999}}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"\xff\\u0000"}}]}]}]}',
    ):
        for media in (JSON, PROTOBUF):
            assert doors.post(PATH, sent, headers(media)).status_code in {200, 400, 413}
    assert doors.counted("internal") == before
    for item in doors.events():
        assert "\x00" not in item.message


@BOTH
def test_small_requests_that_make_large_entries_do_not_fill_the_memory_while_redis_hangs(
    doors: Doors, media: str
) -> None:
    """Each makes some 400 kB for the quarantine, as no host has such a name; INGEST_MAX_IN_FLIGHT_BYTES is 600 kB."""
    sent = body(media, *["n"] * 150, host="h" * 1200)
    assert len(sent) < 50_000
    doors.server.pause()
    try:
        with ThreadPoolExecutor() as pool:
            replies = list(pool.map(lambda _: doors.post(PATH, sent, headers(media)), range(3)))
    finally:
        doors.server.resume()
        doors.ingestor.wait_healthy()
        doors.clear()

    said = [refused(reply, media, 503, Code.UNAVAILABLE) for reply in replies]
    assert any("requests are under way" in words for words in said), said
    assert doors.post(PATH, body(media, "after"), headers(media)).status_code == 200
    assert [item.message for item in doors.events()] == ["after"]


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression])
def test_the_sdk_of_an_application_delivers_its_logs(doors: Doors, compression: Compression) -> None:
    exporter = OTLPLogExporter(
        doors.ingestor.url + PATH, headers={"x-api-key": INGEST_API_KEY}, compression=compression
    )
    provider = LoggerProvider(resource=Resource({"host.name": "app1", "service.name": "billing"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    moment = time.time_ns()
    record = LogRecord(
        timestamp=moment,
        observed_timestamp=moment,
        body="Überlast\nline two",
        severity_number=SeverityNumber.ERROR,
        attributes={"user": "a", "log.record.uid": TRACE},
    )

    for _ in range(2):
        provider.get_logger("lib", "1").emit(record)
    provider.shutdown()

    first, second = doors.events()
    assert (first.hostname, first.source, first.message, first.severity) == ("app1", "billing", "Überlast\nline two", 3)
    assert int(first.event_timestamp.timestamp() * 1_000_000) == pytest.approx(moment // 1000, abs=1)
    assert first.fields["attributes"]["user"] == "a"
    assert first.fields["scope"]["name"] == "lib"
    assert first.correlation_id == TRACE
    assert first.envelope.event_id == second.envelope.event_id
