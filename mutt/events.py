"""Events as they lie in the queues: read, decided, and told apart from what MUTT adds to them."""

from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from mutt.envelope import OPENING, PREFIX, Envelope, LastError, amend, failed, join_entry, split_entry
from mutt.errors import EntryError
from mutt.fields import SEVERITY_NAMES, iso, parse_timestamp, severity
from mutt.ids import is_uuid

__all__ = [
    "SEVERITY_NAMES",
    "DecidedEvent",
    "Envelope",
    "LastError",
    "QueuedEvent",
    "amend",
    "decide_anew",
    "decided_entry",
    "decision_members",
    "decode_decided",
    "decode_entry",
    "event_severity",
    "extra_fields",
    "failed",
    "iso",
    "join_entry",
    "joined",
    "parse_timestamp",
    "severity",
    "split_entry",
]

# The event's fields that have a column of their own in the audit table.
COLUMNS = frozenset({"message", "hostname", "source", "syslog_severity", "trap_oid", "correlation_id"})
MEMBER = b'"_mutt"'
UNREADABLE = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)


class QueuedEvent(msgspec.Struct):
    """An event of a queue; severity is 0 to 7, the OID has no leading dot, both times are UTC."""

    entry: bytes
    envelope: Envelope
    fields: dict[str, Any]
    message: str
    hostname: str
    source: str | None
    severity: int | None
    trap_oid: str | None
    correlation_id: str
    event_timestamp: datetime
    received_at: datetime


class DecidedEvent(msgspec.Struct):
    """An event with what the rules decided; `raw_event` is the event's JSON as it lies in the entry."""

    envelope: Envelope
    event: QueuedEvent
    handling: str
    team: str
    rule_id: int | None
    rule_version: int | None
    environment: str
    raw_event: bytes


class _Decided(msgspec.Struct):
    mutt: Envelope = msgspec.field(name="_mutt")
    event: msgspec.Raw
    handling: str
    team: str
    environment: str
    rule_id: int | None = None
    rule_version: int | None = None


_fields = msgspec.json.Decoder(dict[str, Any])
_decided = msgspec.json.Decoder(_Decided)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def decode_entry(entry: bytes) -> QueuedEvent:
    """Read an entry of the ingest queue; raises EntryError, with the reason, where it can never be read."""
    try:
        if not entry.startswith(OPENING) or entry.count(MEMBER) > 1:
            # Perhaps JSON all the same, written by hand, but later steps take entries apart by their bytes.
            split_entry(entry)
        fields = _fields.decode(entry)
        envelope = msgspec.convert(fields.pop("_mutt", None), Envelope)
    except (EntryError, *UNREADABLE) as error:
        raise EntryError(f"the entry is not readable: {error}") from error
    return _event(entry, envelope, fields)


def decode_decided(data: bytes) -> DecidedEvent:
    """Read an entry of the alert queue, its retries, its dead letters or the pending audit; raises EntryError."""
    try:
        decided = _decided.decode(data)
        raw = bytes(decided.event)
        fields = _fields.decode(raw)
    except UNREADABLE as error:
        raise EntryError(f"the entry is not readable: {error}") from error
    return DecidedEvent(
        decided.mutt,
        _event(data, decided.mutt, fields),
        decided.handling,
        decided.team,
        decided.rule_id,
        decided.rule_version,
        decided.environment,
        raw,
    )


def decided_entry(
    entry: bytes, *, handling: str, team: str, rule_id: int | None, rule_version: int | None, environment: str
) -> bytes:
    """Return the entry of an alert: the event's bytes and `_mutt` as they are, with what was decided."""
    mutt, event = split_entry(entry)
    return joined(mutt, event, decision_members(handling, team, rule_id, rule_version, environment))


def joined(mutt: bytes, event: bytes, members: bytes) -> bytes:
    """Return the entry of an alert, of the bytes of its `_mutt`, of its event and of decision_members."""
    return PREFIX + mutt + b',"event":' + event + b"," + members


@lru_cache(maxsize=4096)
def decision_members(
    handling: str, team: str, rule_id: int | None, rule_version: int | None, environment: str
) -> bytes:
    """Return the end of an alert's entry: what was decided, which is the same for many events."""
    decision = {
        "handling": handling,
        "team": team,
        "rule_id": rule_id,
        "rule_version": rule_version,
        "environment": environment,
    }
    return _encode(decision)[1:]


def decide_anew(
    entry: bytes, *, handling: str, team: str, rule_id: int | None, rule_version: int | None, environment: str
) -> bytes:
    """Return a decided entry with another decision."""
    mutt, rest = split_entry(entry)
    decision = (handling, team, rule_id, rule_version, environment)
    names = ("handling", "team", "rule_id", "rule_version", "environment")
    members = _members.decode(rest) | {
        name: msgspec.Raw(_encode(value)) for name, value in zip(names, decision, strict=True)
    }
    return join_entry(mutt, _encode(members))


def extra_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what no column of the audit table holds, the sender's own timestamp and severity text included."""
    return {name: value for name, value in fields.items() if name not in COLUMNS}


def event_severity(fields: dict[str, Any], level: Any) -> int | None:
    """Return an event's severity: `level`, its syslog_severity; where that is absent, what the text `severity` says."""
    if level is None and isinstance(fields.get("severity"), str):
        level = fields["severity"]
    return severity(level)


def _event(entry: bytes, envelope: Envelope, fields: dict[str, Any]) -> QueuedEvent:
    if not is_uuid(envelope.event_id):
        raise EntryError(f"`_mutt.event_id` has to be a UUID, not {envelope.event_id!r:.60}")
    oid = _text(fields, "trap_oid")
    correlation_id = _text(fields, "correlation_id") or envelope.event_id
    if not is_uuid(correlation_id):
        raise EntryError(f"correlation_id has to be a UUID, not {correlation_id!r:.60}")
    return QueuedEvent(
        entry,
        envelope,
        fields,
        _text(fields, "message") or "",
        _text(fields, "hostname") or "",
        _text(fields, "source"),
        event_severity(fields, fields.get("syslog_severity")),
        oid.removeprefix(".") if oid else None,
        correlation_id,
        _time("event_timestamp", envelope.event_timestamp or envelope.received_at),
        _time("received_at", envelope.received_at),
    )


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise EntryError(f"{name} has to be text, not {type(value).__name__}")


def _time(name: str, text: str) -> datetime:
    moment = parse_timestamp(text)
    if moment is None:
        raise EntryError(f"`_mutt.{name}` has to be a time in ISO 8601, not {text!r:.60}")
    return moment
