"""Rows of event_audit_log in the form of PostgreSQL's binary COPY (its manual: COPY, "Binary Format").

A row is packed once, when its event has been decided, and is bytes from then on. It begins with event_timestamp
and event_id at fixed offsets: rows sorted as bytes are sorted by the table's key.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from struct import Struct
from uuid import UUID

import msgspec

from mutt.errors import EntryError
from mutt.events import QueuedEvent, extra_fields
from mutt.rules import FORWARDED

# All but audited_at, which is the server's clock at the start of the transaction.
COLUMNS = (
    "event_timestamp",
    "event_id",
    "correlation_id",
    "received_at",
    "syslog_severity",
    "hostname",
    "message",
    "source",
    "trap_oid",
    "raw",
    "forwarded",
    "rule_id",
    "rule_version",
    "handling",
    "team",
    "environment",
)
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no extension
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000  # microseconds

_int16 = Struct("!ih").pack
_int32 = Struct("!ii").pack
_length = Struct("!i").pack
# The number of columns, then length and value of the first five, then the length of hostname.
_head = Struct("!h iq i16s i16s iq").pack
_timestamp = Struct("!q").unpack_from
_key = Struct("!q i16s").unpack_from
_SEVERITIES = {None: NULL} | {level: _int16(2, level) for level in range(8)}
_TIMESTAMP_OFFSET = 6
_encode = msgspec.json.Encoder().encode


def pack_row(event: QueuedEvent, decision: bytes) -> bytes:
    """Return an event's row; `decision` is pack_decision's. Raises EntryError for text that is not Unicode."""
    envelope = event.envelope
    event_id = bytes.fromhex(envelope.event_id.replace("-", ""))
    same = event.correlation_id == envelope.event_id
    correlation_id = event_id if same else bytes.fromhex(event.correlation_id.replace("-", ""))
    since = event.event_timestamp - EPOCH
    received = event.received_at - EPOCH
    try:
        hostname = event.hostname.encode()
        message = event.message.encode()
        raw = _encode(extra_fields(event.fields))
        return b"".join(
            (
                _head(
                    16,
                    8,
                    since.days * DAY + since.seconds * 1_000_000 + since.microseconds,
                    16,
                    event_id,
                    16,
                    correlation_id,
                    8,
                    received.days * DAY + received.seconds * 1_000_000 + received.microseconds,
                ),
                _SEVERITIES[event.severity],
                _length(len(hostname)),
                hostname,
                _length(len(message)),
                message,
                _text(event.source),
                _text(event.trap_oid),
                _length(len(raw) + 1),
                b"\x01",
                raw,
                decision,
            )
        )
    except UnicodeEncodeError as error:
        raise EntryError(f"the event holds text that is not Unicode: {error}") from error


@lru_cache(maxsize=4096)
def pack_decision(handling: str, team: str, rule_id: int | None, rule_version: int | None, environment: str) -> bytes:
    """Return the last six columns, which are the same for every event that a rule decides for a team."""
    return b"".join(
        (
            b"\0\0\0\1" + (b"\1" if handling in FORWARDED else b"\0"),
            NULL if rule_id is None else _int32(4, rule_id),
            NULL if rule_version is None else _int32(4, rule_version),
            _text(handling),
            _text(team),
            _text(environment),
        )
    )


def key_of(row: bytes) -> tuple[UUID, datetime]:
    """Return the key of a packed row: its event_id and event_timestamp."""
    microseconds, _, event_id = _key(row, _TIMESTAMP_OFFSET)
    return UUID(bytes=event_id), EPOCH + timedelta(microseconds=microseconds)


def months(rows: Iterable[bytes]) -> list[date]:
    """Return the first day of each UTC month that packed rows belong to, in order."""
    days = {_timestamp(row, _TIMESTAMP_OFFSET)[0] // DAY for row in rows}
    return sorted({(EPOCH + timedelta(days=day)).date().replace(day=1) for day in days})


def _text(value: str | None) -> bytes:
    if value is None:
        return NULL
    encoded = value.encode()
    return _length(len(encoded)) + encoded
