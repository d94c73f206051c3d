"""Rows of delivery_log in the form of PostgreSQL's binary COPY, packed when the attempt has ended."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from struct import Struct

from mutt.audit_row import DAY, EPOCH, NULL

ATTEMPT_MOST = 2**31 - 1  # the column holds no more, whatever a queue's entry says
COLUMNS = ("event_id", "at", "attempt", "status", "outcome")

_head = Struct("!h i16s iq ii").pack  # the number of columns, then length and value of the first three
_int32 = Struct("!ii").pack
_length = Struct("!i").pack
_at = Struct("!q").unpack_from
_AT_OFFSET = 26


def pack_deliveries(attempts: Iterable[tuple[str, int]], at: datetime, status: int | None, outcome: str) -> list[bytes]:
    """Return the rows of attempts, (event id, number) each, that ended alike; `status` is None without an answer."""
    since = at - EPOCH
    moment = since.days * DAY + since.seconds * 1_000_000 + since.microseconds
    result = _result(status, outcome)
    return [
        _head(5, 16, bytes.fromhex(event_id.replace("-", "")), 8, moment, 4, min(max(number, 0), ATTEMPT_MOST)) + result
        for event_id, number in attempts
    ]


def day_of(row: bytes) -> date:
    """Return the day, in UTC, of a packed row."""
    return (EPOCH + timedelta(microseconds=_at(row, _AT_OFFSET)[0])).date()


@lru_cache(256)
def _result(status: int | None, outcome: str) -> bytes:
    text = outcome.encode("utf-8", "replace")
    return (NULL if status is None else _int32(4, status)) + _length(len(text)) + text
