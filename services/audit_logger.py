"""Writes what happened: the audit rows of events, the deliveries to Moogsoft and the changes of the configuration."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Error
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from mutt import delivery_row
from mutt.audit_row import COLUMNS, HEADER, TRAILER, key_of, months
from mutt.delivery_row import day_of
from mutt.errors import PermanentError, TransientError
from mutt.handling import Decision
from services.partitions import create_partitions
from services.postgres_connector import PATIENCE, POOL_WAIT, borrowed

Connection = AsyncConnection[Any]
Database = AsyncConnectionPool[Connection] | Connection

_NAMES = ", ".join(COLUMNS)
_COPY = f"COPY event_audit_log ({_NAMES}) FROM STDIN (FORMAT binary)"
_COPY_APART = f"COPY pg_temp.mutt_audit_batch ({_NAMES}) FROM STDIN (FORMAT binary)"
_COPY_DELIVERIES = f"COPY delivery_log ({', '.join(delivery_row.COLUMNS)}) FROM STDIN (FORMAT binary)".encode()
# Kept for the session: a table made and dropped for every resend would bloat the catalog.
_MAKE_APART = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS mutt_audit_batch "
    "(LIKE event_audit_log INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_INSERT_APART = (
    f"INSERT INTO event_audit_log ({_NAMES}) SELECT {_NAMES} FROM pg_temp.mutt_audit_batch "  # noqa: S608  (constants)
    "ORDER BY event_timestamp, event_id ON CONFLICT (event_id, event_timestamp) DO NOTHING"
)
_DECISION = ("handling", "team", "rule_id", "rule_version", "environment")
_STANDING, _BROUGHT = (", ".join(f"{table}.{name}" for name in _DECISION) for table in ("standing", "brought"))
# LIMIT makes it a look-up by key for each row: PostgreSQL knows little of a temporary table, and would read the whole
# audit to join it with a large batch. The range leaves other months alone, whoever has locked them.
_DECIDED_OTHERWISE = (
    f"SELECT event_id, event_timestamp, {_STANDING} FROM pg_temp.mutt_audit_batch AS brought CROSS JOIN LATERAL "  # noqa: S608  (constants)
    f"(SELECT {', '.join(_DECISION)} FROM event_audit_log AS audited WHERE audited.event_id = brought.event_id "
    "AND audited.event_timestamp = brought.event_timestamp AND audited.event_timestamp BETWEEN %s AND %s LIMIT 1) "
    "AS standing "
    f"WHERE ({_STANDING}) IS DISTINCT FROM ({_BROUGHT})"
)


class RefusedError(PermanentError):
    """PostgreSQL refused a batch for something in its rows: bisect it."""

    def __init__(self, error: Error) -> None:
        self.sqlstate = error.sqlstate or ""
        super().__init__(f"{type(error).__name__} ({self.sqlstate}): {error.diag.message_primary or error}")


class DatabaseAwayError(TransientError):
    """PostgreSQL could not do it now, through no fault of any row."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that PostgreSQL refused; `index` is its place in the batch."""

    index: int
    error: RefusedError


class Written(NamedTuple):
    """What came of rows: those that PostgreSQL refuses; and, by their places, what the audit had decided otherwise."""

    refusals: list[Refusal]
    standing: dict[int, Decision]


def is_events_fault(error: Error) -> bool:
    """Tell whether rows are to blame (SQLSTATE 22, 54, or a constraint by name); the rest is the database's."""
    state = error.sqlstate or ""
    # A 23514 that names no constraint is a partition that does not exist.
    return state[:2] in {"22", "54"} or (state[:2] == "23" and error.diag.constraint_name is not None)


async def write_rows(
    database: Database, rows: Sequence[bytes], patience: float = PATIENCE, *, whole: bool = False
) -> Written:
    """Commit packed rows; rows that the audit has already stay as they are.

    Raises DatabaseAwayError when it cannot be done now, or not within `patience` seconds: then rows may be written or
    not, and writing all of them again is right. Raises RefusedError, and writes none, where `whole` and one is refused.
    """
    refusals: list[Refusal] = []
    standing: dict[int, Decision] = {}
    spans = [(0, len(rows))] if rows else []
    async with _session(database, patience) as connection:
        while spans:
            start, end = spans.pop()
            try:
                before = await _write(connection, rows[start:end])
            except RefusedError as error:
                if whole:
                    raise
                if end - start == 1:
                    refusals.append(Refusal(start, error))
                else:
                    middle = (start + end) // 2
                    spans += [(middle, end), (start, middle)]
            else:
                keys = enumerate(map(key_of, rows[start:end]), start) if before else ()
                standing |= {place: before[key] for place, key in keys if key in before}
    return Written(refusals, standing)


