"""What a rule is, and what makes one valid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mutt.checks import Check, boolean, check_fields, choice, shown, text, whole
from mutt.errors import RuleError
from mutt.regexes import refusal

PRIORITY_LOW, PRIORITY_HIGH = 1, 1000
SEVERITY_LOW, SEVERITY_HIGH = 0, 7
# Characters. RE2 compiles a pattern of this length within its budget unless it repeats something large.
MATCH_STRING_MAX = 1024
TRAP_OID_MAX = 512
NAME_MAX = 200
DESCRIPTION_MAX = 4000
TEAM_MAX = 100

OID_PATTERN = re.compile(r"\.?[0-9]+(?:\.[0-9]+)*")


class Handling(StrEnum):
    """What becomes of an event; the value is what queues, tables and Moogsoft see."""

    PAGE_AND_TICKET = "Page_and_ticket"
    TICKET_ONLY = "Ticket_only"
    EMAIL_ONLY = "Email_only"
    LOG_ONLY = "Log_only"
    SUPPRESS = "Suppress"
    UNHANDLED = "Unhandled"


FORWARDED = frozenset({Handling.PAGE_AND_TICKET, Handling.TICKET_ONLY, Handling.EMAIL_ONLY})
PROD_HANDLINGS = (Handling.PAGE_AND_TICKET, Handling.TICKET_ONLY, Handling.EMAIL_ONLY, Handling.LOG_ONLY)
DEV_HANDLINGS = (Handling.TICKET_ONLY, Handling.EMAIL_ONLY, Handling.LOG_ONLY, Handling.SUPPRESS)


class MatchType(StrEnum):
    """How `match_string` is read; `oid_prefix` reads it as `contains` does."""

    CONTAINS = "contains"
    REGEX = "regex"
    OID_PREFIX = "oid_prefix"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of alert_rules; every condition that is not None has to hold."""

    id: int
    match_string: str | None
    trap_oid: str | None
    syslog_severity: int | None
    match_type: str
    priority: int
    prod_handling: str
    dev_handling: str
    team_assignment: str
    is_active: bool = True
    name: str | None = None
    description: str | None = None
    version: int = 1


def rank(rule: Rule) -> tuple[int, int]:
    """Sort key in which the rule that wins comes first: highest priority, then lowest id."""
    return -rule.priority, rule.id


def missing_condition(
    match_type: str, match_string: str | None, trap_oid: str | None, syslog_severity: int | None
) -> tuple[str, str] | None:
    """Return the field that a rule of this type lacks and why; None when it has what it needs."""
    if match_type == MatchType.OID_PREFIX:
        if trap_oid is None:
            return "trap_oid", "a rule of type oid_prefix needs a trap_oid, such as 1.3.6.1.4.1.9"
    elif match_string is None and syslog_severity is None:
        needs = f"a rule of type {match_type} needs a match_string or a syslog_severity"
        return "match_string", f"{needs}; without either it would match every event"
    return None


def validate_rule(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule's editable fields, defaults filled in; raises RuleError with what is wrong of each field.

    Absent and null are the same, so a merged rule is validated as a whole. Unknown fields are refused.
    """
    valid, details = check_fields(values, FIELDS, READ_ONLY)
    if not {"match_type", "match_string", "trap_oid", "syslog_severity"} & details.keys():
        lack = missing_condition(
            valid["match_type"], valid["match_string"], valid["trap_oid"], valid["syslog_severity"]
        )
        if lack is not None:
            details[lack[0]] = lack[1]
        elif valid["match_type"] == MatchType.REGEX and valid["match_string"] is not None:
            reason = refusal(valid["match_string"])
            if reason is not None:
                details["match_string"] = reason
    if details:
        raise RuleError(details)
    return valid


def _oid(value: Any) -> str | None:
    oid: str | None = text(TRAP_OID_MAX)(value)
    if oid is not None and not OID_PATTERN.fullmatch(oid):
        raise ValueError(f"{shown(oid)} is not an OID; numbers joined by dots, such as 1.3.6.1.4.1.9")
    return oid


FIELDS: dict[str, Check] = {
    "name": text(NAME_MAX),
    "description": text(DESCRIPTION_MAX),
    "match_string": text(MATCH_STRING_MAX),
    "trap_oid": _oid,
    "syslog_severity": whole(SEVERITY_LOW, SEVERITY_HIGH),
    "match_type": choice(tuple(MatchType)),
    "priority": whole(PRIORITY_LOW, PRIORITY_HIGH, required=True),
    "prod_handling": choice(PROD_HANDLINGS),
    "dev_handling": choice(DEV_HANDLINGS),
    "team_assignment": text(TEAM_MAX, required=True),
    "is_active": boolean,
}
# What a reader of the API sends back with a rule that it read; the database sets them.
READ_ONLY = frozenset({"id", "version", "created_at", "updated_at"})
