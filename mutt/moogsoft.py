"""An alert as Moogsoft wants it: signature, severity and the two payload profiles."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from mutt.events import DecidedEvent
from mutt.pairs import Match, Problem, interface_of, match, problem_of
from mutt.patterns import pattern_of

__all__ = ["PROFILES", "Alert", "Problem", "alert_of", "body_of", "joined", "problem_of", "severity", "signature"]

MAX_SIGNATURE = 767  # bytes: the longest that Moogsoft's database indexes
MANAGER = "MUTT"
AGENT = "mutt-moog-forwarder"
CLEAR = 0
# Syslog severity 0 to 7 as Moogsoft's: 5 critical, 4 major, 3 minor, 2 warning, 1 indeterminate.
SEVERITY = (5, 5, 5, 4, 3, 2, 1, 1)
SEVERITY_OF_HANDLING = {"Page_and_ticket": 5, "Ticket_only": 4, "Email_only": 3}
DEFAULT_SEVERITY = 3

_encode = msgspec.json.Encoder().encode


def signature(decided: DecidedEvent) -> str:
    """Return `host::source::subject`, the same for every repetition of one problem and for its clear."""
    return _signature(decided, match(decided.event))


def severity(decided: DecidedEvent) -> int:
    """Return Moogsoft's severity: 0 for a clear, else by syslog severity, else by handling."""
    return _severity(decided, match(decided.event))


class Alert(NamedTuple):
    """An alert's JSON; `order_key` is what must not overtake each other: the signature of a problem with a clear.

    It is None for all else: two alerts of one signature without a clear mean the same in either order, a clear and its
    problem do not.
    """

    order_key: str | None
    payload: bytes


def onprem(decided: DecidedEvent, found: Match | None) -> dict[str, Any]:
    """Return the alert as the on-premises product's REST link access module takes it; `found` is its match."""
    event = decided.event
    return {
        "signature": _signature(decided, found),
        "source_id": event.hostname,
        "external_id": decided.envelope.event_id,
        "manager": MANAGER,
        "source": event.hostname,
        "class": _source(decided),
        "agent": AGENT,
        "agent_location": decided.environment,
        "type": _kind(decided, found),
        "severity": _severity(decided, found),
        "description": event.message,
        "agent_time": int(event.event_timestamp.timestamp()),
        "custom_info": {
            "team": decided.team,
            "handling": decided.handling,
            "rule_id": decided.rule_id,
            "rule_version": decided.rule_version,
            "environment": decided.environment,
            "correlation_id": event.correlation_id,
            "event": msgspec.Raw(decided.raw_event),
        },
    }


def saas(decided: DecidedEvent, found: Match | None) -> dict[str, Any]:
    """Return the alert as the cloud product's events API takes it; `found` is its match."""
    event = decided.event
    return {
        "check": _kind(decided, found),
        "description": event.message,
        "severity": _severity(decided, found),
        "source": event.hostname,
        "class": _source(decided),
        "service": [decided.team],
        "time": int(event.event_timestamp.timestamp()),
        "dedupe_key": _signature(decided, found),
        "manager": MANAGER,
        "tags": {
            "external_id": decided.envelope.event_id,
            "team": decided.team,
            "handling": decided.handling,
            "rule_id": decided.rule_id,
            "environment": decided.environment,
            "correlation_id": event.correlation_id,
            "event": msgspec.Raw(decided.raw_event),
        },
    }


PROFILES: dict[str, Callable[[DecidedEvent, Match | None], dict[str, Any]]] = {"onprem": onprem, "saas": saas}


def alert_of(decided: DecidedEvent, profile: str) -> Alert:
    """Return the alert as it is sent."""
    found = match(decided.event)
    key = None if found is None else _signature(decided, found)
    return Alert(key, _encode(PROFILES[profile](decided, found)))


def joined(payloads: Sequence[bytes], *, batch: bool) -> bytes:
    """Return a request's JSON body: the one alert, or `{"events":[…]}`."""
    return b'{"events":[' + b",".join(payloads) + b"]}" if batch else payloads[0]


def body_of(alerts: list[DecidedEvent], profile: str, *, batch: bool) -> bytes:
    """Return the body of a request with these alerts."""
    return joined([alert_of(decided, profile).payload for decided in alerts], batch=batch)


def _source(decided: DecidedEvent) -> str:
    return decided.event.source or ("snmp" if decided.event.trap_oid else "syslog")


def _kind(decided: DecidedEvent, found: Match | None) -> str:
    if found is not None:
        return found.family.name
    return "unhandled" if decided.rule_id is None else f"rule-{decided.rule_id}"


def _severity(decided: DecidedEvent, found: Match | None) -> int:
    if found is not None and found.is_clear:
        return CLEAR
    level = decided.event.severity
    return SEVERITY_OF_HANDLING.get(decided.handling, DEFAULT_SEVERITY) if level is None else SEVERITY[level]


def _signature(decided: DecidedEvent, found: Match | None) -> str:
    event = decided.event
    if found is not None:
        subject = f"{found.family.name}:{found.instance}" if found.instance else found.family.name
    else:
        parts = [_kind(decided, None), pattern_of(event.message).hash, interface_of(event)]
        subject = ":".join(part for part in parts if part)
    host = event.hostname.lower().rstrip(".")
    return _bounded(f"{host}::{_source(decided)}::{subject}")


def _bounded(text: str) -> str:
    data = text.encode()
    if len(data) <= MAX_SIGNATURE:
        return text
    digest = sha256(data).hexdigest()[:32]
    return data[: MAX_SIGNATURE - len(digest) - 1].decode(errors="ignore") + "~" + digest