async def write_deliveries(database: Database, rows: Sequence[bytes]) -> None:
    """Commit packed rows of delivery_log. Raises RefusedError or DatabaseAwayError; no delivery ever waits for this."""

    async def copy(connection: Connection) -> None:
        async with connection.cursor() as cursor, cursor.copy(_COPY_DELIVERIES) as stream:
            await stream.write(b"".join((HEADER, *rows, TRAILER)))

    if rows:
        async with _session(database) as connection:
            await _commit(connection, copy, lambda: sorted(set(map(day_of, rows))))


async def record_config_change(
    connection: Connection,
    *,
    changed_by: str,
    operation: str,
    table_name: str,
    record_id: str | int | None,
    old_values: Mapping[str, Any] | None = None,
    new_values: Mapping[str, Any] | None = None,
    reason: str | None = None,
    correlation_id: str | UUID | None = None,
) -> None:
    """Add a row to config_audit_log in the caller's transaction, so that change and record commit together.

    `changed_by` is a user's or a key's name; dates, UUIDs and the like in the values become text.
    """
    await connection.execute(
        "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id, old_values, new_values,"
        " reason, correlation_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            changed_by,
            operation,
            table_name,
            None if record_id is None else str(record_id),
            _json(old_values),
            _json(new_values),
            reason,
            correlation_id,
        ),
    )


async def _write(connection: Connection, rows: Sequence[bytes]) -> dict[tuple[UUID, datetime], Decision]:
    """Commit rows; return the decisions, by key, of those that were there already, decided otherwise."""
    # Every writer goes by the key's order: of two that bring the same rows one waits, and neither for the other.
    data = b"".join((HEADER, *sorted(rows), TRAILER))
    before: dict[tuple[UUID, datetime], Decision] = {}

    async def copy(connection: Connection) -> None:
        await _copy(connection, _COPY, data)

    async def copy_apart(connection: Connection) -> None:
        await connection.execute(_MAKE_APART)
        await _copy(connection, _COPY_APART, data)
        await connection.execute(_INSERT_APART)
        before.clear()
        moments = [key_of(row)[1] for row in rows]
        # Not prepared: a plan that was made while a month's partition was empty would read it whole for each row.
        known = await connection.execute(_DECIDED_OTHERWISE, (min(moments), max(moments)), prepare=False)
        async for event_id, moment, *decided in known:
            before[event_id, moment] = Decision._make([*decided, None])

    try:
        await _commit(connection, copy, lambda: months(rows))
    except RefusedError as error:
        if not isinstance(error.__cause__, UniqueViolation):
            raise
        await _commit(connection, copy_apart, lambda: months(rows))
    return before


async def _copy(connection: Connection, statement: str, data: bytes) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement.encode()) as stream:
        await stream.write(data)


async def _commit(
    connection: Connection, work: Callable[[Connection], Awaitable[None]], months_of: Callable[[], Sequence[date]]
) -> None:
    """Do the work in a transaction; where a partition was missing, make those of its months and do it again."""
    try:
        try:
            async with connection.transaction():
                await work(connection)
        except CheckViolation as error:
            if error.diag.constraint_name is not None:
                raise
            await create_partitions(connection, months_of())
            async with connection.transaction():
                await work(connection)
    except Error as error:
        if is_events_fault(error):
            raise RefusedError(error) from error
        raise DatabaseAwayError(f"{type(error).__name__}: {str(error).strip()}") from error


@asynccontextmanager
async def _session(database: Database, patience: float = PATIENCE) -> AsyncIterator[Connection]:
    if isinstance(database, AsyncConnection):
        yield database
        return
    try:
        async with borrowed(database, min(POOL_WAIT, patience), patience) as connection:
            yield connection
    except Error as error:
        raise DatabaseAwayError(f"{type(error).__name__}: {str(error).strip()}") from error


def _json(values: Mapping[str, Any] | None) -> Jsonb | None:
    return None if values is None else Jsonb(values, dumps=msgspec.json.encode)
