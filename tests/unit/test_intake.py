import base64
import gzip
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.errors import EntryError
from mutt.events import decided_entry, decode_decided, decode_entry, split_entry
from mutt.intake import Accepted, Intake, Limits, Receipt, Taken
from mutt.records import RecordError

NOW = datetime(2026, 11, 24, 22, 10, 0, 123456, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000 + 123456
NOW_TEXT = "2026-11-24T22:10:00.123456Z"
RECEIPT = Receipt(NOW_US)
REQUIRED = ("timestamp", "message", "hostname")
LIMITS = Limits(body_bytes=100_000, records=50, event_bytes=2000, depth=32)
TRACE = "5f0c7c5e-8f0e-4c8b-9f0a-6d2f7d0a9b11"
EVENT = {"timestamp": "2026-11-24T22:09:59Z", "message": "down", "hostname": "sw1"}

intake = Intake(REQUIRED, LIMITS, os.urandom)


def raw_of(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


def accept(**changes: Any) -> Accepted:
    return intake.accept(raw_of(**changes), RECEIPT)


def refusal(**changes: Any) -> str:
    with pytest.raises(RecordError) as caught:
        accept(**changes)
    assert caught.value.reason == "validation"
    return str(caught.value)


def read(body: bytes, receipt: Receipt = RECEIPT) -> Taken:
    return intake.read(body, "", "application/json", receipt)


def test_an_entry_is_the_record_as_sent_behind_what_mutt_adds() -> None:
    raw = (
        b'{ "timestamp":"2026-11-24T22:09:59Z","message":"down","hostname":"sw1","n":1.10,"big":123456789012345678901 }'
    )

    made = intake.accept(raw, RECEIPT)

    mutt, rest = split_entry(made.entry)
    assert json.loads(mutt) == {
        "v": 1,
        "event_id": made.event_id,
        "received_at": NOW_TEXT,
        "event_timestamp": "2026-11-24T22:09:59.000000Z",
    }
    assert rest == b'{"correlation_id":"' + made.correlation_id.encode() + b'",' + raw[1:]
    assert made.correlation_id == made.event_id
    assert uuid.UUID(made.event_id).version == 7


def test_every_required_field_that_is_missing_or_empty_is_named() -> None:
    values_of_nothing: list[Any] = [None, "", "  ", [], {}]
    for empty in values_of_nothing:
        with pytest.raises(RecordError) as caught:
            intake.accept(json.dumps({"message": empty, "timestamp": empty}).encode(), RECEIPT)
        for name in REQUIRED:
            assert f"{name} is missing or empty" in str(caught.value)


def test_the_epoch_itself_is_a_timestamp() -> None:
    assert decode_entry(accept(timestamp=0).entry).event_timestamp == NOW


def test_other_fields_can_be_required() -> None:
    strict = Intake(("message", "site"), LIMITS, os.urandom)

    with pytest.raises(RecordError, match="site is missing"):
        strict.accept(b'{"message":"m"}', RECEIPT)
    event = decode_entry(strict.accept(b'{"message":"m","site":0}', RECEIPT).entry)
    assert (event.hostname, event.event_timestamp) == ("", NOW)


def test_without_required_fields_an_empty_object_is_an_event() -> None:
    made = Intake((), LIMITS, os.urandom).accept(b"{}", RECEIPT)

    assert decode_entry(made.entry).fields == {"correlation_id": made.event_id}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message", 7),
        ("message", {"text": "x"}),
        ("hostname", ["sw1"]),
        ("hostname", "h" * 256),
        ("source", "s" * 65),
        ("source", 3),
        ("trap_oid", "1.3.a"),
        ("trap_oid", "1..3"),
        ("trap_oid", "1.3.6\n"),
        ("trap_oid", "٣"),
        ("trap_oid", 1.3),
        ("syslog_severity", 8),
        ("syslog_severity", -1),
        ("syslog_severity", "urgent"),
        ("syslog_severity", True),
        ("timestamp", "yesterday"),
        ("timestamp", True),
    ],
)
def test_an_invalid_field_is_named_with_what_would_be_right(field: str, value: Any) -> None:
    assert refusal(**{field: value}).startswith(f"{field} has")


def test_all_faults_of_an_event_are_named_at_once() -> None:
    problem = refusal(hostname=1, syslog_severity="x", timestamp="x")

    assert all(name in problem for name in ("hostname", "syslog_severity", "timestamp"))


