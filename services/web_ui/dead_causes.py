"""What may have made letters die: a change shortly before the first of them."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql

from mutt.dead_groups import CAUSE_WITHIN, Group
from services.web_ui.queries import Queries, Row

SHOWN_MAX = 60  # characters of a value
_LATEST = sql.SQL(
    "SELECT id, changed_at, changed_by, operation, table_name, record_id, old_values, new_values FROM config_audit_log"
    " WHERE changed_at BETWEEN %s AND %s AND table_name = ANY(%s) ORDER BY changed_at DESC LIMIT 20"
)
_WORDS = {
    "alert_rules": "rule {}",
    "development_hosts": "development host {}",
    "device_teams": "the team of {}",
    "dynamic_config": "{}",
}
_VERBS = {"CREATE": "added", "UPDATE": "changed", "DELETE": "deleted"}
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


async def cause_of(queries: Queries, group: Group) -> Cause | None:
    """Return the likely cause of a group: the change of its own rule, else the latest change before its first death."""
    if group.first is None:
        return None
    rows = await queries.fetch("select", _LATEST, (group.first - CAUSE_WITHIN, group.first, list(_WORDS)))
    if not rows:
        return None
    own = [row for row in rows if _is_of(row, group)]
    row = (own or rows)[0]
    return Cause(
        _WORDS[row["table_name"]].format(row["record_id"]),
        _VERBS.get(row["operation"], "changed"),
        row["changed_at"],
        row["changed_by"],
        _differences(row["old_values"] or {}, row["new_values"] or {}),
        (group.first - row["changed_at"]).total_seconds(),
        row["table_name"],
        row["record_id"],
        bool(own),
    )


def _is_of(row: Row, group: Group) -> bool:
    return (row["table_name"], row["record_id"]) == ("alert_rules", str(group.rule_id))


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = [name for name in {**old, **new} if name not in _UNTOLD and old.get(name) != new.get(name)]
    return [(name.replace("_", " "), _shown(old.get(name)), _shown(new.get(name))) for name in names[:5]]


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)[:SHOWN_MAX]
