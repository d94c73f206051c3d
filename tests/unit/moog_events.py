"""Decided events as the forwarder reads them, made from a few words."""

from typing import Any

import msgspec

from mutt.events import DecidedEvent, QueuedEvent, decided_entry, decode_decided

EVENT_ID = "01935f5e-7d4c-7000-8000-000000000001"
CORRELATION_ID = "01935f5e-7d4c-7000-8000-000000000002"
MOMENT = "2026-11-24T22:10:00.123456Z"


def entry_of(
    message: str,
    *,
    hostname: str = "core1.example",
    handling: str = "Page_and_ticket",
    rule_id: int | None = 12,
    event_id: str = EVENT_ID,
    fields: dict[str, Any] | None = None,
    **named: Any,
) -> bytes:
    """Return a decided entry; `named` are event fields such as source, syslog_severity, trap_oid."""
    event = {
        "_mutt": {"v": 1, "event_id": event_id, "received_at": MOMENT, "event_timestamp": MOMENT},
        "correlation_id": CORRELATION_ID,
        "message": message,
        "hostname": hostname,
        **{name: value for name, value in named.items() if value is not None},
        **(fields or {}),
    }
    return decided_entry(
        msgspec.json.encode(event),
        handling=handling,
        team="NETO",
        rule_id=rule_id,
        rule_version=None if rule_id is None else 3,
        environment="prod",
    )


def decided(message: str, **named: Any) -> DecidedEvent:
    """Return what `entry_of` makes, decoded."""
    return decode_decided(entry_of(message, **named))


def event_of(
    message: str, *, severity: int | None = None, trap_oid: str | None = None, fields: dict[str, Any] | None = None
) -> QueuedEvent:
    """Return an event alone, with any fields, those too that no entry could hold."""
    event = decided("x").event
    event.message, event.severity, event.trap_oid, event.fields = message, severity, trap_oid, fields or {}
    return event
