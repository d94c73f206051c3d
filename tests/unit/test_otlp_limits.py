import json
import os
import struct
import tracemalloc
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutt.events import decode_entry
from mutt.intake import Intake, Limits
from mutt.otlp_request import read_request
from mutt.records import RecordError
from tests.harness.otlp import as_protobuf
from tests.unit.otlp_requests import (
    RECEIPT,
    around,
    both,
    field,
    log,
    pairs,
    refusal,
    request,
    taken,
)


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


def test_a_resource_is_decoded_once_however_many_scopes_have_it() -> None:
    resource = {"attributes": pairs({f"key {number}": None for number in range(50)})}
    scopes = [{"scope": {"name": f"scope {number}"}, "logRecords": [log()]} for number in range(50)]
    # What may be read is a value in 12 bytes: enough for the resource twenty times.
    narrow = Intake(("message",), Limits(body_bytes=12 * 1000, records=50, event_bytes=4000), os.urandom)
    body = as_protobuf({"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]})
    assert len(read_request(narrow, body, "", "", RECEIPT, is_json=False).accepted) == 50


def test_a_resource_that_refused_records_would_repeat_too_often_is_refused() -> None:
    small = Intake(("message",), Limits(body_bytes=4000, records=50, event_bytes=4000), os.urandom)
    sent = request(*[log()] * 20, resource={"host.name": "h" * 300, "big": "x" * 3400})
    for body, is_json in ((as_protobuf(sent), False), (json.dumps(sent).encode(), True)):
        with pytest.raises(RecordError, match="too large for so many") as caught:
            read_request(small, body, "", "", RECEIPT, is_json=is_json)
        assert (caught.value.reason, caught.value.records) == ("too_large", 20)


@pytest.mark.parametrize(
    ("body", "is_json"),
    [
        (around(*[field(6, b"") * 1000] * 20), False),
        (around(*[field(5, field(5, field(1, b"") * 1000))] * 20), False),
        (around(*[field(5, field(6, field(1, b"") * 1000))] * 20), False),
        (field(1, field(1, field(1, b"") * 1900) + field(2, field(2, b""))) * 15, False),
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + b"{}," * 20_000 + b"{}]}]}]}", True),
        (b'{"resourceLogs":[' + b"{}," * 20_000 + b"{}]}", True),
    ],
)
def test_a_request_of_many_values_that_say_nothing_is_refused(body: bytes, is_json: bool) -> None:
    found = refusal(body, is_json=is_json)
    assert (found.reason, str(found)) == (
        "too_large",
        "over 16666 attributes and values: send fewer in one request",
    )
