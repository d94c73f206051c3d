"""Rules, hosts and teams by the file: compared first, then taken whole or not at all, each change on record."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from psycopg import sql
from psycopg.errors import UniqueViolation

from mutt import host_files, rule_files
from mutt.hosts import validate_host, validate_team
from mutt.locks import MUTT, Lock
from mutt.record_changes import FieldChange, field_changes
from services.web_ui.context import Context
from services.web_ui.queries import HOSTS, RULES, TEAMS, Change, Queries, Row, Table, shown
from services.web_ui.replies import ApiError
from services.web_ui.rule_queries import all_rows

DOCUMENT_MAX = 8 * 1024 * 1024  # bytes
# What is sure to be done within the time that a request may hold its connection.
CHANGES_MAX = 5_000
# One import at a time, whatever instance makes it: two at once would not see each other's new rows, and both make them.
_LOCK = sql.SQL("SELECT pg_advisory_xact_lock({}, {})").format(MUTT, Lock.IMPORTS)
SHOWN = 500  # entries of each kind that a plan lists


class Kind(NamedTuple):
    """What is imported as lines."""

    table: Table
    topic: str
    key: str
    columns: tuple[str, ...]
    validate: Callable[[Mapping[str, Any]], dict[str, Any]]


HOST_KIND = Kind(HOSTS, "hosts", "hosts", ("hostname",), validate_host)
TEAM_KIND = Kind(TEAMS, "teams", "teams", ("hostname", "team_assignment"), validate_team)


class Update(NamedTuple):
    """An entry that changes."""

    row: Row
    values: dict[str, Any]
    changes: list[FieldChange]


class Plan(NamedTuple):
    """What would be done; `seal` stands for this plan, so that exactly what was looked at is done."""

    create: list[dict[str, Any]]
    update: list[Update]
    delete: list[Row]
    unchanged: int
    seal: str

    @property
    def total(self) -> int:
        """How many changes there are."""
        return len(self.create) + len(self.update) + len(self.delete)


# Reading a document takes seconds of its own, so it is over before a connection is borrowed, and it is one at a time:
# two would take as long together, and twice the memory.
_reading = asyncio.Lock()


async def read_rules(document: str) -> list[dict[str, Any]]:
    """Return the rules of a YAML document; raises RuleError naming each fault."""
    async with _reading:
        return await asyncio.to_thread(rule_files.read, document)


async def read_lines(kind: Kind, document: str) -> list[dict[str, Any]]:
    """Return the entries of a CSV or JSON document; raises RuleError naming each fault."""
    async with _reading:
        return await asyncio.to_thread(host_files.read, document, kind.columns, kind.key, kind.validate)


async def plan_rules(
    queries: Queries, rules: Sequence[Mapping[str, Any]], *, replace: bool, lock: bool = False
) -> Plan:
    """Compare a document's rules with those that there are; with `replace` those that it does not name are to go."""
    rows = await all_rows(queries, lock=lock)

    def compare() -> Plan:
        found = rule_files.plan(rules, rows)
        updates = [Update(dict(each.row), each.values, each.changes) for each in found.update]
        delete = [dict(row) for row in found.missing] if replace else []
        return _sealed(found.create, updates, delete, found.unchanged)

    return await asyncio.to_thread(compare)


async def plan_lines(
    queries: Queries, kind: Kind, entries: Sequence[Mapping[str, Any]], *, replace: bool, lock: bool = False
) -> Plan:
    """Compare a document's entries with what there is."""
    left = {row["hostname"]: row for row in await all_lines(queries, kind.table, lock=lock)}
    create: list[dict[str, Any]] = []
    update: list[Update] = []
    unchanged = 0
    for values in entries:
        row = left.pop(values["hostname"], None)
        if row is None:
            create.append(dict(values))
        elif changes := field_changes({name: row[name] for name in values}, values):
            update.append(Update(row, dict(values), changes))
        else:
            unchanged += 1
    return _sealed(create, update, list(left.values()) if replace else [], unchanged)


