"""What a rule is, and what makes one valid."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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
SHOWN_MAX = 80

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
    details = {
        field: f"unknown field; a rule has {', '.join(FIELDS)}"
        for field in values
        if field not in FIELDS and field not in READ_ONLY
    }
    valid: dict[str, Any] = {}
    for field, check in FIELDS.items():
        try:
            valid[field] = check(values.get(field))
        except (TypeError, ValueError) as error:
            details[field] = str(error)
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


def _text(most: int, *, required: bool = False) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None and not required:
            return None
        if not isinstance(value, str):
            raise TypeError("a string is required" if required else "a string or null is required")
        if not value.strip() and required:
            raise ValueError("must not be empty")
        if not value:
            raise ValueError("must not be empty; use null for none")
        if len(value) > most:
            raise ValueError(f"has {len(value)} characters; at most {most} are allowed")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("must not hold NUL or lone surrogate characters")
        return value.strip() if required else value

    return check


def _choice(choices: tuple[StrEnum, ...]) -> Callable[[Any], str]:
    allowed = ", ".join(choices)

    def check(value: Any) -> str:
        if value is None:
            raise ValueError(f"is required; allowed are {allowed}")
        if not isinstance(value, str) or value not in {str(choice) for choice in choices}:
            raise ValueError(f"{_shown(value)} is not allowed; allowed are {allowed}")
        return value

    return check


def _whole(low: int, high: int, *, required: bool = False) -> Callable[[Any], int | None]:
    def check(value: Any) -> int | None:
        if value is None:
            if required:
                raise ValueError(f"is required; a whole number from {low} to {high}")
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            null = "" if required else ", or null"
            raise ValueError(f"{_shown(value)} is not allowed; a whole number from {low} to {high}{null}")
        return value

    return check


def _oid(value: Any) -> str | None:
    text = _text(TRAP_OID_MAX)(value)
    if text is not None and not OID_PATTERN.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not an OID; numbers joined by dots, such as 1.3.6.1.4.1.9")
    return text


def _boolean(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, bool):
        raise TypeError(f"{_shown(value)} is not allowed; true or false (absent means true)")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN_MAX]


FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": _text(NAME_MAX),
    "description": _text(DESCRIPTION_MAX),
    "match_string": _text(MATCH_STRING_MAX),
    "trap_oid": _oid,
    "syslog_severity": _whole(SEVERITY_LOW, SEVERITY_HIGH),
    "match_type": _choice(tuple(MatchType)),
    "priority": _whole(PRIORITY_LOW, PRIORITY_HIGH, required=True),
    "prod_handling": _choice(PROD_HANDLINGS),
    "dev_handling": _choice(DEV_HANDLINGS),
    "team_assignment": _text(TEAM_MAX, required=True),
    "is_active": _boolean,
}
# What a reader of the API sends back with a rule that it read; the database sets them.
READ_ONLY = frozenset({"id", "version", "created_at", "updated_at"})
