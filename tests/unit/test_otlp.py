import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from mutt.events import decode_entry
from mutt.otlp_request import read_request
from tests.unit.otlp_requests import (
    NANO,
    NOW,
    RECEIPT,
    SPAN,
    TRACE,
    UID,
    both,
    intake,
    log,
    one,
    request,
    taken,
)


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


def test_the_same_record_of_another_resource_or_sender_is_another_event() -> None:
    record = log("failed", {"correlation_id": UID})
    named = [request(record, resource={"host.name": name})["resourceLogs"][0] for name in ("a", "b", "a")]
    first, other, again = both({"resourceLogs": named}).accepted
    assert first.event_id != other.event_id
    assert first.event_id == again.event_id
    body = json.dumps(request(record, resource={})).encode()
    [one_sender], [other_sender] = (
        read_request(intake, body, "", sender, RECEIPT, is_json=True).accepted for sender in ("192.0.2.9", "192.0.2.10")
    )
    assert one_sender.event_id != other_sender.event_id


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
