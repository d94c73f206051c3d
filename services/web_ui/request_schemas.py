"""The bodies of the requests that change rules, hosts, teams and configuration, for the API's description."""

from typing import Any

from mutt.hosts import HOSTNAME_MAX
from mutt.rules import (
    DESCRIPTION_MAX,
    DEV_HANDLINGS,
    MATCH_STRING_MAX,
    NAME_MAX,
    OID_PATTERN,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    PROD_HANDLINGS,
    SEVERITY_HIGH,
    SEVERITY_LOW,
    TEAM_MAX,
    TRAP_OID_MAX,
    MatchType,
)
from services.web_ui.bodies import REASON_MAX

Schema = dict[str, Any]


def text(most: int, meaning: str, *, null: bool = False, **more: object) -> Schema:
    """Return the schema of a text of 1 to `most` characters."""
    return {"type": ["string", "null"] if null else "string", "minLength": 1, "maxLength": most} | {
        "description": meaning,
        **more,
    }


def chosen(choices: tuple[Any, ...], meaning: str) -> Schema:
    """Return the schema of one of several words."""
    return {"type": "string", "enum": [str(each) for each in choices], "description": meaning}


def body(properties: Schema, required: list[str], *, is_needed: bool = True) -> Schema:
    """Return the description of a JSON object as a request's body; members that are not listed are refused."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return {"requestBody": {"required": is_needed, "content": {"application/json": {"schema": schema}}}}


def document(*kinds: str) -> Schema:
    """Return the description of a file as a request's body."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in kinds}}}


REASON: Schema = {"type": ["string", "null"], "maxLength": REASON_MAX, "description": "Why; kept with the change"}
VERSION: Schema = {"type": ["integer", "string", "null"], "description": "The version that was read: as If-Match"}
IGNORED: Schema = {"description": "As it was read; ignored"}
_HOSTNAME = text(HOSTNAME_MAX, "A hostname or an address, whole; kept in lower case without a dot at its end")
_TEAM = text(TEAM_MAX, "The team that gets the alert")
RULE_FIELDS: Schema = {
    "name": text(NAME_MAX, "What people call it", null=True),
    "description": text(DESCRIPTION_MAX, "What it is for", null=True),
    "match_string": text(MATCH_STRING_MAX, "What the message holds; for match_type regex a pattern of RE2", null=True),
    "trap_oid": text(
        TRAP_OID_MAX, "How the trap's OID begins, such as 1.3.6.1.4.1.9", null=True, pattern=f"^{OID_PATTERN.pattern}$"
    ),
    "syslog_severity": {
        "type": ["integer", "null"],
        "minimum": SEVERITY_LOW,
        "maximum": SEVERITY_HIGH,
        "description": "The event's severity, exactly",
    },
    "match_type": chosen(tuple(MatchType), "How match_string is read; oid_prefix needs a trap_oid"),
    "priority": {
        "type": "integer",
        "minimum": PRIORITY_LOW,
        "maximum": PRIORITY_HIGH,
        "description": "Of the rules that match, the highest wins",
    },
    "prod_handling": chosen(PROD_HANDLINGS, "What becomes of the event of a production host"),
    "dev_handling": chosen(DEV_HANDLINGS, "What becomes of the event of a development host"),
    "team_assignment": _TEAM,
    "is_active": {"type": ["boolean", "null"], "default": True, "description": "Whether it is tried at all"},
}
RULE_REQUIRED = ["match_type", "priority", "prod_handling", "dev_handling", "team_assignment"]
_READ = {"created_at": IGNORED, "updated_at": IGNORED}
_READ_RULE = {"id": IGNORED, **_READ}

NEW_RULE = body({**RULE_FIELDS, "reason": REASON, **_READ_RULE, "version": IGNORED}, RULE_REQUIRED)
CHANGED_RULE = body({**RULE_FIELDS, "reason": REASON, "version": VERSION, **_READ_RULE}, [])
NEW_HOST = body({"hostname": _HOSTNAME, "reason": REASON, **_READ_RULE, "version": IGNORED}, ["hostname"])
NEW_TEAM = body(
    {"hostname": _HOSTNAME, "team_assignment": _TEAM, "reason": REASON, **_READ_RULE, "version": IGNORED},
    ["hostname", "team_assignment"],
)
CHANGED_TEAM = body(
    {
        "team_assignment": _TEAM,
        "hostname": text(HOSTNAME_MAX, "As in the path; a host's name cannot be changed"),
        "reason": REASON,
        "version": VERSION,
        **_READ_RULE,
    },
    [],
)
NEW_VALUE = body(
    {
        "value": {"type": ["number", "string"], "description": "Of the key's type, within its bounds"},
        "reason": REASON,
        "version": VERSION,
    },
    ["value"],
)
