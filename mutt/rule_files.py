"""Rules as a YAML document: written for people, read back with each fault named, compared before anything is done."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from mutt.errors import RuleError
from mutt.record_changes import FieldChange, field_changes
from mutt.rules import FIELDS, validate_rule
from mutt.yaml_values import load

RULES_MAX = 20_000
FAULTS_MAX = 100
# A rule takes about two for each of its fields.
EVENTS_MAX = 30 * RULES_MAX
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Update(NamedTuple):
    """A rule that is to change: its row now, its fields then, and what differs."""

    row: Mapping[str, Any]
    values: dict[str, Any]
    changes: list[FieldChange]


class Plan(NamedTuple):
    """What an import would do; `missing` are rules that the document does not name."""

    create: list[dict[str, Any]]
    update: list[Update]
    missing: list[Mapping[str, Any]]
    unchanged: int


def write(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rules as a document that `read` takes; what is not set is left out, except the id."""
    rules = [{"id": row["id"], **{name: row[name] for name in FIELDS if row.get(name) is not None}} for row in rows]
    text: str = yaml.dump({"rules": rules}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def read(document: str) -> list[dict[str, Any]]:
    """Return the rules of a document, valid each, `id` where one is given; raises RuleError naming each fault."""
    loaded, lines = load(document, EVENTS_MAX, f"is longer than {RULES_MAX} rules are; split it")
    entries = loaded.get("rules") if isinstance(loaded, dict) else loaded
    if not isinstance(entries, list):
        raise RuleError({"document": "has to hold a list of rules under `rules:`"})
    if len(entries) > RULES_MAX:
        raise RuleError({"document": f"holds {len(entries)} rules; at most {RULES_MAX} are taken"})
    faults: dict[str, str] = {}
    rules: list[dict[str, Any]] = []
    named: set[int] = set()
    places: dict[tuple[Any, ...], str] = {}
    for number, entry in enumerate(entries, 1):
        if len(faults) >= FAULTS_MAX:
            break
        try:
            rule = _rule(entry, named)
            if "id" not in rule:
                place = f"line {lines[id(entry)]}"
                if (first := places.setdefault(_content(rule), place)) != place:
                    raise RuleError({place: f"the same rule as in {first}: leave one of them out"})  # noqa: TRY301
            rules.append(rule)
        except RuleError as error:
            faults[f"rule {number}{_called(entry)}"] = str(error)
    if faults:
        raise RuleError(faults)
    return rules


def plan(rules: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]]) -> Plan:
    """Compare a document's rules with those that there are.

    A rule belongs to the row of its id; one without an id, or with an id that is not there, to a row that equals it.
    """
    by_id = {row["id"]: row for row in rows}
    left = dict(by_id)
    found = Plan([], [], [], 0)
    unchanged = 0
    strangers: list[Mapping[str, Any]] = []
    for rule in rules:
        row = left.pop(rule["id"], None) if rule.get("id") is not None else None
        if row is None:
            strangers.append(rule)
            continue
        values = {name: rule[name] for name in FIELDS}
        changes = field_changes({name: row[name] for name in FIELDS}, values)
        if changes:
            found.update.append(Update(row, values, changes))
        else:
            unchanged += 1
    same: dict[tuple[Any, ...], list[int]] = {}
    for row in left.values():
        same.setdefault(_content(row), []).append(row["id"])
    for rule in strangers:
        twins = same.get(_content(rule))
        if twins:
            del left[twins.pop(0)]
            unchanged += 1
        else:
            found.create.append({name: rule[name] for name in FIELDS})
    return found._replace(missing=list(left.values()), unchanged=unchanged)


def _rule(entry: Any, named: set[int]) -> dict[str, Any]:
    if not isinstance(entry, dict) or not all(isinstance(name, str) for name in entry):
        raise RuleError({"rule": "has to be an object of fields"})
    rule_id = entry.get("id")
    values = validate_rule(entry)
    if rule_id is None:
        return values
    if not isinstance(rule_id, int) or isinstance(rule_id, bool):
        raise RuleError({"id": "has to be a whole number; leave it out for a new rule"})
    if rule_id in named:
        raise RuleError({"id": f"{rule_id} is in the document twice"})
    named.add(rule_id)
    return {"id": rule_id, **values}


def _called(entry: Any) -> str:
    if not isinstance(entry, dict):
        return ""
    rule_id, name = entry.get("id"), entry.get("name")
    words = [f"id {rule_id}"[:60] if isinstance(rule_id, int | str) else "", name[:60] if isinstance(name, str) else ""]
    text = ", ".join(word for word in words if word)
    return f" ({text})" if text else ""


def _content(rule: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(rule[name] for name in FIELDS)
