"""The rules, hosts and teams of a past moment: those of today with the recorded changes since then undone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from mutt.handling import Hosts
from mutt.rules import Rule

RULES, HOSTS, TEAMS = "alert_rules", "development_hosts", "device_teams"
_RULE_FIELDS = tuple(field.name for field in fields(Rule))

Records = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PastBook:
    """What the alerter knew; `undone` counts the changes made since."""

    rules: tuple[Rule, ...]
    hosts: Hosts
    undone: int


def undo(records: Mapping[str, Mapping[str, Any]], changes: Iterable[Mapping[str, Any]]) -> Records:
    """Return rows by their record_id as they were before `changes` (of their table, newest first) were made."""
    past = {key: dict(row) for key, row in records.items()}
    for change in changes:
        key, old = str(change["record_id"]), change["old_values"]
        if old is None:
            past.pop(key, None)
        else:
            past[key] = dict(old)
    return past


def past_book(
    rules: Iterable[Mapping[str, Any]],
    dev_hosts: Iterable[str],
    teams: Mapping[str, str],
    changes: Iterable[Mapping[str, Any]],
    *,
    match_short: bool,
) -> PastBook:
    """Return what held before `changes` (rows of config_audit_log, newest first)."""
    by_table: dict[str, list[Mapping[str, Any]]] = {RULES: [], HOSTS: [], TEAMS: []}
    count = 0
    for change in changes:
        if change["table_name"] in by_table:
            by_table[change["table_name"]].append(change)
            count += 1
    past_rules = undo({str(row["id"]): row for row in rules}, by_table[RULES])
    past_hosts = undo({host: {"hostname": host} for host in dev_hosts}, by_table[HOSTS])
    past_teams = undo(
        {host: {"hostname": host, "team_assignment": team} for host, team in teams.items()}, by_table[TEAMS]
    )
    hosts = Hosts.of(
        past_hosts, {host: row["team_assignment"] for host, row in past_teams.items()}, match_short=match_short
    )
    return PastBook(tuple(rule_of(row) for row in past_rules.values()), hosts, count)


def rule_of(values: Mapping[str, Any]) -> Rule:
    """Return the rule of a row of alert_rules or of a record of one; what a record lacks has its default."""
    return Rule(**{name: values[name] for name in _RULE_FIELDS if name in values})
