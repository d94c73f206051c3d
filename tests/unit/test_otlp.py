import json
import os
import struct
import tracemalloc
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from mutt.events import QueuedEvent, decode_entry
from mutt.intake import Intake, Limits, Receipt, Taken
from mutt.otlp_request import read_request
from mutt.records import RecordError
from tests.harness.otlp import as_protobuf

NOW = 1_795_000_000
NANO = 1_000_000_000
RECEIPT = Receipt(NOW * 1_000_000)
LIMITS = Limits(body_bytes=200_000, records=50, event_bytes=4000, depth=8)
TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
UID = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"

intake = Intake(("timestamp", "message", "hostname"), LIMITS, os.urandom)


def any_value(value: Any) -> dict[str, Any]:  # noqa: PLR0911  (a kind of value each)
    """Return a value as OTLP's JSON has it."""
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case dict():
            return {"kvlistValue": {"values": pairs(value)}}
        case _:
            return {"arrayValue": {"values": [any_value(item) for item in value]}}


def pairs(fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in fields.items()]


def log(body: Any = "down", attributes: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"body": any_value(body), "attributes": pairs(attributes or {}), "timeUnixNano": str(NOW * NANO), **more}


def request(*logs: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    scope = {"name": "lib", "version": "1"}
    described = {"attributes": pairs({"host.name": "sw1"} if resource is None else resource)}
    return {"resourceLogs": [{"resource": described, "scopeLogs": [{"scope": scope, "logRecords": list(logs)}]}]}


def both(sent: dict[str, Any]) -> Taken:
    """Take a request in both encodings, which have to mean the same."""
    first = taken(json.dumps(sent).encode(), is_json=True)
    second = taken(as_protobuf(sent), is_json=False)
    for one, other in zip(first.accepted, second.accepted, strict=True):
        left, right = decode_entry(one.entry), decode_entry(other.entry)
        for found in (left, right):
            found.fields.pop("correlation_id")
        assert left.fields == right.fields
        assert (left.event_timestamp, left.severity) == (right.event_timestamp, right.severity)
        assert left.envelope.traceparent == right.envelope.traceparent
    assert [item.error for item in first.rejected] == [item.error for item in second.rejected]
    return first


def taken(body: bytes, *, is_json: bool) -> Taken:
    return read_request(intake, body, "", "192.0.2.9", RECEIPT, is_json=is_json)


def one(*logs: dict[str, Any], **more: Any) -> QueuedEvent:
    [accepted] = both(request(*logs, **more)).accepted
    return decode_entry(accepted.entry)


def refusal(body: bytes, *, is_json: bool) -> RecordError:
    with pytest.raises(RecordError) as caught:
        taken(body, is_json=is_json)
    return caught.value


def test_a_log_record_is_an_event_with_all_that_it_says() -> None:
    found = one(
        log(
            "Überlast\nline two",
            {"user": "a", "n": 5, "ratio": 0.5, "ok": True, "tags": ["x", None], "deep": {"a": {"b": 1}}},
            severityNumber=17,
            severityText="ERROR",
            traceId=TRACE,
            spanId=SPAN,
            flags=1,
            eventName="link",
        ),
        resource={"host.name": "sw1", "service.name": "router"},
    )

    assert (found.message, found.hostname, found.source) == ("Überlast\nline two", "sw1", "router")
    assert found.severity == 3
    assert found.event_timestamp.timestamp() == NOW
    assert found.envelope.traceparent == f"00-{TRACE}-{SPAN}-01"
    assert found.fields["attributes"] == {
        "user": "a", "n": 5, "ratio": 0.5, "ok": True, "tags": ["x", None], "deep": {"a": {"b": 1}},
    }  # fmt: skip
    assert found.fields["resource"] == {"host.name": "sw1", "service.name": "router"}
    assert found.fields["scope"] == {"name": "lib", "version": "1"}
    assert [found.fields[name] for name in ("trace_id", "span_id", "event_name", "severity_text")] == [
        TRACE, SPAN, "link", "ERROR",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "severity"),
    [(1, 7), (5, 7), (8, 7), (9, 6), (10, 5), (12, 5), (13, 4), (16, 4), (17, 3), (18, 2), (19, 1), (21, 0), (24, 0)],
)
def test_severity_numbers_are_syslogs_by_the_data_models_table(number: int, severity: int) -> None:
    assert one(log(severityNumber=number, severityText="debug")).severity == severity


