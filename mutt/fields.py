"""What senders mean: timestamps and severities in the forms that syslog and SNMP tools really send."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

SEVERITY_NAMES = {
    "emerg": 0,
    "emergency": 0,
    "panic": 0,
    "alert": 1,
    "crit": 2,
    "critical": 2,
    "err": 3,
    "error": 3,
    "warning": 4,
    "warn": 4,
    "notice": 5,
    "info": 6,
    "informational": 6,
    "debug": 7,
}
DEBUG = 7
MAX_HOSTNAME = 255  # characters
MAX_SOURCE = 64  # characters
SEVERITIES = {str(number): number for number in range(DEBUG + 1)} | SEVERITY_NAMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds of the year 5138 and milliseconds of the year 1973: no event is dated beyond either by mistake.
MILLISECONDS_FROM = 100_000_000_000

_OID = re.compile(r"\.?[0-9]+(?:\.[0-9]+)*")
_NUMERAL = re.compile(r"[0-9]{9,}(?:\.[0-9]*)?")
_LEAP_SECOND = re.compile(r"(:[0-5][0-9]):60")


def severity(value: Any) -> int | None:
    """Return a syslog severity, 0 to 7, of a number, a digit or a name ("err"); None when it is none of these."""
    if isinstance(value, str):
        return SEVERITIES.get(value.strip().lower())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= DEBUG:
        return value
    return None


def is_oid(value: Any) -> bool:
    """Say whether a value is numbers with dots between them."""
    return isinstance(value, str) and _OID.fullmatch(value) is not None


def parse_timestamp(value: Any) -> datetime | None:
    """Return the time, in UTC, of ISO 8601 / RFC 3339 text or of epoch seconds or milliseconds; None if neither.

    Text without a zone is UTC. A number of digits in a string counts as a number.
    """
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_epoch(value)
    return None


def iso(moment: datetime) -> str:
    """Return a time as MUTT writes it: UTC, microseconds, `Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # isoformat() leaves microseconds out where there are none; asking it for them by name takes twice as long.
    text = moment.isoformat()
    return text[:26] + "Z" if moment.microsecond else text[:19] + ".000000Z"


def _of_text(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _of_unusual_text(text.strip().upper())
    if moment.tzinfo is UTC and text[4] == "-":
        return moment  # what nearly every sender writes
    if _NUMERAL.fullmatch(text):
        # Ten and more digits in a row can also read as a date in basic form, which no sender means.
        return _of_epoch(float(text))
    return _to_utc(moment)


def _of_unusual_text(text: str) -> datetime | None:
    if _NUMERAL.fullmatch(text):
        return _of_epoch(float(text))
    try:
        # RFC 3339 allows a small `z` and the leap second 60, which counts as the second before.
        return _to_utc(datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text)))
    except ValueError:
        return None


def _of_epoch(number: float) -> datetime | None:
    try:
        if not math.isfinite(number):  # (an integer may be too large to ask even that)
            return None
        seconds = number / 1000 if abs(number) >= MILLISECONDS_FROM else number
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _to_utc(moment: datetime) -> datetime | None:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # The first or last day that can be written, moved by its zone past the end.
        return None
