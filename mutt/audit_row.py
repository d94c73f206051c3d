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
ID_BYTES = 16

_int16 = Struct("!ih").pack
_int32 = Struct("!ii").pack
_length = Struct("!i").pack
_raw = Struct("!ib").pack  # the length of raw, and the version of jsonb
# The number of columns, then length and value of the first five, then the length of hostname.
_head = Struct("!h iq i16s i16s iq").pack
_timestamp = Struct("!q").unpack_from
_key = Struct("!q i16s").unpack_from
_SEVERITIES = {None: NULL} | {level: _int16(2, level) for level in range(8)}
_TIMESTAMP_OFFSET = 6
_encode = msgspec.json.Encoder().encode


def pack_row(event: QueuedEvent, decision: bytes) -> bytes:
    """Return an event's row; `decision` is pack_decision's. Raises EntryError for text that is not Unicode."""
    event_id = bytes.fromhex(event.envelope.event_id.replace("-", ""))
    same = event.correlation_id == event.envelope.event_id
    try:
        return pack(
            microseconds(event.event_timestamp),
            event_id,
            event_id if same else bytes.fromhex(event.correlation_id.replace("-", "")),
            microseconds(event.received_at),
            event.severity,
            event.hostname,
            event.message.encode(),
            event.source,
            event.trap_oid,
            _encode(extra_fields(event.fields)),
            decision,
        )
    except UnicodeEncodeError as error:
        raise EntryError(f"the event holds text that is not Unicode: {error}") from error


def pack(  # noqa: PLR0917  # called for every event, where positions cost less than names
    event_timestamp: int,
    event_id: bytes,
    correlation_id: bytes,
    received_at: int,
    severity: int | None,
    hostname: str,
    message: bytes,
    source: str | None,
    trap_oid: str | None,
    raw: bytes,
    decision: bytes,
) -> bytes:
    """Return a row of what its columns hold; times in microseconds since EPOCH, ids as their 16 bytes."""
    host = hostname.encode()
    return b"".join(
        (
            _head(16, 8, event_timestamp, 16, event_id, 16, correlation_id, 8, received_at),
            _SEVERITIES[severity],
            _length(len(host)),
            host,
            _length(len(message)),
            message,
            NULL if source is None else _source(source),
            NULL if trap_oid is None else _text(trap_oid),
            _raw(len(raw) + 1, 1),
            raw,
            decision,
        )
    )


def microseconds(moment: datetime) -> int:
    """Return a time as PostgreSQL counts it: microseconds since EPOCH."""
    since = moment - EPOCH
    return since.days * DAY + since.seconds * 1_000_000 + since.microseconds


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


_source = lru_cache(maxsize=1024)(_text)  # few, where hosts and messages are many