def test_without_a_severity_number_words_count() -> None:
    assert one(log(severityText="Warning")).severity == 4
    assert one(log(attributes={"level": "error"})).severity == 3
    assert one(log({"message": "m", "level": "fatal"})).severity == 2
    assert one(log(severityNumber=9, attributes={"syslog_severity": 1})).severity == 1
    assert one(log(severityText="whatever", severityNumber=99)).severity is None


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"timeUnixNano": str((NOW - 9) * NANO + 123_456_789)}, NOW - 9 + 0.123456),
        ({"timeUnixNano": "0", "observedTimeUnixNano": str((NOW - 5) * NANO)}, NOW - 5),
        ({"timeUnixNano": "0"}, NOW),
        ({"timeUnixNano": str(2**64 - 1)}, NOW),
    ],
)
def test_the_time_is_the_records_else_the_observers_else_that_of_receipt(
    times: dict[str, Any], expected: float
) -> None:
    assert one(log(**times)).event_timestamp.timestamp() == pytest.approx(expected, abs=1e-6)


def test_the_host_is_the_records_else_the_resources_else_the_senders() -> None:
    assert one(log(attributes={"hostname": "device"})).hostname == "device"
    assert one(log(attributes={"host.name": "device"})).hostname == "device"
    assert one(log()).hostname == "sw1"
    assert one(log(), resource={"k8s.node.name": "node"}).hostname == "node"
    assert one(log(), resource={}).hostname == "192.0.2.9"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "m", "n": 1}, "m"),
        ({"n": 1}, '{"n":1}'),
        (["a", 1], '["a",1]'),
        (12, "12"),
        (False, "false"),
        (1.5, "1.5"),
    ],
)
def test_a_body_that_is_no_text_is_kept_beside_its_text(body: Any, message: str) -> None:
    found = one(log(body))
    assert found.message == message
    assert found.fields["body"] == body


def test_an_event_without_a_body_is_its_name() -> None:
    assert one(log(None, eventName="device.reboot")).message == "device.reboot"


def test_attributes_with_mutts_names_are_its_fields() -> None:
    found = one(log(attributes={"correlation_id": UID, "trap_oid": "1.3.6", "source": "net", "other": 1}))
    assert (found.trap_oid, found.source) == ("1.3.6", "net")
    assert found.fields["attributes"] == {"other": 1}


