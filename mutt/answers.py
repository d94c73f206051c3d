"""What an answer of Moogsoft means for the alert, for its retries and for the circuit."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec

MISCONFIGURED_STATUSES = frozenset({401, 403, 404, 405, 407})
RETRIED_STATUSES = frozenset({408, 425})
THROTTLED_STATUS = 429
SUCCESS, REDIRECTION, CLIENT_ERROR = 2, 3, 4  # a redirect is not followed: it may carry the key to another host
SHOWN = 200  # characters of an answer that are told to people
FAILED_WORDS = frozenset({"error", "fail", "failed", "failure"})
MAX_RETRY_AFTER = 3600.0  # seconds: what a wrong clock or a typing error asks for is not obeyed for longer


class Verdict(StrEnum):
    """What to do with the alert."""

    SUCCESS = "success"
    RETRY = "retry"
    THROTTLED = "throttled"
    MISCONFIGURED = "misconfigured"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer: `reason` is the metric's label, `after` the seconds that a throttling answer asks for."""

    verdict: Verdict
    reason: str
    message: str
    after: float | None = None

    @property
    def is_success(self) -> bool:
        """Tell whether Moogsoft has the alert."""
        return self.verdict is Verdict.SUCCESS


_decode = msgspec.json.Decoder(dict[str, Any]).decode

TIMED_OUT = "timeout"
CONNECTION = "connection"


def classify(status: int, *, retry_after: str | None = None, now: datetime, body: bytes = b"") -> Outcome:
    """Return what an answer means: what its HTTP status says, unless that is a success which the body denies.

    The start of the body is told to whoever looks for the reason.
    """
    hundreds = status // 100
    if hundreds == SUCCESS and not denies(body):
        return _taken(status)
    text = printable(body[: 4 * SHOWN].decode("utf-8", "replace"))
    message = f"HTTP {status}" + (f": {text}" if text else "")
    if status == THROTTLED_STATUS:
        return Outcome(Verdict.THROTTLED, "throttled", message, seconds_to_wait(retry_after, now))
    if status in MISCONFIGURED_STATUSES or hundreds == REDIRECTION:
        return Outcome(Verdict.MISCONFIGURED, "config", message)
    if hundreds == CLIENT_ERROR:
        return Outcome(Verdict.RETRY if status in RETRIED_STATUSES else Verdict.REJECTED, "4xx", message)
    return Outcome(Verdict.RETRY, "5xx", message)


@cache
def _taken(status: int) -> Outcome:
    return Outcome(Verdict.SUCCESS, "", f"HTTP {status}")


def denies(body: bytes) -> bool:
    """Tell whether a body says in so many words that the request failed: {"success": false}, {"status": "error"}."""
    try:
        said = _decode(body)
    except (ValueError, RecursionError):  # among them msgspec's own
        return False
    status = said.get("status")
    return said.get("success") is False or (isinstance(status, str) and status.lower() in FAILED_WORDS)


def printable(text: str) -> str:
    """Return the start of a foreign text, fit for a log and a terminal."""
    return "".join(character if character.isprintable() else " " for character in text[:SHOWN]).strip()


def unanswered(kind: str, message: str) -> Outcome:
    """Return what no answer means: `kind` is TIMED_OUT or CONNECTION."""
    return Outcome(Verdict.RETRY, kind, message)


def seconds_to_wait(retry_after: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or a date; None where it is missing or unreadable."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=now.tzinfo)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)
