"""Requests of OTLP's, in both encodings, and what is taken of them."""

import json
import os
from typing import Any

import pytest

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


def field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf with a length."""
    size, length = len(content), b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def around(*records: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, record) for record in records)))
