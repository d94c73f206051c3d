"""What PostgreSQL knows for the dashboard, each question bounded in rows: rules, recent changes, the loudest."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg import sql

from mutt.rules import Handling
from services.web_ui.context import Context
from services.web_ui.queries import Row

CHANGES = 5
NEWEST = 20_000  # events of the last hour that are counted
SHOWN = 7
LOUDNESS = (
    Handling.PAGE_AND_TICKET,
    Handling.TICKET_ONLY,
    Handling.EMAIL_ONLY,
    Handling.LOG_ONLY,
    Handling.SUPPRESS,
    Handling.UNHANDLED,
)

_RULES = sql.SQL(
    "SELECT count(*) FILTER (WHERE is_active) AS active, EXISTS (SELECT FROM device_teams) AS teams FROM alert_rules"
)
_CHANGED = sql.SQL(
    "SELECT id, changed_at, changed_by, operation, table_name, record_id, old_values, new_values FROM config_audit_log"
    " WHERE changed_at > now() - interval '24 hours' ORDER BY changed_at DESC LIMIT %s"
)
_NEWEST = (
    "SELECT rule_id, handling, hostname FROM event_audit_log WHERE event_timestamp > now() - interval '1 hour'"
    " AND event_timestamp <= now() ORDER BY event_timestamp DESC, event_id DESC LIMIT %s"
)
_BY_RULE = sql.SQL(
    f"WITH newest AS ({_NEWEST}) SELECT rule_id, handling, r.name, count(*) AS events, sum(count(*)) OVER () AS total"  # noqa: S608
    " FROM newest LEFT JOIN alert_rules r ON r.id = rule_id GROUP BY rule_id, handling, r.name"
)
_BY_HOST = sql.SQL(
    f"WITH newest AS ({_NEWEST}) SELECT hostname, count(*) AS events FROM newest GROUP BY hostname"  # noqa: S608
    " ORDER BY events DESC, hostname LIMIT %s"
)


class Change(NamedTuple):
    """A recent change with its letter."""

    letter: str
    at: datetime
    by: str
    what: str
    detail: str
    href: str


@dataclass(frozen=True, slots=True)
class DatabaseBoard:
    """One look at PostgreSQL."""

    at: datetime
    rules: int
    has_teams: bool
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Loudest:
    """What came most in the hour before `at`, of the newest events."""

    at: datetime
    by_rule: list[Row]
    by_host: list[Row]
    counted: int


async def look(parts: Context, patience: float) -> DatabaseBoard:
    """Return what PostgreSQL holds now, of small tables alone; raises psycopg's errors."""
    async with parts.database(patience) as queries:
        rules = await queries.fetch("select", _RULES)
        changed = await queries.fetch("select", _CHANGED, (CHANGES,))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(changed)][::-1]
    return DatabaseBoard(
        at=datetime.now(UTC),
        rules=int(rules[0]["active"]),
        has_teams=bool(rules[0]["teams"]),
        changes=[_change(letter, row) for letter, row in zip(letters, changed, strict=True)],
    )


async def loudest(parts: Context, patience: float) -> Loudest:
    """Return the loudest of the last hour; the table is large, so that this may fail where `look` does not."""
    async with parts.database(patience) as queries:
        by_rule = await queries.fetch("select", _BY_RULE, (NEWEST,))
        by_host = await queries.fetch("select", _BY_HOST, (NEWEST, SHOWN))
    by_rule.sort(key=lambda row: (_loudness(row["handling"]), -row["events"]))
    counted = int(by_rule[0]["total"]) if by_rule else 0
    return Loudest(datetime.now(UTC), by_rule[:SHOWN], by_host, counted)


def _loudness(handling: str) -> int:
    return LOUDNESS.index(Handling(handling)) if handling in set(LOUDNESS) else len(LOUDNESS)


_NAMES = {
    "alert_rules": ("Rule", "/changes?table_name=alert_rules&record_id="),
    "development_hosts": ("Host", "/changes?table_name=development_hosts&record_id="),
    "device_teams": ("Team of", "/changes?table_name=device_teams&record_id="),
    "dynamic_config": ("Config", "/changes?table_name=dynamic_config&record_id="),
    "dead_letters": ("Dead letters", "/changes?table_name=dead_letters&record_id="),
}
_QUIET = frozenset({"version", "created_at", "updated_at", "id"})


def _change(letter: str, row: Row) -> Change:
    noun, address = _NAMES.get(row["table_name"], (row["table_name"], "/changes?record_id="))
    return Change(
        letter,
        row["changed_at"],
        row["changed_by"],
        f"{noun} {row['record_id']}"[:80],
        _detail(row["old_values"], row["new_values"]),
        address + str(row["record_id"]),
    )


def _detail(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    """Say what changed in one short line."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        name = (new or old or {}).get("name") if isinstance(new or old, dict) else None
        verb = "new" if old is None else "deleted"
        return f"{verb}: {name}" if name else verb
    fields = [name for name in new if name not in _QUIET and old.get(name) != new[name]]
    said = [f"{name.replace('_', ' ')} {_short(old.get(name))} \u2192 {_short(new[name])}" for name in fields[:2]]
    more = f", {len(fields) - 2} more" if len(fields) > 2 else ""  # noqa: PLR2004  (as many as are said)
    return ", ".join(said) + more or "saved unchanged"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else text[:23] + "\u2026"  # noqa: PLR2004
