"""What may have made letters die: a change shortly before the first of them that had a hand in what they are."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql

from mutt.dead_groups import CAUSE_WITHIN, Group
from mutt.handling import known_as
from services.web_ui.queries import Queries

SHOWN_MAX = 60  # characters of a value
_LATEST = sql.SQL(
    "SELECT id, changed_at, changed_by, operation, table_name, record_id, old_values, new_values FROM config_audit_log"
    " WHERE changed_at BETWEEN %s AND %s"
    " AND (table_name, record_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
    " ORDER BY table_name <> 'alert_rules', changed_at DESC LIMIT 1"
)
_WORDS = {
    "alert_rules": "rule {}",
    "development_hosts": "development host {}",
    "device_teams": "the team of {}",
    "dynamic_config": "{}",
}
_VERBS = {"CREATE": "added", "UPDATE": "changed", "DELETE": "deleted"}
# What moves when the alert queue is full: less room, or slower ways out of it.
_SHEDDING = ("alerter_queue_shed_threshold", "alerter_shed_mode", "moog_rate_limit")
_UNTOLD = frozenset({"version", "updated_at", "created_at", "id"})


class Cause(NamedTuple):
    """A change, how many seconds before the first death it was made, and whether all the letters come from it."""

    what: str
    verb: str
    at: datetime
    by: str
    differences: list[tuple[str, str, str]]
    seconds: float
    table: str
    record_id: str
    is_theirs: bool


async def cause_of(queries: Queries, group: Group, *, match_short: bool = False) -> Cause | None:
    """Return the likely cause of a group: the latest change of its rule, else of its hosts or of what sheds."""
    records = _records(group, match_short=match_short)
    if group.first is None or not records:
        return None
    tables, names = zip(*records, strict=True)
    rows = await queries.fetch("select", _LATEST, (group.first - CAUSE_WITHIN, group.first, list(tables), list(names)))
    if not rows:
        return None
    row = rows[0]
    return Cause(
        _WORDS[row["table_name"]].format(row["record_id"]),
        _VERBS.get(row["operation"], "changed"),
        row["changed_at"],
        row["changed_by"],
        _differences(row["old_values"] or {}, row["new_values"] or {}),
        (group.first - row["changed_at"]).total_seconds(),
        row["table_name"],
        row["record_id"],
        (row["table_name"], row["record_id"]) == ("alert_rules", str(group.rule_id)),
    )


def _records(group: Group, *, match_short: bool) -> list[tuple[str, str]]:
    """Return the records of which a change can have caused the group.

    What Moogsoft refuses in an alert comes from its rule and its host; what is shed, from the queue's limits. No change
    makes a sender's record bad, bytes unreadable, a service fail, or a row one that the audit refuses.
    """
    if group.is_shed:
        return [("dynamic_config", name) for name in _SHEDDING]
    if not group.is_refusal:
        return []
    rules = [("alert_rules", str(number)) for number in group.rules if number is not None]
    hosts = {name for host in group.hosts for name in known_as(host, match_short=match_short)}
    return rules + [(table, name) for table in ("device_teams", "development_hosts") for name in sorted(hosts)]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = [name for name in {**old, **new} if name not in _UNTOLD and old.get(name) != new.get(name)]
    return [(name.replace("_", " "), _shown(old.get(name)), _shown(new.get(name))) for name in names[:5]]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)[:SHOWN_MAX]
