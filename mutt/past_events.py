"""Audited events read back as the events that they were, so that the same code judges them again."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mutt.envelope import Envelope
from mutt.events import QueuedEvent, iso

# The columns that `from_audit` needs, in its order.
COLUMNS = (
    "event_id::text",
    "correlation_id::text",
    "event_timestamp",
    "received_at",
    "hostname",
    "message",
    "source",
    "syslog_severity",
    "trap_oid",
    "raw",
)


def from_audit(row: tuple[Any, ...]) -> QueuedEvent:
    """Return the event of an audit row; it has no entry, since the audit keeps the members but not their order."""
    event_id, correlation_id, at, received, hostname, message, source, level, oid, raw = row
    extra: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    columns = {
        "message": message,
        "hostname": hostname,
        "source": source,
        "syslog_severity": level,
        "trap_oid": oid,
        "correlation_id": correlation_id,
    }
    fields = {**extra, **{name: value for name, value in columns.items() if value is not None}}
    envelope = Envelope(event_id, iso(received), iso(at))
    return QueuedEvent(b"", envelope, fields, message, hostname, source, level, oid, correlation_id, at, received)


def with_entry(event: QueuedEvent) -> QueuedEvent:
    """Return the event with the entry that it might have come in, its members in the order of the audit."""
    entry = msgspec.json.encode({"_mutt": event.envelope, **event.fields})
    return msgspec.structs.replace(event, entry=entry)
