"""What each answer of Moogsoft means."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutt.answers import CONNECTION, MAX_RETRY_AFTER, TIMED_OUT, Verdict, classify, seconds_to_wait, unanswered

NOW = datetime(2026, 11, 24, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("statuses", "verdict", "reason"),
    [
        ((200, 201, 202, 204), Verdict.SUCCESS, ""),
        ((500, 502, 503, 504, 599), Verdict.RETRY, "5xx"),
        ((408, 425), Verdict.RETRY, "4xx"),
        ((429,), Verdict.THROTTLED, "throttled"),
        ((401, 403, 404, 405, 407, 301, 302, 303, 304, 307, 308), Verdict.MISCONFIGURED, "config"),
        ((400, 402, 406, 409, 410, 413, 415, 422, 431, 451), Verdict.REJECTED, "4xx"),
        ((100, 600, 999), Verdict.RETRY, "5xx"),
    ],
)
def test_a_status_has_one_meaning(statuses: tuple[int, ...], verdict: Verdict, reason: str) -> None:
    for status in statuses:
        outcome = classify(status, now=NOW)
        assert (outcome.verdict, outcome.reason) == (verdict, reason), status
        assert str(status) in outcome.message


@pytest.mark.parametrize(
    ("body", "denied"),
    [
        (b'{"success": false, "message": "no", "statusCode": 1000}', True),
        (b' {"status": "error", "message": "the queue is full"}', True),
        (b'{"status": "FAILED"}', True),
        (b'{"success": true, "message": "Processed 1 events", "statusCode": 0}', False),
        (b'{"status": "ok", "errors": [], "error": null}', False),
        (b'{"success": "false", "status": 500}', False),
        (b'["error"]', False),
        (b"error", False),
        (b"", False),
        (b"\xff{", False),
        (b'{"a":' * 100_000, False),
    ],
)
def test_a_success_counts_unless_its_body_says_in_so_many_words_that_it_failed(body: bytes, denied: bool) -> None:
    outcome = classify(200, now=NOW, body=body)
    assert outcome.verdict is (Verdict.RETRY if denied else Verdict.SUCCESS)
    assert outcome.reason == ("5xx" if denied else "")
    assert outcome.message == (f"HTTP 200: {body.decode().strip()}" if denied else "HTTP 200")


@given(st.binary())
def test_any_body_is_read_without_an_error(body: bytes) -> None:
    assert classify(200, now=NOW, body=body).message.startswith("HTTP 200")


def test_no_answer_is_tried_again() -> None:
    assert unanswered(TIMED_OUT, "10 s").verdict is Verdict.RETRY
    assert unanswered(CONNECTION, "refused").reason == "connection"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("999999999999999999999", MAX_RETRY_AFTER),
        ("Tue, 24 Nov 2026 22:10:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 22:09:00 GMT", 0.0),
        ("Wed, 24 Nov 2027 22:10:00 GMT", MAX_RETRY_AFTER),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_read_without_an_error(header: str) -> None:
    seconds = seconds_to_wait(header, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


def test_a_throttling_answer_carries_the_wait() -> None:
    assert classify(429, retry_after="3", now=NOW).after == 3.0
    assert classify(429, now=NOW).after is None
