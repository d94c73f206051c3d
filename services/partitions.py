"""Keeps the monthly partitions of event_audit_log and delivery_log in front of the events."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from psycopg import AsyncConnection

from mutt.months import DAYS_BACK, MONTHS_AHEAD, months_due


async def create_partitions(connection: AsyncConnection[Any], days: Iterable[date]) -> list[str]:
    """Make the partition of each day's month where it is missing, each in a transaction; return all their names."""
    names = []
    for month in sorted({day.replace(day=1) for day in days}):
        async with connection.transaction():
            cursor = await connection.execute("SELECT create_monthly_partition(%s)", (month,))
            row = await cursor.fetchone()
        names += [row[0]] if row else []
    return names


async def ensure_partitions(
    connection: AsyncConnection[Any],
    today: date,
    *,
    days_back: int = DAYS_BACK,
    months_ahead: int = MONTHS_AHEAD,
) -> list[str]:
    """Make what is missing from `days_back` days ago to `months_ahead` months on; return what was made."""
    present = await _present(connection)
    names = await create_partitions(connection, months_due(today, days_back, months_ahead))
    return [name for name in names if name not in present]


async def missing_partitions(connection: AsyncConnection[Any], today: date) -> list[str]:
    """Return the names of the audit's partitions that are due and do not exist."""
    present = await _present(connection)
    due = [f"event_audit_log_{month:%Y_%m}" for month in months_due(today)]
    return [name for name in due if name not in present]


async def _present(connection: AsyncConnection[Any]) -> set[str]:
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'event_audit_log'::regclass"
        )
        return {row[0] for row in await cursor.fetchall()}
