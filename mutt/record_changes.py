"""What differs between two states of a record, and whether one can go back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# What the database sets by itself says nothing about what a person changed.
UNTOLD = frozenset({"id", "version", "created_at", "updated_at"})
NOUNS = {
    "alert_rules": "rule",
    "development_hosts": "development host",
    "device_teams": "team of host",
    "dynamic_config": "configuration key",
}


class FieldChange(NamedTuple):
    """One field's value before and after; None is "not set"."""

    field: str
    old: Any
    new: Any


def field_changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[FieldChange]:
    """Return the fields that differ, in the order of the newer state; a missing state has no field set."""
    before, after = old or {}, new or {}
    names = [name for name in {**after, **before} if name not in UNTOLD]
    return [
        FieldChange(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def summary(changes: list[FieldChange], operation: str) -> str:
    """Return one line: `priority 820 → 840, team_assignment NETO → CORE`."""
    if operation == "DELETE":
        return "deleted"
    if operation == "CREATE":
        return "created"
    return ", ".join(f"{each.field} {_short(each.old)} → {_short(each.new)}" for each in changes) or "nothing visible"


def title(table: str, record_id: str | None) -> str:
    """Return what a record is called: `rule 57`."""
    return f"{NOUNS.get(table, table)} {record_id or ''}".strip()


def editable(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the fields that a person sets."""
    return None if values is None else {name: value for name, value in values.items() if name not in UNTOLD}


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"  # noqa: PLR2004  (characters of a line)
