"""The shapes of the dead letters' requests and replies, for the API's description."""

from typing import Any

from pydantic import BaseModel

from services.web_ui.dead_moves import BATCH
from services.web_ui.dead_requests import START_MAX
from services.web_ui.request_schemas import REASON, body


class Depths(BaseModel):
    """How many letters lie in each list."""

    alerter: int
    moog: int
    poison: int
    quarantine: int


class Letter(BaseModel):
    """A dead letter; `event_id` and `sha256` of its bytes address it."""

    event_id: str
    sha256: str
    index: int
    kind: str
    hostname: str
    message: str
    error: str
    error_type: str | None
    received_at: str | None
    died_at: str | None
    first_failed_at: str | None
    retry_count: int
    remediation_attempts: int
    handling: str | None
    team: str | None
    rule_id: int | None
    replaces: str | None
    size: int
    can_replay: bool


class WholeLetter(Letter):
    """A letter with its bytes and with the part of them that may be edited, as text."""

    entry: str | None
    entry_base64: str | None
    payload: str


class Letters(BaseModel):
    """A page of letters, newest first; `next` is the `start` of the next page."""

    letters: list[Letter]
    total: int
    next: int | None


class Group(BaseModel):
    """Letters that died of the same, numbers and quoted values aside; `error` is a filter's value."""

    error: str
    title: str
    count: int
    first: str | None
    last: str | None
    hosts: dict[str, int]
    rule_id: int | None


class Groups(BaseModel):
    """The groups of the newest `looked_at` of `total` letters, largest first."""

    groups: list[Group]
    looked_at: int
    total: int


class Outcome(BaseModel):
    """What became of one letter; `status` is moved, gone, refused or full."""

    event_id: str
    sha256: str
    status: str
    message: str
    new_event_id: str | None


class Moved(BaseModel):
    """What an operation did to one letter; it is looked up under `operation`."""

    operation: str
    outcome: Outcome


class MovedMany(BaseModel):
    """What an operation did in this request. While `more` is true the same request with `before`, `start` goes on."""

    operation: str
    outcomes: list[Outcome]
    more: bool
    before: str | None
    start: int | None


class Fate(BaseModel):
    """Where a letter went: `state` is arrived, refused, waiting or deleted."""

    event_id: str
    new_event_id: str | None
    state: str
    words: str
    at: str | None


class Fates(BaseModel):
    """Up to 1,000 letters of one operation, of `total` in all; `next` is the `start` of the next ones."""

    outcomes: list[Fate]
    total: int
    next: int | None


_DIGEST = {"type": "string", "description": "SHA-256 of the letter's bytes, as listed"}
_MANY: dict[str, Any] = {
    "letters": {
        "type": ["array", "null"],
        "description": "The letters that are meant, as listed",
        "minItems": 1,
        "maxItems": BATCH,
        "items": {
            "type": "object",
            "properties": {
                "event_id": {"type": "string", "description": "As listed"},
                "sha256": _DIGEST,
                "index": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": START_MAX,
                    "description": "As listed; finds it quickly in a long list",
                },
            },
            "required": ["event_id", "sha256"],
        },
    },
    "filter": {
        "type": ["object", "null"],
        "description": "In place of letters: up to 100 of those that it lets through; {} lets all through",
        "properties": {"error": {"type": "string"}, "hostname": {"type": "string"}, "q": {"type": "string"}},
        "additionalProperties": False,
    },
    "before": {"type": ["string", "null"], "description": "With a filter: letters that died later are not meant"},
    "start": {
        "type": "integer",
        "minimum": 0,
        "maximum": START_MAX,
        "description": "With a filter: the index to go on at",
    },
    "operation": {
        "type": ["string", "null"],
        "format": "uuid",
        "description": "With a filter: the operation that this request goes on with",
    },
    "reason": REASON,
}
ONE = body({"sha256": _DIGEST, "reason": REASON}, ["sha256"])
EDITED = body(
    {
        "sha256": _DIGEST,
        "payload": {"type": ["string", "object"], "description": "The edited payload, as text or as an object"},
        "reason": REASON,
    },
    ["sha256", "payload"],
)
MANY = body(_MANY, [])
EDITED_MANY = body(
    {
        **_MANY,
        "set": {"type": "object", "minProperties": 1, "description": "Members of each payload that are replaced"},
    },
    ["set"],
)
