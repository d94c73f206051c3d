"""An event's journey: the sentence, the stations and the bar."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mutt.bar import bar
from mutt.events import amend, decided_entry, failed, iso
from mutt.journey import Attempt, Facts, Journey, Touch, as_json, duration, journey, offset, ordinal
from mutt.whereabouts import Find, Place, read_find
from tests.harness.entries import queue_entry

AT = datetime(2026, 11, 24, 22, 41, 7, 204000, UTC)


UNMATCHED: dict[str, Any] = {"handling": None, "audited_at": None, "rule_id": None}


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def told(**changes: Any) -> Journey:
    facts: dict[str, Any] = {
        "received_at": AT,
        "event_timestamp": AT,
        "now": after(60),
        "handling": "Page_and_ticket",
        "team": "CORE",
        "rule_id": 118,
        "environment": "prod",
        "audited_at": after(0.047),
        "looked": True,
    }
    return journey(Facts(**(facts | changes)))


def find(place: Place, *, decided: bool = True, ahead: int | None = None, **envelope: Any) -> Find:
    event_id, entry = queue_entry("BGP down")
    if decided:
        entry = decided_entry(
            entry, handling="Page_and_ticket", team="CORE", rule_id=118, rule_version=1, environment="prod"
        )
    entry = amend(entry, **envelope) if envelope else entry
    member = event_id.encode() if place is Place.RETRY else b""
    found = read_find(event_id, place, f"mutt:{place}", member + entry, ahead=ahead)
    assert found is not None
    return found


def dead(place: Place, kind: str, message: str, *, decided: bool = True, **envelope: Any) -> Find:
    found = find(place, decided=decided, **envelope)
    entry = failed(found.entry, error_type=kind, message=message, at=iso(AT), retry_count=6)
    again = read_find(found.event_id, place, found.key, entry)
    assert again is not None
    return again


def test_a_delivered_page_says_how_long_and_how_often() -> None:
    silent = Attempt(after(10.06), 1, None, "retry: no answer within 10 s")
    taken = Attempt(after(11.42), 2, 200, "success")
    found = told(attempts=[silent, taken])
    assert found.title == "Paged CORE: Moogsoft took it after 11.42 s, on the second attempt"
    assert (found.state, found.under_way) == ("ok", False)
    assert [step.title for step in found.steps] == [
        "Received",
        "Matched by rule 118",
        "Audited",
        "Attempt 1: no answer",
        "Attempt 2: Moogsoft answered 200",
    ]
    assert [step.state for step in found.steps] == ["ok", "ok", "ok", "warn", "ok"]
    assert [(round(span.start, 3), round(span.end, 3), span.state) for span in found.spans] == [
        (0, 0.047, "data"),
        (0.047, 10.06, "warn"),
        (10.06, 11.42, "ok"),
    ]


@pytest.mark.parametrize(
    ("facts", "state", "title"),
    [
        ({"handling": "Log_only", "rule_id": 203}, "nothing", "Logged only, by rule 203"),
        ({"handling": "Suppress"}, "nothing", "Suppressed, by rule 118: kept in the log alone"),
        ({"handling": "Unhandled", "rule_id": None}, "nothing", "No rule matched: kept in the log and counted by"),
        ({"finds": [find(Place.ALERTS, ahead=3)]}, "waiting", "On its way to Moogsoft: waits in the alert queue, 3"),
        ({"finds": [find(Place.SENDING)]}, "running", "On its way to Moogsoft: a forwarder has it in hand"),
        ({"finds": [find(Place.RETRY, retry_count=2)]}, "warn", "Not at Moogsoft yet after 2 attempts"),
        ({"finds": [dead(Place.MOOG_DEAD, "4xx", "HTTP 422")]}, "critical", "Dead: Moogsoft refused it, HTTP 422"),
        ({"finds": [dead(Place.MOOG_DEAD, "timeout", "silent")]}, "critical", "Dead: Moogsoft did not take it, silent"),
        (
            {"finds": [dead(Place.POISON, "4xx", "HTTP 422", remediation_attempts=3)]},
            "critical",
            "Dead: Moogsoft refused it, HTTP 422, after 3 replays",
        ),
        (
            {"handling": None, "audited_at": None, "finds": [find(Place.INGEST, decided=False, ahead=5)]},
            "waiting",
            "Waits to be matched, 5 in front of it",
        ),
        (UNMATCHED | {"finds": [find(Place.MATCHING, decided=False)]}, "running", "An alerter has it in hand"),
        (
            {
                "handling": None,
                "audited_at": None,
                "finds": [find(Place.ALERTER_DEAD, decided=False, shedding_reason="queue")],
            },
            "warn",
            "Held back while the alert queue was too long",
        ),
        (
            {"handling": None, "audited_at": None, "finds": [dead(Place.ALERTER_DEAD, "22021", "bad", decided=False)]},
            "critical",
            "Dead before it was matched: bad",
        ),
        ({"audited_at": None, "finds": [find(Place.PENDING)], "handling": "Log_only"}, "nothing", "Logged only"),
        ({"now": after(3)}, "running", "A page for CORE, on its way to Moogsoft"),
        ({}, "nodata", "A page for CORE; no attempt to deliver it is on record"),
        ({"complete": False}, "nodata", "A page for CORE; no attempt to deliver it is on record; the look through"),
        ({"attempts": [Attempt(after(1), 1, 422, "rejected: HTTP 422")]}, "critical", "Moogsoft refused it, HTTP 422;"),
        ({"attempts": [Attempt(after(1), 1, 503, "retry: HTTP 503")]}, "warn", "Moogsoft has not taken it: HTTP 503"),
    ],
)  # fmt: skip
def test_every_end_and_every_wait_has_its_sentence(facts: dict[str, Any], state: str, title: str) -> None:
    found = told(**facts)
    assert found.state == state
    assert found.title.startswith(title)


def test_a_refusal_in_quarantine_names_its_reason() -> None:
    event_id, entry = queue_entry()
    entry = (
        b'{"_mutt":' + entry.partition(b'"_mutt":')[2].partition(b"}")[0] + b',"error":"hostname is empty"},"raw":"x"}'
    )
    found = read_find(event_id, Place.QUARANTINE, "mutt:quarantine:ingest", entry)
    assert found is not None
    journeyed = told(handling=None, audited_at=None, rule_id=None, finds=[found])
    assert journeyed.title == "Refused at the door: hostname is empty"


def test_an_event_that_no_rule_matched_owes_its_handling_to_no_host() -> None:
    found = told(handling="Unhandled", rule_id=None)
    [matched] = [step for step in found.steps if step.kind == "matched"]
    assert matched.text.startswith("Unhandled. Team ")


def test_what_a_person_did_stands_among_the_attempts() -> None:
    attempts = [Attempt(after(1), 1, 422, "rejected: HTTP 422"), Attempt(after(9), 1, 200, "success")]
    found = told(attempts=attempts, touches=[Touch(after(5), "ann", "REPLAY", "fixed")])
    assert [step.title for step in found.steps[3:]] == [
        "Attempt 1: Moogsoft refused it",
        "Replayed by ann",
        "Attempt 1: Moogsoft answered 200",
    ]


def test_an_alert_that_went_before_its_audit_says_why() -> None:
    found = told(audited_at=after(30), attempts=[Attempt(after(1), 1, 200, "success")])
    audited = next(step for step in found.steps if step.kind == "audited")
    assert "The alert went first: its row was written only later." in audited.text


def test_clocks_that_differ_leave_no_stretch_that_goes_back() -> None:
    found = told(audited_at=after(-2), attempts=[Attempt(after(-1), 1, 200, "success")])
    assert found.spans == []
    assert bar(found.spans) is None


def test_the_sender_s_clock_is_told_beside_ours() -> None:
    found = told(event_timestamp=after(-0.086), sender_time="22:41:07.118")
    assert "86 ms earlier: kept" in found.steps[0].text


@pytest.mark.parametrize(
    ("sender_time", "said"),
    [
        ("2010-01-01T00:00:00Z", "The sender's clock said 2010-01-01T00:00:00Z, more than 30 d before the receipt"),
        (iso(AT), "It brought no time, or one more than 30 d before the receipt or 1 h after it"),
        (None, "It brought no time, or one more than 30 d before the receipt or 1 h after it"),
        ("", "It brought no time, or one more than 30 d before the receipt or 1 h after it"),
    ],
)
def test_a_time_that_does_not_count_is_told_with_the_limits(sender_time: str | None, said: str) -> None:
    found = told(event_timestamp=after(0), sender_time=sender_time)
    assert found.steps[0].text.startswith(said)
    assert found.steps[0].text.endswith(": the receipt counts as the event's time.")


def test_the_bar_is_true_to_scale_and_shows_what_is_short() -> None:
    drawn = bar(
        told(attempts=[Attempt(after(10), 1, None, "retry: x"), Attempt(after(10.001), 2, 200, "success")]).spans
    )
    assert drawn is not None
    assert [round(piece.width) for piece in drawn.pieces] == [5, 995, 3]
    assert all(piece.x + piece.width <= 1000.1 for piece in drawn.pieces)
    assert [words for _, words in drawn.ticks] == ["0", "2 s", "4 s", "6 s", "8 s", "10 s"]


def test_times_are_told_with_units() -> None:
    assert [duration(each) for each in (0, 0.035, 11.42, 185, 18_600)] == [
        "0 ms",
        "35 ms",
        "11.42 s",
        "3 min 5 s",
        "5 h 10 min",
    ]
    assert [offset(each) for each in (0, 0.035, -0.01)] == ["+0", "+35 ms", "\u221210 ms"]
    assert [ordinal(each) for each in (1, 2, 7, 11, 21, 22, 23)] == [
        "first", "second", "7th", "11th", "21st", "22nd", "23rd",
    ]  # fmt: skip


def test_the_api_gets_offsets_in_milliseconds() -> None:
    shown = as_json(told(attempts=[Attempt(after(1), 1, 200, "success")]), AT)
    assert [step["offset_ms"] for step in shown["steps"]] == [0, None, 47, 1000]
    assert shown["steps"][1]["at_latest"] == after(0.047)
