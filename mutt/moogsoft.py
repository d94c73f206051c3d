"""An alert as Moogsoft wants it: signature, severity and the two payload profiles."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import msgspec

from mutt.events import DecidedEvent
from mutt.pairs import Problem, interface_of, interface_span, match, names_state, problem_of
from mutt.patterns import MESSAGES_REMEMBERED, REMEMBERED_MAX, digits_alike, pattern_of

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


class Alert(NamedTuple):
    """An alert's JSON; `order_key` is what must not overtake each other: the signature of a problem with a clear.

    It is None for all else: two alerts of one signature without a clear mean the same in either order, a clear and its
    problem do not.
    """

    order_key: str | None
    payload: bytes


class _Read(NamedTuple):
    """What an alert says that its entry does not."""

    signature: str
    kind: str
    source: str
    severity: int
    is_ordered: bool


class _Message(NamedTuple):
    """What messages that differ in digits only have in common; `interface` is where one is named."""

    pattern: str
    names_state: bool
    interface: tuple[int, int] | None


class _CustomInfo(msgspec.Struct, gc=False):
    team: str
    handling: str
    rule_id: int | None
    rule_version: int | None
    environment: str
    correlation_id: str
    event: msgspec.Raw


class _Onprem(msgspec.Struct, gc=False, rename={"kind": "type", "of": "class"}):
    signature: str
    source_id: str
    external_id: str
    manager: str
    source: str
    of: str
    agent: str
    agent_location: str
    kind: str
    severity: int
    description: str
    agent_time: int
    custom_info: _CustomInfo


class _Tags(msgspec.Struct, gc=False):
    external_id: str
    team: str
    handling: str
    rule_id: int | None
    environment: str
    correlation_id: str
    event: msgspec.Raw


class _Saas(msgspec.Struct, gc=False, rename={"of": "class"}):
    check: str
    description: str
    severity: int
    source: str
    of: str
    service: tuple[str]
    time: int
    dedupe_key: str
    manager: str
    tags: _Tags


def signature(decided: DecidedEvent) -> str:
    """Return `host::source::subject`, the same for every repetition of one problem and for its clear."""
    return _read(decided).signature


def severity(decided: DecidedEvent) -> int:
    """Return Moogsoft's severity: 0 for a clear, else by syslog severity, else by handling."""
    return _read(decided).severity


def _onprem(decided: DecidedEvent, read: _Read) -> _Onprem:
    """Return the alert as the on-premises product's REST link access module takes it."""
    event = decided.event
    return _Onprem(
        read.signature,
        event.hostname,
        decided.envelope.event_id,
        MANAGER,
        event.hostname,
        read.source,
        AGENT,
        decided.environment,
        read.kind,
        read.severity,
        event.message,
        int(event.event_timestamp.timestamp()),
        _CustomInfo(
            decided.team,
            decided.handling,
            decided.rule_id,
            decided.rule_version,
            decided.environment,
            event.correlation_id,
            msgspec.Raw(decided.raw_event),
        ),
    )


def _saas(decided: DecidedEvent, read: _Read) -> _Saas:
    """Return the alert as the cloud product's events API takes it."""
    event = decided.event
    return _Saas(
        read.kind,
        event.message,
        read.severity,
        event.hostname,
        read.source,
        (decided.team,),
        int(event.event_timestamp.timestamp()),
        read.signature,
        MANAGER,
        _Tags(
            decided.envelope.event_id,
            decided.team,
            decided.handling,
            decided.rule_id,
            decided.environment,
            event.correlation_id,
            msgspec.Raw(decided.raw_event),
        ),
    )


PROFILES: dict[str, Callable[[DecidedEvent, _Read], msgspec.Struct]] = {"onprem": _onprem, "saas": _saas}


def alert_of(decided: DecidedEvent, profile: str) -> Alert:
    """Return the alert as it is sent."""
    read = _read(decided)
    return Alert(read.signature if read.is_ordered else None, _encode(PROFILES[profile](decided, read)))


def joined(payloads: Sequence[bytes], *, batch: bool) -> bytes:
    """Return a request's JSON body: the one alert, or `{"events":[…]}`."""
    return b'{"events":[' + b",".join(payloads) + b"]}" if batch else payloads[0]


def body_of(alerts: list[DecidedEvent], profile: str, *, batch: bool) -> bytes:
    """Return the body of a request with these alerts."""
    return joined([alert_of(decided, profile).payload for decided in alerts], batch=batch)


def _read(decided: DecidedEvent) -> _Read:
    event = decided.event
    source = event.source or ("snmp" if event.trap_oid else "syslog")
    level = event.severity
    weight = SEVERITY_OF_HANDLING.get(decided.handling, DEFAULT_SEVERITY) if level is None else SEVERITY[level]
    message = _message(event.message)
    found = match(event) if message.names_state or event.trap_oid else None
    if found is not None:
        kind = found.family.name
        subject = f"{kind}:{found.instance}" if found.instance else kind
        if found.is_clear:
            weight = CLEAR
    else:
        kind = "unhandled" if decided.rule_id is None else f"rule-{decided.rule_id}"
        subject = f"{kind}:{message.pattern}"
        if interface := interface_of(event, message.interface):
            subject = f"{subject}:{interface}"
    text = _bounded(f"{event.hostname.lower().rstrip('.')}::{source}::{subject}")
    return _Read(text, kind, source, weight, found is not None)


def _message(text: str) -> _Message:
    data = text.encode()
    return _known(digits_alike(data)) if len(data) <= REMEMBERED_MAX else _known.__wrapped__(data)


@lru_cache(MESSAGES_REMEMBERED)
def _known(message: bytes) -> _Message:
    return _Message(pattern_of(message.decode()).hash, names_state(message), interface_span(message))


def _bounded(text: str) -> str:
    data = text.encode()
    if len(data) <= MAX_SIGNATURE:
        return text
    digest = sha256(data).hexdigest()[:32]
    return data[: MAX_SIGNATURE - len(digest) - 1].decode(errors="ignore") + "~" + digest