def test_values_at_their_limits_and_empty_optional_ones_are_taken() -> None:
    event = decode_entry(accept(hostname="ü" * 255, source="s" * 64, trap_oid=".1.3.6", syslog_severity="err").entry)
    empty = decode_entry(accept(source=None, trap_oid="", syslog_severity="").entry)

    assert (event.severity, event.trap_oid) == (3, "1.3.6")
    assert (empty.severity, empty.trap_oid, empty.source) == (None, None, None)


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        (timedelta(0), True),
        (timedelta(days=29, hours=23, minutes=59), True),
        (timedelta(days=30, seconds=1), False),
        (-timedelta(minutes=59), True),
        (-timedelta(hours=1, seconds=1), False),
        (timedelta(days=20_000), False),
    ],
)
def test_a_timestamp_far_from_the_receipt_stays_in_the_event_alone(age: timedelta, kept: bool) -> None:
    sent = (NOW - age).isoformat()

    event = decode_entry(accept(timestamp=sent).entry)

    assert event.event_timestamp == (NOW - age if kept else NOW)
    assert event.fields["timestamp"] == sent


def test_an_identical_resend_with_a_correlation_id_has_the_same_event_id() -> None:
    first, again, later = accept(correlation_id=TRACE), accept(correlation_id=TRACE), accept(correlation_id=TRACE, n=1)

    assert first.event_id == again.event_id
    assert uuid.UUID(first.event_id).version == 5
    assert first.correlation_id == TRACE
    assert later.event_id != first.event_id


@pytest.mark.parametrize("body", [raw_of(correlation_id=TRACE), b"[%s]" % raw_of(correlation_id=TRACE)])
def test_the_ids_are_the_same_however_the_record_was_wrapped(body: bytes) -> None:
    assert read(body).accepted[0].event_id == accept(correlation_id=TRACE).event_id


def test_a_correlation_id_is_normal_in_the_entry_in_either_case() -> None:
    event = decode_entry(accept(correlation_id=TRACE.upper()).entry)

    assert event.correlation_id == TRACE
    assert "client_correlation_id" not in event.fields


@pytest.mark.parametrize("sent", ["trace-1", 17, ["x"], {"a": 1}, False])
def test_a_correlation_id_that_is_no_uuid_is_kept_beside_a_new_one(sent: Any) -> None:
    made = accept(correlation_id=sent, client_correlation_id="older")

    event = decode_entry(made.entry)
    assert event.correlation_id == made.event_id
    assert event.fields["client_client_correlation_id"] == sent
    assert event.fields["client_correlation_id"] == "older"


@pytest.mark.parametrize("sent", [None, ""])
def test_an_empty_correlation_id_counts_as_absent(sent: Any) -> None:
    made = accept(correlation_id=sent)

    assert made.entry.count(b"correlation_id") == 1
    assert made.correlation_id == made.event_id


@pytest.mark.parametrize(
    "raw",
    [
        b'{"correlation_id":"x","correlation_id":"%s",' % TRACE.encode() + raw_of()[1:],
        b'{"correlation_id":"%s",' % TRACE.encode() + rb'"correl\u0061tion_id":"%s",' % TRACE.encode() + raw_of()[1:],
    ],
)
def test_a_repeated_correlation_id_is_in_the_entry_once(raw: bytes) -> None:
    made = intake.accept(raw, RECEIPT)

    assert made.entry.count(b'"correlation_id"') == 1
    assert decode_entry(made.entry).correlation_id == TRACE


def test_the_header_gives_a_single_event_its_correlation_id_and_a_batch_nothing() -> None:
    receipt = Receipt(NOW_US, TRACE.upper())

    single = read(raw_of(), receipt).accepted[0]
    assert single.correlation_id == TRACE
    assert uuid.UUID(single.event_id).version == 7
    assert read(b"[" + raw_of() + b"]", receipt).accepted[0].correlation_id != TRACE
    assert read(raw_of(correlation_id=str(uuid.UUID(int=1))), receipt).accepted[0].correlation_id != TRACE
    assert read(raw_of(), Receipt(NOW_US, "no-uuid")).accepted[0].correlation_id != "no-uuid"


@pytest.mark.parametrize("name", ['"_mutt"', r'"\u005fmutt"'])
def test_a_senders_own_envelope_is_renamed(name: str) -> None:
    raw = b"{" + name.encode() + b':{"event_id":"forged"},"client__mutt":1,' + raw_of()[1:]

    made = intake.accept(raw, RECEIPT)

    event = decode_entry(made.entry)
    assert event.envelope.event_id == made.event_id
    assert event.fields["client_client__mutt"] == {"event_id": "forged"}
    assert event.fields["client__mutt"] == 1


