"""What becomes of a dead letter, and how many may come back: decisions alone, no input or output."""

import base64
import binascii
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from mutt.envelope import Envelope, LastError, amend, split_entry
from mutt.errors import EntryError
from mutt.events import decode_decided, decode_entry
from mutt.fields import iso, parse_timestamp
from mutt.retry import remediation_due

SCAN_MOST = 1000  # dead letters looked at in one scan of a queue

_envelope = msgspec.json.Decoder(Envelope)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_UNREADABLE = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)


class Source(StrEnum):
    """Whose dead letters; the values are the label `source` of the replays' metric."""

    ALERTER = "alerter"
    MOOG = "moog"

    def check(self, entry: bytes) -> None:
        """Raise EntryError where the service that this queue belongs to could not read the entry."""
        decode: Callable[[bytes], object] = decode_entry if self is Source.ALERTER else decode_decided
        decode(entry)


class Step(StrEnum):
    """REPLAY puts it behind the queue it came from, KEEP behind the dead letters again, POISON gives it up."""

    REPLAY = "replay"
    KEEP = "keep"
    POISON = "poison"


class Verdict(NamedTuple):
    """Where a dead letter goes, and the bytes that arrive there."""

    step: Step
    payload: bytes


def alerter_room(alerts: int, warn: int, ingest: int, ingest_cap: int) -> int:
    """Return how many of the alerter's dead letters may come back; each may become an alert.

    `alerts` are the queued ones and the retries that wait. The gate is open while they are below the warn threshold and
    the ingest queue is below half its cap.
    """
    return max(0, min(SCAN_MOST, warn - alerts, ingest_cap // 2 - ingest))


def moog_room(alerts: int, warn: int, *, circuit_closed: bool) -> int:
    """Return how many of the forwarder's dead letters may come back: none while Moogsoft is not known to be well."""
    return max(0, min(SCAN_MOST, warn - alerts)) if circuit_closed else 0


def judge(entry: bytes, source: Source, now: datetime, base: float, most: int) -> Verdict | None:
    """Decide on a dead letter; None means that it is not due yet. `base` is in seconds, `most` counts attempts.

    What was shed was not at fault: it comes back at once, and that spends no attempt.
    """
    try:
        mutt, rest = split_entry(entry)
        envelope = _envelope.decode(mutt)
    except (EntryError, *_UNREADABLE):
        # No entry of MUTT's: it cannot carry a count of attempts, and a queue could only give it back.
        return Verdict(Step.POISON, entry)
    if envelope.shedding_reason is not None:
        return Verdict(Step.REPLAY, amend(entry, retry_count=0, shedding_reason=None))
    if envelope.remediation_attempts >= most:
        # Its kind says which queue a person may send it back to.
        return Verdict(Step.POISON, amend(entry, kind=source.value))
    if not is_due(envelope, now, base):
        return None
    return _attempt(entry, rest, source, now, envelope.remediation_attempts + 1)


def _attempt(entry: bytes, rest: bytes, source: Source, now: datetime, attempts: int) -> Verdict:
    raw = _raw(rest)
    if raw is None:
        return Verdict(Step.REPLAY, amend(entry, retry_count=0, remediation_attempts=attempts))
    try:
        # A version that reads more may have come since.
        source.check(raw)
        return Verdict(Step.REPLAY, amend(raw, retry_count=0, remediation_attempts=attempts))
    except EntryError as error:
        failure = LastError("undecodable", str(error), iso(now))
        return Verdict(Step.KEEP, amend(entry, remediation_attempts=attempts, last_error=failure))


def as_probe(entry: bytes) -> Verdict:
    """Decide on a dead letter as the alert that finds out whether Moogsoft is well again: no attempt is spent.

    What is no alert can never be sent: the forwarder would only wrap it once more, and it would come round again.
    """
    try:
        Source.MOOG.check(entry)
        return Verdict(Step.REPLAY, amend(entry, retry_count=0, shedding_reason=None))
    except EntryError:
        with suppress(EntryError):
            return Verdict(Step.POISON, amend(entry, kind=Source.MOOG.value))
        return Verdict(Step.POISON, entry)


def is_due(envelope: Envelope, now: datetime, base: float) -> bool:
    """Tell whether attempt n = attempts so far + 1 may be made: n x `base` seconds after death."""
    died = parse_timestamp(envelope.last_error.at) if envelope.last_error else None
    if died is None:
        return True
    wait, passed = remediation_due(envelope.remediation_attempts, base), (now - died).total_seconds()
    # A death further in the future than the wait is long is a wrong clock, which must not hold it for ever.
    return passed >= wait or passed < -wait


def _raw(rest: bytes) -> bytes | None:
    """Return the bytes that a dead letter keeps as Base64; None where it is an event, whatever its fields are named."""
    try:
        members = _members.decode(rest)
        if members.keys() != {"raw_base64"}:
            return None
        return base64.b64decode(_text.decode(members["raw_base64"]), validate=True)
    except (*_UNREADABLE, binascii.Error):
        return b""
