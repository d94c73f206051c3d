"""The shapes of replies, for the API's description."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel


class Error(BaseModel):
    """Any reply that is not 2xx."""

    error: str
    correlation_id: str
    details: dict[str, str] | None = None


Stored = TypeVar("Stored")


class Conflict(Error, Generic[Stored]):  # noqa: N818  (a shape)
    """What is changed was changed meanwhile: `yours` is the version and the change sent, `stored` what is there now."""

    yours: dict[str, Any]
    stored: Stored


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
    version: str
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
    version: str
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
    version: str


class Config(BaseModel):
    """All dynamic keys; `enabled` tells whether services read them."""

    config: list[Setting]
    enabled: bool


def errors(*statuses: int, away: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of the errors that every endpoint has, and of these.

    What follows from the method, the role and a body is added by the description itself.
    """
    # With a `default` FastAPI does not add its own 422, which never happens here.
    known: tuple[int | str, ...] = (401, *statuses, *((503,) if away else ()), "default")
    return {status: {"model": Error} for status in known}


def conflict(stored: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the description of a 412, which holds both versions of `stored`."""
    return {412: {"model": Conflict[stored]}}  # type: ignore[valid-type]
