"""What is logged beside the audit: deliveries, and changes of the configuration."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from mutt.delivery_row import pack_deliveries
from services.audit_logger import RefusedError, record_config_change, write_deliveries

Connection = AsyncConnection[Any]
NOW = datetime.now(UTC)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def test_deliveries_are_logged_also_in_a_month_without_partition(connection: Connection) -> None:
    event_id = uuid4()
    first, second = datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)

    await write_deliveries(
        connection,
        [
            *pack_deliveries([(str(event_id), 1)], first, None, "timeout"),
            *pack_deliveries([(str(event_id), 2)], second, 202, "success"),
        ],
    )
    await write_deliveries(connection, [])

    cursor = await connection.execute("SELECT event_id, at, attempt, status, outcome FROM delivery_log ORDER BY at")
    assert await cursor.fetchall() == [
        (event_id, first, 1, None, "timeout"),
        (event_id, second, 2, 202, "success"),
    ]


@pytest.mark.parametrize(("count", "kept"), [(2**31, 2**31 - 1), (-(2**40), 0)])
async def test_a_count_that_no_column_holds_fails_no_delivery(connection: Connection, count: int, kept: int) -> None:
    event_id = uuid4()
    await write_deliveries(connection, pack_deliveries([(str(event_id), count)], NOW, 200, "success"))
    cursor = await connection.execute("SELECT attempt FROM delivery_log WHERE event_id = %s", [event_id])
    assert await cursor.fetchone() == (kept,)


async def test_a_delivery_that_postgresql_cannot_hold_is_refused(connection: Connection) -> None:
    with pytest.raises(RefusedError, match="22021"):
        await write_deliveries(connection, pack_deliveries([(str(uuid4()), 1)], NOW, 500, "retry: \0"))


async def test_a_change_and_its_record_commit_or_vanish_together(connection: Connection) -> None:
    trace = uuid4()

    async def change(priority: int) -> None:
        await record_config_change(
            connection,
            changed_by="alice",
            operation="UPDATE",
            table_name="alert_rules",
            record_id=12,
            old_values={"priority": 1, "updated_at": NOW, "id": trace},
            new_values={"priority": priority},
            reason="louder",
            correlation_id=str(trace),
        )

    async with connection.transaction():
        await change(900)
    async with connection.transaction(force_rollback=True):
        await change(901)

    cursor = await connection.execute(
        "SELECT changed_by, operation, table_name, record_id, old_values, new_values, reason, correlation_id,"
        " changed_at > now() - interval '1 minute' FROM config_audit_log"
    )
    old = {"priority": 1, "updated_at": NOW.isoformat().replace("+00:00", "Z"), "id": str(trace)}
    assert await cursor.fetchall() == [
        ("alice", "UPDATE", "alert_rules", "12", old, {"priority": 900}, "louder", trace, True)
    ]


async def test_a_record_of_a_new_thing_has_no_old_values(connection: Connection) -> None:
    await record_config_change(
        connection, changed_by="bob", operation="SET", table_name="config", record_id="k", new_values={"value": "1"}
    )
    cursor = await connection.execute("SELECT old_values, reason, correlation_id FROM config_audit_log")
    assert await cursor.fetchall() == [(None, None, None)]
