import json
import struct
from datetime import UTC, date, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mutt.audit_row import COLUMNS, EPOCH, months, pack_decision, pack_row
from mutt.envelope import Envelope
from mutt.events import QueuedEvent, extra_fields
from mutt.rules import Handling

EVENT_ID = "0193a1b2-1234-7abc-8def-0123456789ab"
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def event_at(moment: datetime, event_id: str = EVENT_ID, correlation_id: str = TRACE) -> QueuedEvent:
    fields = {"message": "down", "hostname": "sw1", "vlan": 12, "correlation_id": correlation_id}
    envelope = Envelope(event_id, "", "")
    return QueuedEvent(b"", envelope, fields, "down", "sw1", None, 3, "1.3.6", correlation_id, moment, moment)


def columns_of(row: bytes) -> dict[str, bytes | None]:
    (count,) = struct.unpack_from("!h", row)
    assert count == len(COLUMNS)
    values: list[bytes | None] = []
    at = 2
    for _ in COLUMNS:
        (length,) = struct.unpack_from("!i", row, at)
        at += 4
        values.append(None if length == -1 else row[at : at + length])
        at += max(length, 0)
    assert at == len(row)
    return dict(zip(COLUMNS, values, strict=True))


def test_a_row_has_each_column_in_its_place() -> None:
    row = columns_of(pack_row(event_at(NOON), pack_decision("Page_and_ticket", "NETO", 12, 3, "prod")))

    since = (NOON - EPOCH).days * 86_400_000_000 + 43_200_123_456
    assert row == {
        "event_timestamp": since.to_bytes(8, "big"),
        "event_id": UUID(EVENT_ID).bytes,
        "correlation_id": UUID(TRACE).bytes,
        "received_at": since.to_bytes(8, "big"),
        "syslog_severity": b"\0\3",
        "hostname": b"sw1",
        "message": b"down",
        "source": None,
        "trap_oid": b"1.3.6",
        "raw": b'\x01{"vlan":12}',
        "forwarded": b"\1",
        "rule_id": b"\0\0\0\x0c",
        "rule_version": b"\0\0\0\3",
        "handling": b"Page_and_ticket",
        "team": b"NETO",
        "environment": b"prod",
    }


def test_only_what_is_owed_to_moogsoft_is_marked_as_forwarded() -> None:
    marks = {
        handling: columns_of(pack_row(event_at(NOON), pack_decision(handling, "NETO", None, None, "dev")))["forwarded"]
        for handling in map(str, Handling)
    }
    assert [handling for handling, mark in marks.items() if mark == b"\1"] == [
        "Page_and_ticket",
        "Ticket_only",
        "Email_only",
    ]


def test_an_event_that_matched_no_rule_has_no_rule() -> None:
    row = columns_of(pack_row(event_at(NOON), pack_decision("Unhandled", "NETO", None, None, "prod")))
    assert (row["rule_id"], row["rule_version"]) == (None, None)


@given(st.lists(st.tuples(st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)), st.uuids()), max_size=20))  # noqa: DTZ001
def test_rows_sorted_as_bytes_are_sorted_by_time_and_id(keys: list[tuple[datetime, UUID]]) -> None:
    decision = pack_decision("Log_only", "NETO", 1, 1, "prod")
    rows = {pack_row(event_at(moment, str(event_id)), decision): (moment, event_id.bytes) for moment, event_id in keys}
    assert [rows[row] for row in sorted(rows)] == sorted(rows.values())


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=20))
def test_the_months_of_rows_are_those_of_their_events(moments: list[datetime]) -> None:
    decision = pack_decision("Log_only", "NETO", 1, 1, "prod")
    rows = [pack_row(event_at(moment), decision) for moment in moments]
    assert months(rows) == sorted({date(moment.year, moment.month, 1) for moment in moments})


@given(st.text(), st.none() | st.text(), st.none() | st.integers(0, 7), st.dictionaries(st.text(), st.text()))
def test_any_text_is_kept_as_it_is(
    message: str, source: str | None, severity: int | None, extra: dict[str, str]
) -> None:
    event = event_at(NOON)
    event.message, event.source, event.severity, event.fields = message, source, severity, extra
    row = columns_of(pack_row(event, pack_decision("Log_only", "NETO", 1, 1, "prod")))

    assert row["message"] == message.encode()
    assert row["source"] == (None if source is None else source.encode())
    assert row["syslog_severity"] == (None if severity is None else severity.to_bytes(2, "big"))
    raw = row["raw"]
    assert raw is not None
    assert json.loads(raw[1:]) == extra_fields(extra)