def test_the_same_record_with_an_id_of_its_own_is_the_same_event() -> None:
    first, second = (both(request(log(attributes={"log.record.uid": UID}))).accepted[0] for _ in range(2))
    assert (first.correlation_id, first.event_id) == (UID, second.event_id)
    ulid = {"log.record.uid": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
    assert both(request(log(attributes=ulid))).accepted[0].event_id != UID
    assert both(request(log())).accepted[0].event_id != both(request(log())).accepted[0].event_id


def test_ids_that_are_none_make_no_trace_context() -> None:
    unusable: list[dict[str, Any]] = [
        {"traceId": "0" * 32, "spanId": SPAN},
        {"traceId": TRACE},
        {"traceId": "ab", "spanId": SPAN},
    ]
    for ids in unusable:
        assert one(log(**ids)).envelope.traceparent is None


def test_a_refused_record_is_named_and_kept_as_the_event_that_it_means() -> None:
    found = both(request(log("one"), log("x", {"hostname": "h" * 300}), log(""), log("four")))

    assert [decode_entry(item.entry).message for item in found.accepted] == ["one", "four"]
    assert [item.place for item in found.rejected] == [1, 2]
    assert "hostname has 300 characters" in found.rejected[0].error
    assert "message is missing or empty" in found.rejected[1].error
    assert json.loads(json.loads(found.rejected[0].quarantine)["raw"])["message"] == "x"


def test_a_request_without_records_is_taken() -> None:
    empty: list[dict[str, Any]] = [
        {},
        {"resourceLogs": []},
        {"resourceLogs": [{}]},
        {"resourceLogs": [{"scopeLogs": [{}]}]},
    ]
    for sent in empty:
        assert both(sent).accepted == []


def test_floats_and_bytes_that_json_lacks_are_written_as_text() -> None:
    record = LogRecord(body=AnyValue(string_value="x"))
    record.attributes.append(KeyValue(key="n", value=AnyValue(double_value=float("nan"))))
    record.attributes.append(KeyValue(key="i", value=AnyValue(double_value=float("-inf"))))
    record.attributes.append(KeyValue(key="b", value=AnyValue(bytes_value=b"\xff\x00")))
    sent = ExportLogsServiceRequest()
    sent.resource_logs.add().scope_logs.add().log_records.append(record)
    [accepted] = taken(sent.SerializeToString(), is_json=False).accepted
    assert decode_entry(accepted.entry).fields["attributes"] == {"n": "NaN", "i": "-Infinity", "b": "/wA="}


def field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf with a length."""
    size, length = len(content), b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def around(*records: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, record) for record in records)))


def test_text_that_is_not_utf_8_is_kept_and_said_to_be_so() -> None:
    body = field(5, field(1, b"caf\xe9\x00"))
    [accepted] = taken(around(body), is_json=False).accepted
    found = decode_entry(accepted.entry)
    assert found.message == "caf\ufffd\ufffd"
    assert found.envelope.sanitized


def test_garbage_in_one_record_costs_that_record_alone() -> None:
    good = field(5, field(1, b"good"))
    for bad in (b"\xff\xff", field(5, b"\x0a\x7f"), field(6, field(1, b"key") + b"\x0f"), b"\x2a"):
        found = taken(around(good, bad, good), is_json=False)
        assert len(found.accepted) == 2
        assert [item.place for item in found.rejected] == [1]
        assert b64decode(json.loads(found.rejected[0].quarantine).get("raw_base64", "")) in {bad, b""}


def test_fields_that_a_newer_version_adds_are_stepped_over() -> None:
    newer = (
        bytes([20 << 3 & 0xFF | 0, 1, 5])
        + field(15, b"new")
        + bytes([14 << 3 | 1])
        + struct.pack("<d", 1)
        + bytes([13 << 3 | 5])
        + bytes(4)
    )
    assert len(taken(newer + around(field(5, field(1, b"good"))), is_json=False).accepted) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x0a\x05\x01", "json"),
        (b"\x0a", "json"),
        (b"\xff" * 20, "json"),
        (b"\x0b", "json"),
        (b"\x09\x01", "json"),
        (b"<html>", "json"),
        (b'{"resourceLogs":[]}', "json"),
        (b"\x0a\x00" * 10_000, "too_large"),
        (around(*[b""] * 51), "too_large"),
        (field(1, field(1, b"\xff") + field(2, field(2, field(5, field(1, b"x"))))), "json"),
        (around(b"\xff"), "json"),
    ],
)
def test_what_is_no_request_in_protobuf_is_refused(body: bytes, reason: str) -> None:
    assert refusal(body, is_json=False).reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"12",
        b"{",
        b'{"resourceLogs":{}}',
        b'{"resourceLogs":[{"scopeLogs":7}]}',
        b'{"resourceLogs":[{"resource":{"attributes":{"a":1}},"scopeLogs":[{"logRecords":[{}]}]}]}',
        b'{"resourceLogs":[{"resource":7,"scopeLogs":[{"logRecords":[{}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[7]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"text"}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a","intValue":1}}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"soon"}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":1.5}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"-5","body":{"intValue":1}}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":7}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":7}]}]}]}]}',
        b'{"resourceLogs":' + b"[" * 100_000,
        b'{"resourceLogs":[{"resource":{"attributes":' + b"[" * 5000 + b"]" * 5000 + b"}}]}",
    ],
)
def test_what_is_no_request_in_json_is_refused(body: bytes) -> None:
    assert refusal(body, is_json=True).reason == "json"


def test_values_that_are_nested_too_deeply_cost_their_record() -> None:
    value: Any = "x"
    for _ in range(9):
        value = [value]
    deep, shallow = log("x", {"a": value}), log("x", {"a": value[0]})
    for body, is_json in (
        (json.dumps(request(shallow, deep)).encode(), True),
        (as_protobuf(request(shallow, deep)), False),
    ):
        found = taken(body, is_json=is_json)
        assert [item.place for item in found.rejected] == [1]
        assert len(found.accepted) == 1
    bottomless = b""
    for _ in range(300):
        bottomless = field(5, field(1, bottomless))  # (an array of an array of …)
    assert refusal(around(field(5, bottomless)), is_json=False).reason == "json"


def test_a_small_request_with_a_million_empty_messages_does_not_fill_the_memory() -> None:
    wide = Intake(("message",), Limits(body_bytes=4_000_000, records=5_000, event_bytes=65_536), os.urandom)
    bomb = field(1, b"\x12\x00" * 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RecordError) as caught:
            read_request(wide, bomb, "", "", RECEIPT, is_json=False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert most < 20_000_000


def test_a_resource_that_is_too_large_or_wrong_costs_its_own_records_alone() -> None:
    good = request(log("good"))["resourceLogs"][0]
    large = request(log("large"), log("large too"), resource={"big": "x" * 5000})["resourceLogs"][0]
    found = both({"resourceLogs": [good, large, good]})
    assert len(found.accepted) == 2
    assert [item.place for item in found.rejected] == [1, 2]
    assert "resource and scope have" in found.rejected[0].error

    wrong = field(1, field(1, b"\xff") + field(2, field(2, field(5, field(1, b"wrong")))))
    mixed = taken(as_protobuf({"resourceLogs": [good]}) + wrong + as_protobuf({"resourceLogs": [good]}), is_json=False)
    assert (len(mixed.accepted), [item.place for item in mixed.rejected]) == (2, [1])


def test_a_resource_that_is_not_utf_8_is_kept_and_said_to_be_so() -> None:
    resource = field(1, field(1, b"host.name") + field(2, field(1, b"caf\xe9")))
    [accepted] = taken(
        field(1, field(1, resource) + field(2, field(2, field(5, field(1, b"x"))))), is_json=False
    ).accepted
    found = decode_entry(accepted.entry)
    assert found.hostname == "caf\ufffd"
    assert found.envelope.sanitized


def test_a_resource_that_its_records_would_repeat_too_often_is_refused() -> None:
    small = Intake(("message",), Limits(body_bytes=4000, records=50, event_bytes=4000), os.urandom)
    sent = request(*[log()] * 20, resource={"host.name": "h", "big": "x" * 3800})
    for body, is_json in ((as_protobuf(sent), False), (json.dumps(sent).encode(), True)):
        with pytest.raises(RecordError, match="too large for so many"):
            read_request(small, body, "", "", RECEIPT, is_json=is_json)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_readers_fail_otherwise(noise: bytes) -> None:
    for body in (noise, around(noise), around(field(5, noise), noise), field(1, field(1, noise))):
        for is_json in (True, False):
            try:
                found = taken(body, is_json=is_json)
            except RecordError:
                continue
            for item in found.accepted:
                decode_entry(item.entry)