def test_sanitized_events_are_flagged_and_a_trace_is_carried_on() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    made = intake.accept(rb'{"x":"\u0000",' + raw_of()[1:], Receipt(NOW_US, None, trace))

    event = decode_entry(made.entry)
    assert event.envelope.sanitized
    assert event.envelope.traceparent == trace
    assert event.fields["x"] == "\ufffd"
    assert b"\\u0000" not in made.entry


def test_a_batch_keeps_what_is_good_and_names_what_is_not() -> None:
    bad = [b"nonsense", b'{"message":"\xff"}', b'{"a":"' + b"x" * 3000 + b'"}', b"7"]
    taken = read(b"\n".join([raw_of(), *bad, raw_of()]))

    assert not taken.single
    assert len(taken.accepted) == 2
    assert [item.place for item in taken.rejected] == [1, 2, 3, 4]
    kept = [json.loads(item.quarantine) for item in taken.rejected]
    assert [item.get("raw") for item in kept] == ["nonsense", None, '{"a":"' + "x" * 1994, "7"]
    assert base64.b64decode(kept[1]["raw_base64"]) == bad[1]
    for item, entry in zip(taken.rejected, kept, strict=True):
        assert entry["_mutt"]["error"] == item.error
        assert entry["_mutt"]["received_at"] == NOW_TEXT
    assert "hostname is missing" in taken.rejected[1].error
    assert "at most 2000" in taken.rejected[2].error
    assert len({entry["_mutt"]["event_id"] for entry in kept}) == 4


def test_a_batch_of_which_nothing_can_be_read_is_refused() -> None:
    with pytest.raises(RecordError, match="none of 2 records") as caught:
        read(b"[1,2]")

    assert (caught.value.reason, caught.value.records) == ("json", 2)


def test_a_batch_of_invalid_events_is_taken_as_rejected() -> None:
    taken = read(b'[{"message":"m"},1]')

    assert (len(taken.accepted), len(taken.rejected)) == (0, 2)


def test_an_empty_array_is_a_batch_of_none() -> None:
    assert read(b"[]") == Taken(single=False, accepted=[], rejected=[])


def test_a_single_event_over_the_limit_is_too_large() -> None:
    with pytest.raises(RecordError, match="at most 2000") as caught:
        read(raw_of(message="x" * 3000))
    assert caught.value.reason == "too_large"


def test_a_packed_batch_is_taken() -> None:
    taken = intake.read(gzip.compress(b"[" + raw_of() + b"]"), "gzip", "", RECEIPT)

    assert len(taken.accepted) == 1


texts = st.text(max_size=8) | st.sampled_from(["_mutt", "correlation_id", TRACE, "\x00", "\ud800", "client__mutt"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {"timestamp": st.just("2026-11-24T22:09:59Z"), "message": texts, "hostname": texts},
    optional={"correlation_id": values, "_mutt": values, "severity": values, "source": texts, "trap_oid": texts},
)


@given(st.lists(st.tuples(events, st.dictionaries(texts, values, max_size=3)), max_size=4), st.data())
def test_whatever_is_accepted_can_be_read_back_and_decided(batch: list[Any], data: st.DataObject) -> None:
    ascii_only = data.draw(st.booleans())
    texts_sent = [json.dumps({**extra, **event}, ensure_ascii=ascii_only) for event, extra in batch]
    body = data.draw(st.sampled_from(["[" + ",".join(texts_sent) + "]", "\n".join(texts_sent), "".join(texts_sent)]))
    try:
        taken = read(body.encode("utf-8", "surrogatepass"))
    except RecordError:
        return

    for made in taken.accepted:
        event = decode_entry(made.entry)
        assert (event.envelope.event_id, event.correlation_id) == (made.event_id, made.correlation_id)
        assert "_mutt" not in event.fields
        assert made.entry.startswith(b'{"_mutt":{')
        assert "\x00" not in event.message
        decided = decode_decided(
            decided_entry(
                made.entry, handling="Log_only", team="T", rule_id=None, rule_version=None, environment="prod"
            )
        )
        assert decided.event.fields == event.fields
    for item in taken.rejected:
        assert split_entry(item.quarantine)


@given(st.binary(max_size=100), st.sampled_from(["", "gzip", "deflate"]))
def test_no_body_makes_the_intake_fail_otherwise(noise: bytes, coding: str) -> None:
    for body in (noise, raw_of() + b"\n" + noise, b"[" + noise + b"]", b'{"message":"' + noise + b'",' + raw_of()[1:]):
        try:
            taken = intake.read(body, coding, "", RECEIPT)
        except RecordError:
            continue
        for made in taken.accepted:
            try:
                decode_entry(made.entry)
            except EntryError as error:
                pytest.fail(f"{body!r} was accepted but cannot be read: {error}")
