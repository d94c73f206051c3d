"""The rule editor's form: its fields as the validators take them, and back as text."""

from collections.abc import Mapping
from typing import Any

from mutt.rules import DEV_HANDLINGS, FIELDS, PROD_HANDLINGS, MatchType, Rule
from services.web_ui.pages.frame import Form

SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
NEW: dict[str, Any] = {
    "match_type": "contains",
    "priority": 500,
    "prod_handling": "Ticket_only",
    "dev_handling": "Log_only",
    "is_active": True,
}
_NUMBERS = frozenset({"syslog_severity", "priority"})
HANDLINGS = {
    "prod_handling": [(str(each), each.replace("_", " ")) for each in PROD_HANDLINGS],
    "dev_handling": [(str(each), each.replace("_", " ")) for each in DEV_HANDLINGS],
}
OPTIONS: dict[str, Any] = {
    "match_types": [str(each) for each in MatchType],
    "severities": [("", "any"), *((str(level), f"{level} {name}") for level, name in enumerate(SEVERITIES))],
    "handlings": HANDLINGS,
    "states": [("true", "Active"), ("false", "Switched off")],
}


def fields_of(form: Form) -> dict[str, Any]:
    """Return the form's fields; what is no number stays text, so that the validators name it."""
    return {name: _value(name, form.get(name)) for name in FIELDS}


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return fields as the form shows them."""
    return {name: _text(values.get(name)) for name in FIELDS}


def typed(form: Form) -> dict[str, str]:
    """Return what was typed, as it was typed."""
    return {name: form.get(name) for name in FIELDS}


def changed(values: Mapping[str, str], row: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what each changed field was before, in words."""
    if row is None:
        return {}
    before = texts_of(row)
    return {name: shown(name, row.get(name)) for name in FIELDS if before[name] != values[name]}


def shown(name: str, value: Any) -> str:
    """Return a field's value in words."""
    if value is None:
        return "none"
    if name == "syslog_severity" and isinstance(value, int) and 0 <= value < len(SEVERITIES):
        return f"{value} {SEVERITIES[value]}"
    if name == "is_active":
        return "active" if value else "switched off"
    return str(value).replace("_", " ") if name.endswith("_handling") else str(value)


def fields_of_rule(rule: Rule) -> dict[str, Any]:
    """Return a rule's editable fields."""
    return {name: getattr(rule, name) for name in FIELDS}


def _value(name: str, text: str) -> Any:
    if name == "is_active":
        return {"true": True, "false": False}.get(text, text or None)
    # A pattern wraps in its field; a line break in it was never meant.
    cleaned = text.replace("\r", "").replace("\n", "") if name == "match_string" else text.replace("\r\n", "\n")
    if name != "match_string":
        cleaned = cleaned.strip()
    if cleaned == "":
        return None
    if name in _NUMBERS and cleaned.isascii() and cleaned.removeprefix("-").isdecimal():
        return int(cleaned[:12])
    return cleaned


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
