"""The shapes of dry runs, explanations, histories and imports, for the API's description."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from services.web_ui.dry_runs import HOURS_MAX
from services.web_ui.request_schemas import IGNORED, REASON, RULE_FIELDS, body, document
from services.web_ui.schemas import Change


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


_ID = {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31 - 1}
DRY_RUN = body(
    {
        "rule": {
            "type": "object",
            "properties": {
                **RULE_FIELDS,
                "reason": IGNORED,
                "id": IGNORED,
                "version": IGNORED,
                "created_at": IGNORED,
                "updated_at": IGNORED,
            },
            "description": "The fields; of a stored rule those that change",
        },
        "id": {**_ID, "description": "The stored rule that changes; absent for a new one"},
        "hours": {"type": "integer", "minimum": 1, "maximum": HOURS_MAX, "default": 24, "description": "How far back"},
        "replaces": {"type": ["string", "null"], "description": "An older dry run, to be stopped"},
    },
    ["rule"],
)
# Of a rule that is being typed anything may be wrong: that is what the reply tells.
VALIDATE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        **{name: {"description": each["description"]} for name, each in RULE_FIELDS.items()},
                        "reason": IGNORED,
                        "id": {**_ID, "description": "The stored rule, whose place among the others is told"},
                    },
                    "description": "A rule's fields, as far as they are typed",
                }
            }
        },
    }
}
EXPLAIN = body(
    {
        "event_id": {"type": ["string", "null"], "format": "uuid", "description": "An audited event"},
        "event": {
            "type": ["object", "string"],
            "description": "Or an event as a sender sends it, or an entry of a queue, or either as text",
        },
    },
    [],
)
REVERT_RULE = body(
    {"version": {"type": "integer", "description": "The version to bring back"}, "reason": REASON}, ["version"]
)
REVERT_CHANGE = body(
    {
        "to": {
            "type": "string",
            "enum": ["before", "after"],
            "default": "before",
            "description": "To what it was before the change, or to what the change made of it",
        },
        "reason": REASON,
    },
    [],
    is_needed=False,
)
YAML_FILE = document("application/yaml")


def _lines(key: str) -> dict[str, Any]:
    """Return the schemas of a file of hosts or teams."""
    entry = {"type": ["object", "string"]}
    entries = {"type": "array", "items": entry, "description": "The entries; of a development host its name is enough"}
    return {
        "text/csv": {"schema": {"type": "string", "description": "A line of names, and one for each host"}},
        "application/json": {"schema": {"type": ["object", "array"], "properties": {key: entries}, "items": entry}},
    }


def lines_file(key: str) -> dict[str, Any]:
    """Return the description of such a file as a request's body."""
    return {"requestBody": {"required": True, "content": _lines(key)}}


def lines_reply(key: str) -> dict[int | str, dict[str, Any]]:
    """Return the description of such a file as a reply."""
    return {200: {"content": _lines(key)}}


RULES_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/yaml": {
                "schema": {"type": ["string", "object"], "description": "A list of rules under `rules`"}
            }
        }
    }
}
