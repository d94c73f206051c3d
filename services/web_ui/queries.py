"""The web UI's SQL: rules, development hosts, teams and the record of their changes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from prometheus_client import Histogram
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from mutt.fields import iso
from services.audit_logger import record_config_change

Row = dict[str, Any]


class Table(NamedTuple):
    """A table that the API edits: what identifies a row, what is shown, in which order."""

    name: str
    key: str
    columns: tuple[str, ...]
    order: str


RULES = Table(
    "alert_rules",
    "id",
    (
        "id",
        "name",
        "description",
        "match_string",
        "trap_oid",
        "syslog_severity",
        "match_type",
        "priority",
        "prod_handling",
        "dev_handling",
        "team_assignment",
        "is_active",
        "version",
        "created_at",
        "updated_at",
    ),
    "priority DESC, id",
)
HOSTS = Table("development_hosts", "hostname", ("hostname", "created_at", "updated_at"), "hostname")
TEAMS = Table("device_teams", "hostname", ("hostname", "team_assignment", "created_at", "updated_at"), "hostname")


class Change(NamedTuple):
    """Who changes something, why, and in which request."""

    by: str
    reason: str | None
    correlation_id: str


class Queries:
    """Statements on one connection, inside the caller's transaction; each is timed by its operation."""

    def __init__(self, connection: AsyncConnection[Any], latency: Histogram) -> None:
        self.connection = connection
        self._latency = latency

    async def page(self, table: Table, limit: int, offset: int) -> tuple[list[Row], int]:
        """Return a page of rows and how many there are in all."""
        statement = sql.SQL("SELECT {} FROM {} ORDER BY {} LIMIT %s OFFSET %s").format(
            _names(table.columns), sql.Identifier(table.name), _order(table)
        )
        rows = await self.fetch("select", statement, (limit, offset))
        count = sql.SQL("SELECT count(*) AS total FROM {}").format(sql.Identifier(table.name))
        total = await self.fetch("select", count)
        return [shown(row) for row in rows], int(total[0]["total"])

    async def one(self, table: Table, key: int | str, *, lock: bool = False) -> Row | None:
        """Return a row, None without one; with `lock` nobody else changes it before the transaction ends."""
        statement = sql.SQL("SELECT {} FROM {} WHERE {} = %s").format(
            _names(table.columns), sql.Identifier(table.name), sql.Identifier(table.key)
        )
        if lock:
            statement += sql.SQL(" FOR UPDATE")
        rows = await self.fetch("select", statement, (key,))
        return shown(rows[0]) if rows else None

    async def insert(self, table: Table, values: Mapping[str, Any], change: Change) -> Row:
        """Add a row, record it and return it; raises UniqueViolation where the key is taken."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            sql.Identifier(table.name),
            _names(tuple(values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
            _names(table.columns),
        )
        row = shown((await self.fetch("insert", statement, tuple(values.values())))[0])
        await self.record(table.name, "CREATE", row[table.key], change, old=None, new=row)
        return row

    async def update(self, table: Table, old: Row, values: Mapping[str, Any], change: Change) -> Row:
        """Change the row `old`, which is locked, record both states and return the new one."""
        statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s RETURNING {}").format(
            sql.Identifier(table.name),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values),
            sql.Identifier(table.key),
            _names(table.columns),
        )
        row = shown((await self.fetch("update", statement, (*values.values(), old[table.key])))[0])
        await self.record(table.name, "UPDATE", old[table.key], change, old=old, new=row)
        return row

    async def delete(self, table: Table, old: Row, change: Change) -> None:
        """Delete the row `old`, which is locked, and record what it was."""
        statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(
            sql.Identifier(table.name), sql.Identifier(table.key)
        )
        with self.timed("delete"):
            await self.connection.execute(statement, (old[table.key],))
        await self.record(table.name, "DELETE", old[table.key], change, old=old, new=None)

    async def fetch(self, operation: str, statement: sql.SQL | sql.Composed, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a statement."""
        with self.timed(operation):
            async with self.connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(statement, values)
                return await cursor.fetchall()

    async def transaction_id(self) -> str:
        """Return the number by which PostgreSQL tells what became of this transaction."""
        rows = await self.fetch("select", sql.SQL("SELECT pg_current_xact_id()::text AS id"))
        return str(rows[0]["id"])

    @contextmanager
    def timed(self, operation: str) -> Iterator[None]:
        """Add what happens inside to the latency of an operation."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._latency.labels(operation).observe((time.perf_counter() - started) * 1000)

    async def record(
        self, table: str, operation: str, key: int | str, change: Change, *, old: Row | None, new: Row | None
    ) -> None:
        """Add a row to config_audit_log."""
        with self.timed("insert"):
            await record_config_change(
                self.connection,
                changed_by=change.by,
                operation=operation,
                table_name=table,
                record_id=key,
                old_values=old,
                new_values=new,
                reason=change.reason,
                correlation_id=change.correlation_id,
            )


def shown(row: Mapping[str, Any]) -> Row:
    """Return a row as the API shows it: times in UTC with `Z`."""
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _order(table: Table) -> sql.SQL:
    return sql.SQL(table.order)
