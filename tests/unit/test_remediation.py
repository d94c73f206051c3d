"""What becomes of a dead letter."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.envelope import amend, failed
from mutt.errors import EntryError
from mutt.events import decided_entry
from mutt.fields import iso
from mutt.judge import undecodable
from mutt.remediation import SCAN_MOST, Source, Step, Verdict, alerter_room, as_probe, judge, moog_room

NOW = datetime(2026, 11, 24, 22, 10, tzinfo=UTC)
EVENT_ID = "0193605b-7d4e-7c3a-8f21-0123456789ab"
BASE = 60.0
MOST = 3


def queued(**members: Any) -> bytes:
    mutt = {"event_id": EVENT_ID, "received_at": iso(NOW), "event_timestamp": iso(NOW), "v": 1, **members}
    # A number that no codec keeps when it rewrites the event.
    return (
        b'{"_mutt":' + json.dumps(mutt).encode() + b',"correlation_id":"' + EVENT_ID.encode() + b'",'
        b'"message":"disk full","hostname":"web1","load":1.10,"big":123456789012345678901}'
    )


def dead(age: float, **members: Any) -> bytes:
    at = iso(NOW - timedelta(seconds=age))
    return failed(queued(**members), error_type="refused", message="no", at=at, retry_count=4)


def alert(entry: bytes) -> bytes:
    return decided_entry(entry, handling="Ticket_only", team="NETO", rule_id=1, rule_version=1, environment="prod")


def unreadable(raw: bytes, **members: Any) -> bytes:
    error = {"type": "undecodable", "message": "?", "at": iso(NOW - timedelta(hours=1))}
    mutt = {"event_id": EVENT_ID, "received_at": iso(NOW), "last_error": error, **members}
    return json.dumps({"_mutt": mutt, "raw_base64": base64.b64encode(raw).decode()}, separators=(",", ":")).encode()


def verdict(entry: bytes, source: Source = Source.ALERTER) -> Verdict | None:
    return judge(entry, source, NOW, BASE, MOST)


def mutt_of(entry: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entry)["_mutt"]
    return found


@pytest.mark.parametrize(("attempts", "wait"), [(0, 60), (1, 120), (2, 180)])
@pytest.mark.parametrize("source", Source)
def test_attempt_n_waits_n_minutes_from_death(attempts: int, wait: int, source: Source) -> None:
    form = alert if source is Source.MOOG else bytes
    assert verdict(form(dead(wait - 1, remediation_attempts=attempts)), source) is None
    found = verdict(form(dead(wait, remediation_attempts=attempts)), source)
    assert found is not None
    assert found.step is Step.REPLAY
    assert mutt_of(found.payload)["remediation_attempts"] == attempts + 1
    assert mutt_of(found.payload)["retry_count"] == 0


@pytest.mark.parametrize("source", Source)
def test_after_the_last_attempt_it_is_given_up_with_its_origin(source: Source) -> None:
    entry = dead(0, remediation_attempts=3)
    assert verdict(entry, source) == (Step.POISON, amend(entry, kind=source.value))


def test_the_event_itself_comes_back_byte_for_byte() -> None:
    entry = dead(60)
    found = verdict(entry)
    assert found is not None
    assert found.payload.endswith(b'"load":1.10,"big":123456789012345678901}')
    assert mutt_of(found.payload)["last_error"] == mutt_of(entry)["last_error"]


@pytest.mark.parametrize("attempts", [0, 3, 9])
def test_what_was_shed_comes_back_at_once_and_spends_nothing(attempts: int) -> None:
    found = verdict(queued(shedding_reason="alert queue at 2000", remediation_attempts=attempts))
    assert found is not None
    assert found.step is Step.REPLAY
    assert mutt_of(found.payload)["remediation_attempts"] == attempts
    assert "shedding_reason" not in mutt_of(found.payload)


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"[]", b'{"message":"no envelope"}', b'{"_mutt":{"v":1}}'])
def test_what_is_no_entry_is_given_up_at_once(garbage: bytes) -> None:
    assert verdict(garbage) == (Step.POISON, garbage)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{}", b'{"_mutt":{"v":1},"message":1}'])
@pytest.mark.parametrize("source", Source)
def test_bytes_that_stay_unreadable_spend_their_attempts_among_the_dead_letters(raw: bytes, source: Source) -> None:
    entry = unreadable(raw)
    for attempt in range(1, MOST + 1):
        found = verdict(entry, source)
        assert found is not None
        assert found.step is Step.KEEP
        assert mutt_of(found.payload)["remediation_attempts"] == attempt
        assert mutt_of(found.payload)["last_error"]["at"] == iso(NOW)
        assert verdict(found.payload, source) is None or attempt == MOST
        entry = unreadable(raw, remediation_attempts=attempt)
    assert verdict(entry, source) == (Step.POISON, amend(entry, kind=source.value))


def test_base64_that_is_none_spends_its_attempts_too() -> None:
    entry = unreadable(b"x").replace(base64.b64encode(b"x"), b"not base64")
    found = verdict(entry)
    assert found is not None
    assert found.step is Step.KEEP


def test_bytes_that_have_become_readable_come_back_as_the_event_that_they_are() -> None:
    found = verdict(unreadable(queued(retry_count=2), remediation_attempts=1))
    assert found is not None
    assert found.step is Step.REPLAY
    assert json.loads(found.payload)["message"] == "disk full"
    assert mutt_of(found.payload)["remediation_attempts"] == 2


def test_a_field_of_the_sender_named_like_the_base64_changes_nothing() -> None:
    entry = dead(60).replace(b'"load":1.10', b'"raw_base64":"eA=="')
    found = verdict(entry)
    assert found is not None
    assert found.step is Step.REPLAY
    assert json.loads(found.payload)["raw_base64"] == "eA=="


@pytest.mark.parametrize("at", ["", "yesterday", "9999-12-31T23:59:59.000000Z"])
def test_a_time_of_death_that_cannot_be_holds_nothing_up(at: str) -> None:
    entry = failed(queued(), error_type="refused", message="no", at=at, retry_count=4)
    found = verdict(entry)
    assert found is not None
    assert found.step is Step.REPLAY


def test_a_clock_that_is_a_little_ahead_does_not_spend_an_attempt_too_early() -> None:
    assert verdict(dead(-5)) is None


@given(st.floats(-1e6, 1e6), st.integers(0, 5), st.floats(0, 86_400))
def test_what_is_due_stays_due(age: float, attempts: int, base: float) -> None:
    entry = dead(age, remediation_attempts=attempts)
    if age >= 0 and judge(entry, Source.ALERTER, NOW, base, MOST) is not None:
        assert judge(entry, Source.ALERTER, NOW + timedelta(hours=1), base, MOST) is not None


def test_a_probe_spends_no_attempt() -> None:
    step, payload = as_probe(alert(dead(1, remediation_attempts=2)))
    assert step is Step.REPLAY
    assert mutt_of(payload)["remediation_attempts"] == 2
    assert mutt_of(payload)["retry_count"] == 0


def test_what_is_no_alert_is_given_up_instead_of_becoming_a_probe() -> None:
    assert as_probe(b"garbage") == Verdict(Step.POISON, b"garbage")
    letter = undecodable(b"garbage", EntryError("no entry"), EVENT_ID, NOW)
    step, payload = as_probe(letter)
    assert step is Step.POISON
    assert mutt_of(payload)["kind"] == "moog"
    assert json.loads(payload)["raw_base64"] == json.loads(letter)["raw_base64"]


@pytest.mark.parametrize(
    ("alerts", "ingest", "room"),
    [
        (0, 0, 50),
        (900, 0, 50),
        (960, 0, 40),
        (999, 0, 1),
        (1000, 0, 0),
        (5000, 0, 0),
        (0, 40, 10),
        (0, 50, 0),
        (0, 99, 0),
    ],
)
def test_the_alerters_letters_need_a_calm_alert_queue_and_half_an_ingest_queue(
    alerts: int, ingest: int, room: int
) -> None:
    assert alerter_room(alerts, 1000, ingest, 100) == room


@pytest.mark.parametrize(
    ("alerts", "closed", "room"), [(0, True, 1000), (0, False, 0), (400, True, 600), (2000, True, 0)]
)
def test_the_forwarders_letters_need_a_closed_circuit(alerts: int, closed: bool, room: int) -> None:
    assert moog_room(alerts, 1000, circuit_closed=closed) == room


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_scan_is_bounded_and_never_overfills(alerts: int, warn: int, ingest: int, cap: int) -> None:
    for room in (alerter_room(alerts, warn, ingest, cap), moog_room(alerts, warn, circuit_closed=True)):
        assert 0 <= room <= SCAN_MOST
        assert alerts + room <= max(alerts, warn)
