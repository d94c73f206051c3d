"""The shapes of requests and replies, for the API's description; the checks themselves are in mutt/."""

from typing import Any

from pydantic import BaseModel

from mutt.rules import DEV_HANDLINGS, PROD_HANDLINGS, MatchType


class Error(BaseModel):
    """Any reply that is not 2xx."""

    error: str
    correlation_id: str
    details: dict[str, str] | None = None


class Message(BaseModel):
    """What a deletion replies."""

    message: str


class Rule(BaseModel):
    """A rule as it is stored."""

    id: int
    name: str | None
    description: str | None
    match_string: str | None
    trap_oid: str | None
    syslog_severity: int | None
    match_type: str
    priority: int
    prod_handling: str
    dev_handling: str
    team_assignment: str
    is_active: bool
    version: int
    created_at: str
    updated_at: str


class Rules(BaseModel):
    """A page of rules in the order in which they are tried."""

    rules: list[Rule]
    total: int
    limit: int
    offset: int


class Host(BaseModel):
    """A development host."""

    hostname: str
    created_at: str
    updated_at: str


class Hosts(BaseModel):
    """A page of development hosts."""

    hosts: list[Host]
    total: int
    limit: int
    offset: int


class Team(BaseModel):
    """A host whose events go to one team."""

    hostname: str
    team_assignment: str
    created_at: str
    updated_at: str


class Teams(BaseModel):
    """A page of hosts with teams."""

    teams: list[Team]
    total: int
    limit: int
    offset: int


class Event(BaseModel):
    """An event as it was audited."""

    event_id: str
    correlation_id: str
    event_timestamp: str
    received_at: str
    audited_at: str
    hostname: str
    message: str
    source: str | None
    syslog_severity: int | None
    trap_oid: str | None
    rule_id: int | None
    rule_version: int | None
    team: str
    handling: str
    environment: str
    forwarded: bool
    raw: Any


class Pagination(BaseModel):
    """Where a page is among all."""

    page: int
    limit: int
    total: int
    pages: int


class EventPagination(Pagination):
    """Likewise; `exact` is false where `total` is an estimate."""

    exact: bool
    next_cursor: str | None


class AuditLogs(BaseModel):
    """A page of events, newest first."""

    logs: list[Event]
    pagination: EventPagination


class Delivery(BaseModel):
    """One attempt to deliver an alert."""

    at: str
    attempt: int
    status: int | None
    outcome: str


class Change(BaseModel):
    """A change of the configuration."""

    id: int
    changed_at: str
    changed_by: str
    operation: str
    table_name: str
    record_id: str | None
    old_values: Any
    new_values: Any
    reason: str | None
    correlation_id: str | None


class ConfigAudit(BaseModel):
    """A page of changes, newest first."""

    changes: list[Change]
    pagination: Pagination


class Summary(BaseModel):
    """Events a second."""

    current_rate_1m: float
    avg_rate_15m: float
    avg_rate_1h: float


class Chart(BaseModel):
    """Events a minute by hour."""

    labels: list[str]
    data: list[float]


class Metrics(BaseModel):
    """Rates and depths."""

    summary: Summary
    chart_24h: Chart
    queues: dict[str, int]


class Setting(BaseModel):
    """A dynamic key; `value` is what Redis holds, `effective` what a service takes."""

    key: str
    type: str
    value: int | float | str | None
    effective: int | float | str
    source: str
    default: int | float | str
    low: float | None
    high: float | None
    choices: list[str]
    purpose: str
    variable: str | None
    warning: str | None


class Config(BaseModel):
    """All dynamic keys; `enabled` tells whether services read them."""

    config: list[Setting]
    enabled: bool


_NULLABLE_TEXT = {"type": ["string", "null"]}
_REASON = {"type": "string", "description": "Why; kept with the change"}
_RULE_FIELDS: dict[str, Any] = {
    "name": _NULLABLE_TEXT,
    "description": _NULLABLE_TEXT,
    "match_string": _NULLABLE_TEXT | {"description": "A substring or, for match_type regex, a pattern (RE2)"},
    "trap_oid": _NULLABLE_TEXT | {"description": "A prefix, such as 1.3.6.1.4.1.9"},
    "syslog_severity": {"type": ["integer", "null"], "minimum": 0, "maximum": 7},
    "match_type": {"enum": [str(kind) for kind in MatchType]},
    "priority": {"type": "integer", "minimum": 1, "maximum": 1000},
    "prod_handling": {"enum": [str(handling) for handling in PROD_HANDLINGS]},
    "dev_handling": {"enum": [str(handling) for handling in DEV_HANDLINGS]},
    "team_assignment": {"type": "string"},
    "is_active": {"type": "boolean", "default": True},
    "reason": _REASON,
}
_RULE_REQUIRED = ["match_type", "priority", "prod_handling", "dev_handling", "team_assignment"]


def body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return the description of a JSON object as a request's body."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


NEW_RULE = body(_RULE_FIELDS, _RULE_REQUIRED)
CHANGED_RULE = body({**_RULE_FIELDS, "version": {"type": "integer", "description": "As If-Match"}}, [])
NEW_HOST = body({"hostname": {"type": "string"}, "reason": _REASON}, ["hostname"])
NEW_TEAM = body(
    {"hostname": {"type": "string"}, "team_assignment": {"type": "string"}, "reason": _REASON},
    ["hostname", "team_assignment"],
)
NEW_VALUE = body({"value": {"type": ["integer", "number", "string"]}, "reason": _REASON}, ["value"])
CHANGED_TEAM = body({"team_assignment": {"type": "string"}, "reason": _REASON}, ["team_assignment"])


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of the errors that every endpoint has, and of these."""
    # With a `default` FastAPI does not add its own 422, which never happens here.
    known: tuple[int | str, ...] = (400, 401, 403, *statuses, 503, "default")
    return {status: {"model": Error} for status in known}
