"""What becomes of an alert after each kind of answer, and what the circuit learns."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.answers import CONNECTION, Outcome, Verdict, classify, unanswered
from mutt.circuit import Result
from mutt.events import decode_decided
from mutt.forwarding import Move, Resolution, RetryPolicy, circuit_result, deadly, resolve
from tests.unit.moog_events import entry_of

NOW = datetime(2026, 11, 24, 22, 10, tzinfo=UTC)
POLICY = RetryPolicy(max_retries=5, base=1.0, cap=60.0)
ENTRY = entry_of("disk full")


def after(status: int, *, retry_count: int = 0, is_probe: bool = False, retry_after: str | None = None) -> Resolution:
    outcome = classify(status, retry_after=retry_after, now=NOW, body=b"why")
    return resolve(ENTRY, retry_count, outcome, POLICY, is_probe=is_probe, jitter=0.0, now=NOW)


@pytest.mark.parametrize("is_probe", [False, True])
def test_a_delivered_alert_is_done(is_probe: bool) -> None:
    assert after(200, is_probe=is_probe) == (Move.DONE, ENTRY, 0.0)


@pytest.mark.parametrize(("spent", "wait"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16)])
def test_a_failure_spends_a_retry_and_waits_as_scheduled(spent: int, wait: float) -> None:
    move, payload, delay = after(503, retry_count=spent)
    assert (move, delay) == (Move.RETRY, wait)
    envelope = decode_decided(payload).envelope
    assert envelope.retry_count == spent + 1
    assert envelope.last_error is not None
    assert envelope.last_error.type == "5xx"
    assert "HTTP 503: why" in envelope.last_error.message
    assert envelope.first_failed_at == "2026-11-24T22:10:00.000000Z"


def test_the_failure_past_the_last_retry_is_the_end() -> None:
    move, payload, _ = after(503, retry_count=5)
    assert move is Move.DEAD
    assert decode_decided(payload).envelope.retry_count == 6


@pytest.mark.parametrize("is_probe", [False, True])
def test_a_refused_alert_is_dead_at_once_and_keeps_its_count(is_probe: bool) -> None:
    move, payload, _ = after(400, retry_count=2, is_probe=is_probe)
    assert move is Move.DEAD
    assert decode_decided(payload).envelope.retry_count == 2


@pytest.mark.parametrize("is_probe", [False, True])
def test_throttling_waits_as_told_and_changes_nothing(is_probe: bool) -> None:
    assert after(429, retry_after="7", is_probe=is_probe) == (Move.WAIT, ENTRY, 7.0)
    assert after(429, is_probe=is_probe) == (Move.WAIT, ENTRY, POLICY.base)
    assert after(429, retry_after="0").delay > 0


def test_misconfiguration_hands_back_unchanged() -> None:
    assert after(401) == (Move.FRONT, ENTRY, 0.0)
    assert after(302, retry_count=5) == (Move.FRONT, ENTRY, 0.0)


@pytest.mark.parametrize("status", [401, 500])
def test_a_failed_probe_goes_behind_the_queue_unchanged(status: int) -> None:
    assert after(status, retry_count=5, is_probe=True) == (Move.BEHIND, ENTRY, 0.0)


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (classify(200, now=NOW), Result.WELL),
        (classify(400, now=NOW), Result.WELL),
        (classify(500, now=NOW), Result.FAILED),
        (classify(408, now=NOW), Result.FAILED),
        (unanswered(CONNECTION, "refused"), Result.FAILED),
        (classify(401, now=NOW), Result.MISCONFIGURED),
        (classify(429, now=NOW), Result.UNKNOWN),
    ],
)
def test_the_circuit_learns_what_the_answer_says_of_moogsoft(outcome: Outcome, result: Result) -> None:
    assert circuit_result(outcome) is result


@given(st.sampled_from(Verdict), st.integers(0, 10), st.booleans(), st.floats(0, 1), st.text(max_size=2000))
def test_every_outcome_keeps_the_event_byte_for_byte(
    verdict: Verdict, spent: int, is_probe: bool, jitter: float, message: str
) -> None:
    entry = entry_of("x", fields={"big": 12345678901234567890123, "list": [1.10, {}]})
    outcome = Outcome(verdict, "5xx", message, after=3.0)
    resolution = resolve(entry, spent, outcome, POLICY, is_probe=is_probe, jitter=jitter, now=NOW)
    raw = decode_decided(entry).raw_event
    assert decode_decided(resolution.payload).raw_event == raw
    assert resolution.payload.startswith(b'{"_mutt":{')
    assert 0 <= resolution.delay <= POLICY.cap


def test_a_deadly_alert_says_how_often_its_forwarders_died() -> None:
    letter = msgspec.json.decode(deadly(ENTRY, 1, 6, NOW))
    assert letter["_mutt"]["last_error"]["type"] == "recovered"
    assert "6 times" in letter["_mutt"]["last_error"]["message"]
    assert letter["_mutt"]["retry_count"] == 1
