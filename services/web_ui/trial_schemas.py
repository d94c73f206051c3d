"""The shapes of dry runs, explanations, histories and imports, for the API's description."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from services.web_ui import schemas
from services.web_ui.schemas import Change

RULE_EXAMPLE = {
    "match_string": "UPDOWN.*down",
    "match_type": "regex",
    "priority": 840,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "CORE",
}


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Brief(BaseModel):
    """A rule by what names it."""

    id: int | None
    name: str | None
    priority: int


class Neighbours(BaseModel):
    """The rules between which a rule is tried."""

    above: Brief | None
    below: Brief | None


class Checked(BaseModel):
    """What a save would say: `details` are the refusals by field, `hints` what to write instead."""

    valid: bool
    details: dict[str, str]
    hints: dict[str, dict[str, str]]
    neighbours: Neighbours
    hidden_by: Brief | None
    hides: list[Brief]


class Figures(BaseModel):
    """The same figure with the change and with the rules of today."""

    with_change: Any
    today: Any


class DryRunReport(_Open):
    """A dry run, complete or so far; `state` is running, done, cancelled or failed."""

    id: str
    state: str
    why: str | None
    hours: int
    since: str
    until: str
    seconds: float
    progress: float
    read: int
    read_back_to: str | None
    matched: int
    caught: int
    handled_differently: int
    pages: Figures
    worst_minute: Figures
    minutes: list[dict[str, Any]]
    moves: list[dict[str, Any]]
    hidden_by: list[dict[str, Any]]
    hides: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    near_misses: dict[str, Any]
    warnings: list[dict[str, Any]]
    cost: dict[str, Any] | None


class Explanation(_Open):
    """Every rule in order with its verdict, the winner, and what follows."""

    event: dict[str, Any]
    note: str | None
    rules: list[dict[str, Any]]
    winner: dict[str, Any] | None
    environment: str
    environment_from: str
    handling: str
    team: str
    team_from: str
    forwarded: bool
    moogsoft: str | None


class FieldChange(BaseModel):
    """A field's value before and after."""

    field: str
    old: Any
    new: Any


class HistoryEntry(Change):
    """A change with what differs in it."""

    summary: str
    diff: list[FieldChange]


class History(BaseModel):
    """The changes of one record, newest first."""

    changes: list[HistoryEntry]


class Reverted(BaseModel):
    """What a revert did; reverting `change_id` takes it back."""

    message: str
    change_id: int | None
    state: Any


class Plan(BaseModel):
    """What an import would do, or did: counts of all, and the first of each kind."""

    applied: bool
    seal: str
    counts: dict[str, int]
    create: list[dict[str, Any]]
    update: list[dict[str, Any]]
    delete: list[dict[str, Any]]


_RULE = schemas.NEW_RULE["requestBody"]["content"]["application/json"]["schema"]["properties"]
DRY_RUN = schemas.body(
    {
        "rule": {
            "type": "object",
            "properties": _RULE,
            "example": RULE_EXAMPLE,
            "description": "The fields; of a stored rule those that change",
        },
        "id": {"type": ["integer", "null"], "description": "The stored rule that changes; absent for a new one"},
        "hours": {"type": "integer", "minimum": 1, "maximum": 744, "default": 24},
        "replaces": {
            "type": ["string", "null"],
            "description": "An older dry run, to be stopped",
        },
    },
    ["rule"],
)
VALIDATE = schemas.body(
    {
        **_RULE,
        "id": {"type": ["integer", "null"], "description": "The stored rule, whose place among the others is told"},
    },
    [],
)
EXPLAIN = schemas.body(
    {
        "event_id": {"type": "string", "format": "uuid", "description": "An audited event"},
        "event": {
            "type": ["object", "string"],
            "description": "Or an event as a sender sends it, or an entry of a queue, or either as text",
            "example": {"hostname": "core1", "message": "link down", "syslog_severity": 3},
        },
    },
    [],
)
REVERT_RULE = schemas.body({"version": {"type": "integer"}, "reason": {"type": "string"}}, ["version"])
REVERT_CHANGE: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "to": {"enum": ["before", "after"], "default": "before"},
                        "reason": {"type": "string"},
                    },
                }
            }
        },
    }
}


def document(*kinds: str) -> dict[str, Any]:
    """Return the description of a file as a request's body."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in kinds}}}


YAML_FILE = document("application/yaml")
LINES_FILE = document("text/csv", "application/json")
