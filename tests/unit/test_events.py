import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.errors import EntryError
from mutt.events import amend, decided_entry, decode_decided, decode_entry, extra_fields

EVENT_ID = "0193a1b2-1234-7abc-8def-0123456789ab"
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
MUTT = (
    b'{"v":1,"event_id":"0193a1b2-1234-7abc-8def-0123456789ab","received_at":"2026-11-24T22:10:00.123456Z",'
    b'"event_timestamp":"2026-11-24T22:09:59.000000Z","tomorrow":{"x":1}}'
)
EVENT = (
    b'{"correlation_id":"5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11","timestamp":"2026-11-24T22:09:59Z","message":"down",'
    b'"hostname":"sw1","source":"syslog","syslog_severity":"err","trap_oid":".1.3.6","ratio":1.10,"tags":[]}'
)
ENTRY = b'{"_mutt":' + MUTT + b"," + EVENT[1:]


def entry_of(**fields: object) -> bytes:
    return b'{"_mutt":' + MUTT + b"," + json.dumps(fields).encode()[1:]


def test_an_entry_gives_the_event_in_normal_form() -> None:
    event = decode_entry(ENTRY)

    assert (event.message, event.hostname, event.source) == ("down", "sw1", "syslog")
    assert (event.severity, event.trap_oid, event.correlation_id) == (3, "1.3.6", TRACE)
    assert event.event_timestamp == datetime(2026, 11, 24, 22, 9, 59, tzinfo=UTC)
    assert event.received_at == datetime(2026, 11, 24, 22, 10, 0, 123456, tzinfo=UTC)
    assert event.envelope.event_id == EVENT_ID
    assert event.entry == ENTRY
    assert "_mutt" not in event.fields


def test_a_text_severity_counts_only_where_the_number_is_absent() -> None:
    assert decode_entry(entry_of(message="m", severity="crit")).severity == 2
    assert decode_entry(entry_of(message="m", severity="crit", syslog_severity=6)).severity == 6
    assert decode_entry(entry_of(message="m", severity=2)).severity is None
    assert decode_entry(entry_of(message="m", severity={"a": 1})).severity is None


def test_an_event_without_a_correlation_id_has_its_event_id() -> None:
    assert decode_entry(entry_of(message="m")).correlation_id == EVENT_ID


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b"", "readable"),
        (b"\xff", "readable"),
        (b"[1]", "readable"),
        (b"{}", "readable"),
        (b'{"_mutt":{"event_id":"x","received_at":"2026-11-24T22:10:00Z"}}', "event_id"),
        (b'{"_mutt":{"event_id":"' + EVENT_ID.encode() + b'","received_at":"soon"}}', "received_at|event_timestamp"),
        (entry_of(message=1), "message"),
        (entry_of(hostname=[1]), "hostname"),
        (entry_of(trap_oid=1.3), "trap_oid"),
        (entry_of(correlation_id="trace-1"), "correlation_id"),
        (b'{"_mutt":' + MUTT + b',"a":' + b"[" * 100_000 + b"}", "readable"),
        (b'{"_mutt":' + MUTT + b',"a":1e999}', "readable"),
    ],
)
def test_an_entry_that_can_never_be_read_is_refused_with_the_reason(entry: bytes, reason: str) -> None:
    with pytest.raises(EntryError, match=reason):
        decode_entry(entry)


@given(st.binary())
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    for text in (data, b'{"_mutt":' + data, b'{"_mutt":' + MUTT + b"," + data):
        for read in (decode_entry, decode_decided):
            with pytest.raises(EntryError):
                read(text)


def test_a_decided_entry_carries_the_event_and_the_envelope_byte_for_byte() -> None:
    data = decided_entry(ENTRY, handling="Page_and_ticket", team='N"O', rule_id=12, rule_version=3, environment="prod")

    assert data.startswith(b'{"_mutt":' + MUTT + b',"event":' + EVENT + b",")
    decided = decode_decided(data)
    assert (decided.handling, decided.team, decided.environment) == ("Page_and_ticket", 'N"O', "prod")
    assert (decided.rule_id, decided.rule_version) == (12, 3)
    assert decided.raw_event == EVENT
    assert decided.envelope == decided.event.envelope == decode_entry(ENTRY).envelope
    assert decided.event.fields == decode_entry(ENTRY).fields


def test_a_decided_entry_may_have_no_rule_and_can_be_amended() -> None:
    data = decided_entry(ENTRY, handling="Unhandled", team="NETO", rule_id=None, rule_version=None, environment="dev")

    decided = decode_decided(amend(data, retry_count=2))
    assert decided.rule_id is None
    assert decided.envelope.retry_count == 2
    assert b'"tomorrow":{"x":1}' in amend(data, retry_count=2)


def test_what_no_audit_column_holds_is_kept_apart() -> None:
    extra = extra_fields(decode_entry(ENTRY).fields)

    assert extra == {"timestamp": "2026-11-24T22:09:59Z", "ratio": 1.1, "tags": []}


@pytest.mark.parametrize(
    "entry",
    [
        b" " + ENTRY,
        ENTRY.replace(b'{"_mutt":{', b'{"_mutt": {', 1),
        EVENT[:-1] + b',"_mutt":' + MUTT + b"}",
        ENTRY[:-1] + b',"_mutt":' + MUTT.replace(b'"v":1', b'"v":2') + b"}",
    ],
)
def test_what_cannot_be_taken_apart_by_its_bytes_is_not_readable(entry: bytes) -> None:
    with pytest.raises(EntryError, match="not readable: an entry "):
        decode_entry(entry)
    assert decode_entry(ENTRY[:-1] + b',"nested":{"_mutt":"_mutt"}}').message == "down"