async def all_lines(queries: Queries, table: Table, *, lock: bool = False) -> list[Row]:
    """Return every host or team by name."""
    statement = sql.SQL("SELECT {} FROM {} ORDER BY hostname").format(
        sql.SQL(", ").join(map(sql.Identifier, table.columns)), sql.Identifier(table.name)
    )
    if lock:
        statement += sql.SQL(" FOR UPDATE")
    return [shown(row) for row in await queries.fetch("select", statement)]


async def preview_rules(parts: Context, document: str, *, replace: bool) -> Plan:
    """Return what a YAML document would do; raises RuleError naming each fault."""
    rules = await read_rules(document)
    async with parts.database() as queries:
        return await plan_rules(queries, rules, replace=replace)


async def preview_lines(parts: Context, kind: Kind, document: str, *, replace: bool) -> Plan:
    """Likewise for hosts or teams."""
    entries = await read_lines(kind, document)
    async with parts.database() as queries:
        return await plan_lines(queries, kind, entries, replace=replace)


async def exported_rules(parts: Context) -> str:
    """Return all rules as the document that an import takes."""
    async with parts.database() as queries:
        rows = await all_rows(queries)
    return await asyncio.to_thread(rule_files.write, rows)


async def apply_rules(parts: Context, document: str, change: Change, seal: str | None, *, replace: bool) -> Plan:
    """Do what the plan says, all of it or nothing; raises ApiError 409 where it is another plan by now."""
    rules = await read_rules(document)
    async with parts.change("rules") as queries:
        await queries.connection.execute(_LOCK)
        plan = await plan_rules(queries, rules, replace=replace, lock=True)
        await _execute(queries, RULES, plan, change, seal)
    return plan


async def apply_lines(
    parts: Context, kind: Kind, document: str, change: Change, seal: str | None, *, replace: bool
) -> Plan:
    """Likewise for hosts or teams."""
    entries = await read_lines(kind, document)
    try:
        async with parts.change(kind.topic) as queries:
            await queries.connection.execute(_LOCK)
            plan = await plan_lines(queries, kind, entries, replace=replace, lock=True)
            await _execute(queries, kind.table, plan, change, seal)
    except UniqueViolation:
        raise ApiError(
            409, "somebody added one of these hosts at the same time: nothing was done. Compare again"
        ) from None
    return plan


def shown_plan(plan: Plan, *, applied: bool) -> dict[str, Any]:
    """Return a plan as the API shows it; long lists are cut, and their counts are not."""
    return {
        "applied": applied,
        "seal": plan.seal,
        "counts": {
            "create": len(plan.create),
            "update": len(plan.update),
            "delete": len(plan.delete),
            "unchanged": plan.unchanged,
        },
        "create": plan.create[:SHOWN],
        "update": [
            {
                "key": each.row.get("id") or each.row.get("hostname"),
                "name": each.row.get("name"),
                "changes": [change._asdict() for change in each.changes],
            }
            for each in plan.update[:SHOWN]
        ],
        "delete": plan.delete[:SHOWN],
    }


def _sealed(create: list[dict[str, Any]], update: list[Update], delete: list[Row], unchanged: int) -> Plan:
    parts = [create, [[each.row, each.values] for each in update], delete]
    return Plan(create, update, delete, unchanged, hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:24])


async def _execute(queries: Queries, table: Table, plan: Plan, change: Change, seal: str | None) -> None:
    if seal is not None and seal != plan.seal:
        raise ApiError(409, "what this file would change is not what was shown: somebody made a change. Compare again")
    if plan.total > CHANGES_MAX:
        raise ApiError(400, f"{plan.total} changes at once; at most {CHANGES_MAX} are made. Split the file")
    for row in plan.delete:
        await queries.delete(table, row, change)
    for each in plan.update:
        await queries.update(table, each.row, each.values, change)
    for values in plan.create:
        await queries.insert(table, values, change)


def csv_of(rows: Iterable[Row], kind: Kind) -> str:
    """Return all as CSV."""
    return host_files.write_csv(rows, kind.columns)
