"""The shapes of an event's journey and of the unmatched patterns, for the API's description."""

from typing import Any

from pydantic import BaseModel

from services.web_ui.schemas import Delivery


class Step(BaseModel):
    """One station; `at` is null where its time is on no record, `at_latest` is the latest that it can have been."""

    kind: str
    state: str
    title: str
    text: str
    at: str | None
    at_latest: str | None
    offset_ms: int | None
    event_id: str | None


class Span(BaseModel):
    """A stretch of time since the receipt."""

    from_ms: int
    to_ms: int
    what: str
    state: str


class Journey(BaseModel):
    """What became of the event; `state` is ok, warn, critical, running, waiting, nothing or nodata."""

    state: str
    title: str
    under_way: bool
    steps: list[Step]
    spans: list[Span]


class Body(BaseModel):
    """JSON text; `exact` is false where it was rebuilt, which `note` says."""

    body: str
    bytes: int
    exact: bool
    note: str


class Sent(Body):
    """What Moogsoft gets, or got."""

    profile: str


class Place(BaseModel):
    """Where in Redis the event is; `ahead` counts what leaves before it."""

    place: str
    key: str
    ahead: int | None
    due: str | None
    retry_count: int
    error: dict[str, Any] | None


class TracedEvent(BaseModel):
    """An event; what only the audit or the alerter says is null before either has."""

    event_id: str
    correlation_id: str | None
    event_timestamp: str
    received_at: str
    audited_at: str | None
    hostname: str | None
    message: str | None
    source: str | None
    syslog_severity: int | None
    trap_oid: str | None
    rule_id: int | None
    rule_version: int | None
    team: str | None
    handling: str | None
    environment: str | None
    forwarded: bool | None
    raw: Any
    deliveries: list[Delivery]
    journey: Journey
    places: list[Place]
    sent: Sent | None
    as_received: Body
    explanation: dict[str, Any] | None


class Searched(BaseModel):
    """Which part of the queues was looked through: `cut_off` names what was not looked through whole."""

    looked_at: int
    of: int
    cut_off: list[str]
    problem: str | None


class TracedEvents(BaseModel):
    """The events of one id; `searched` is null where nobody had to look into the queues."""

    events: list[TracedEvent]
    searched: Searched | None


class Unmatched(BaseModel):
    """A pattern of events that no rule matched, with the count of its window."""

    pattern: str
    template: str | None
    sample: str | None
    count: int
    threshold: int
    state: str
    first_seen: str | None
    expires_at: str | None
    ttl: int | None
    per_hour: float | None
    crossing_at: str | None


class UnmatchedPatterns(BaseModel):
    """The patterns nearest to the threshold first; `overflow` counts events of patterns past `max_patterns`."""

    patterns: list[Unmatched]
    total: int
    limit: int
    offset: int
    near: int
    alert_sent: int
    threshold: int
    expiry_seconds: int
    max_patterns: int
    overflow: int
