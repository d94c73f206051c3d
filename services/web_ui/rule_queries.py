"""What is read to judge by: all rules, hosts and teams in one snapshot; and what was changed of one record."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql

from mutt.errors import EntryError
from mutt.events import QueuedEvent
from mutt.handling import Hosts
from mutt.past_book import rule_of
from mutt.past_events import COLUMNS, from_audit
from mutt.rules import Rule
from services.web_ui.queries import HOSTS, RULES, TEAMS, Queries, Row, shown

_HISTORY = sql.SQL(
    "SELECT id, changed_at, changed_by, operation, table_name, record_id, old_values, new_values, reason,"
    " correlation_id::text FROM config_audit_log WHERE {} ORDER BY id DESC LIMIT %s OFFSET %s"
)
_CAUGHT = sql.SQL(
    "SELECT event_id::text, event_timestamp, hostname, message, handling, rule_id FROM event_audit_log"
    " WHERE event_id = ANY(%s::uuid[]) AND event_timestamp >= %s AND event_timestamp < %s"
)


class Judge(NamedTuple):
    """All that decides of an event."""

    rules: list[Rule]
    hosts: Hosts


async def all_rows(queries: Queries, *, lock: bool = False) -> list[Row]:
    """Return every rule in the order in which they are tried."""
    statement = sql.SQL("SELECT {} FROM alert_rules ORDER BY priority DESC, id").format(
        sql.SQL(", ").join(map(sql.Identifier, RULES.columns))
    )
    if lock:
        statement += sql.SQL(" FOR UPDATE")
    rows = await queries.fetch("select", statement)
    # In a thread: of thousands of rules it takes longer than whoever else is served should wait.
    return await asyncio.to_thread(lambda: [shown(row) for row in rows])


async def judge_of(queries: Queries, *, match_short: bool) -> Judge:
    """Return the rules, hosts and teams of this moment."""
    rows = await all_rows(queries)
    rules = await asyncio.to_thread(lambda: [rule_of(row) for row in rows])  # in a thread as above
    dev = await queries.fetch("select", sql.SQL("SELECT hostname FROM development_hosts"))
    teams = await queries.fetch("select", sql.SQL("SELECT hostname, team_assignment FROM device_teams"))
    hosts = Hosts.of(
        (row["hostname"] for row in dev),
        {row["hostname"]: row["team_assignment"] for row in teams},
        match_short=match_short,
    )
    return Judge(rules, hosts)


async def audited_event(queries: Queries, event_id: str) -> QueuedEvent:
    """Return an event of the audit; raises EntryError without one."""
    statement = sql.SQL("SELECT {} FROM event_audit_log WHERE event_id = %s LIMIT 1").format(
        sql.SQL(", ").join(map(sql.SQL, COLUMNS))
    )
    async with queries.connection.cursor() as cursor:
        await cursor.execute(statement, (event_id,))
        row = await cursor.fetchone()
    if row is None:
        raise EntryError(f"no audited event has the event_id {event_id}; it may still be in a queue")
    return from_audit(row)


async def caught_events(queries: Queries, event_ids: Sequence[str], since: datetime, until: datetime) -> list[Row]:
    """Return audited events in the order of their ids, without those that are gone by now."""
    rows = await queries.fetch("select", _CAUGHT, (list(event_ids), since, until))
    by_id = {row["event_id"]: row for row in rows}
    return [by_id[each] for each in event_ids if each in by_id]


async def history(queries: Queries, table: str, record_id: str, limit: int = 200, offset: int = 0) -> list[Row]:
    """Return the changes of one record, newest first."""
    statement = _HISTORY.format(sql.SQL("table_name = %s AND record_id = %s"))
    return [shown(row) for row in await queries.fetch("select", statement, (table, record_id, limit, offset))]


async def change_by_id(queries: Queries, change_id: int) -> Row | None:
    """Return one change, None without it."""
    rows = await queries.fetch("select", _HISTORY.format(sql.SQL("id = %s")), (change_id, 1, 0))
    return shown(rows[0]) if rows else None


async def last_change(queries: Queries, table: str, record_id: str | int) -> int | None:
    """Return the id of a record's newest change: what an Undo takes back."""
    rows = await queries.fetch(
        "select",
        sql.SQL("SELECT max(id) AS id FROM config_audit_log WHERE table_name = %s AND record_id = %s"),
        (table, str(record_id)),
    )
    found: int | None = rows[0]["id"]
    return found


async def restore_rule(queries: Queries, values: dict[str, Any], rule_id: int, version: int) -> Row:
    """Put a deleted rule back under its id, one version on."""
    columns = {"id": rule_id, "version": version, **values}
    statement = sql.SQL("INSERT INTO alert_rules ({}) OVERRIDING SYSTEM VALUE VALUES ({}) RETURNING {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        sql.SQL(", ").join(map(sql.Identifier, RULES.columns)),
    )
    return shown((await queries.fetch("insert", statement, tuple(columns.values())))[0])


TABLES = {table.name: table for table in (RULES, HOSTS, TEAMS)}
TOPICS = {RULES.name: "rules", HOSTS.name: "hosts", TEAMS.name: "teams"}
