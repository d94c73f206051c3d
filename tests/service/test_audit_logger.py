import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from mutt.audit_row import pack_decision, pack_row
from mutt.delivery_row import pack_deliveries
from mutt.events import decode_entry, iso
from scripts.migrate import DATABASE
from services.audit_logger import (
    DatabaseAwayError,
    write_deliveries,
    write_rows,
)
from services.moog_forwarder.deliveries import DeliveryLog
from services.runtime.instruments import MoogForwarderInstruments
from services.schema import SCHEMA_VERSION, schema_version
from tests.harness.servers import Databases
from tests.harness.waiting import eventually

Connection = AsyncConnection[Any]
NOW = datetime.now(UTC)
LOG_ONLY = pack_decision("Log_only", "NETO", 7, 2, "prod")
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS)
NUMBERS = st.integers() | st.floats(-1e15, 1e15)  # jsonb keeps decimal digits, which are a float's value only so far
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[AsyncConnectionPool[Connection]]:
    async with AsyncConnectionPool(database_url, min_size=1, max_size=8, open=False) as opened:
        yield opened


async def test_what_is_noted_while_the_delivery_log_is_written_waits_for_the_next_time(
    pool: AsyncConnectionPool[Connection],
) -> None:
    deliveries = DeliveryLog(pool, MoogForwarderInstruments(CollectorRegistry()))
    first, second = str(uuid4()), str(uuid4())
    deliveries.note([(first, 1), (first, 2)], NOW, 200, "success")
    writing = asyncio.create_task(deliveries.flush())
    await asyncio.sleep(0)  # it has begun
    deliveries.note([(second, 1)], NOW, 200, "success")
    await writing

    async def written() -> list[str]:
        async with pool.connection() as connection:
            found = await connection.execute("SELECT event_id FROM delivery_log ORDER BY attempt, event_id")
            return [str(row[0]) for row in await found.fetchall() if str(row[0]) in {first, second}]

    assert await written() == [first, first]
    await deliveries.flush()
    assert sorted(await written()) == sorted([first, first, second])


async def write_all(database: Any, rows: list[bytes]) -> None:
    assert await write_rows(database, rows) == ([], {})


def row_of(*, event_id: UUID | None = None, moment: datetime = NOW, decision: bytes = LOG_ONLY, **fields: Any) -> bytes:
    envelope = {"v": 1, "event_id": str(event_id or uuid4()), "received_at": iso(NOW), "event_timestamp": iso(moment)}
    entry = {"_mutt": envelope, "message": "down", "hostname": "sw1", **fields}
    return pack_row(decode_entry(json.dumps(entry, separators=(",", ":")).encode()), decision)


async def count(connection: Connection) -> int:
    row = await (await connection.execute("SELECT count(*) FROM event_audit_log")).fetchone()
    assert row is not None
    return int(row[0])


async def messages(connection: Connection) -> list[str]:
    cursor = await connection.execute("SELECT message FROM event_audit_log ORDER BY message")
    return [row[0] for row in await cursor.fetchall()]


@settings(max_examples=100)
@given(
    fields=st.fixed_dictionaries(
        {
            "message": TEXT,
            "hostname": st.text(CHARACTERS, max_size=255),
            "source": st.none() | TEXT,
            "syslog_severity": st.none() | st.integers(0, 7),
            "trap_oid": st.none() | st.from_regex(r"\A\d+(\.\d+)*\Z"),
            "correlation_id": st.uuids().map(str),
        }
    ),
    extra=st.dictionaries(TEXT, JSON, max_size=5),
    rule=st.none() | st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
    moment=st.datetimes(datetime(2000, 1, 1), datetime(9999, 11, 30), timezones=st.just(UTC)),  # noqa: DTZ001
)
async def test_every_row_reads_back_as_it_was(
    connection: Connection,
    fields: dict[str, Any],
    extra: dict[str, Any],
    rule: tuple[int, int] | None,
    moment: datetime,
) -> None:
    event_id = uuid4()
    extra = {name: value for name, value in extra.items() if name not in {*fields, "_mutt", "severity"}}
    decision = pack_decision("Ticket_only", "Ænima", rule and rule[0], rule and rule[1], "dev")

    row = row_of(event_id=event_id, moment=moment, decision=decision, **fields, **extra)
    await write_all(connection, [row])

    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute("SELECT * FROM event_audit_log WHERE event_id = %s", (event_id,))
    (found,) = await cursor.fetchall()
    assert abs(found.pop("audited_at") - datetime.now(UTC)) < timedelta(minutes=1)
    assert found == fields | {
        "event_id": event_id,
        "correlation_id": UUID(fields["correlation_id"]),
        "event_timestamp": moment,
        "received_at": NOW,
        "rule_id": rule and rule[0],
        "rule_version": rule and rule[1],
        "forwarded": True,
        "handling": "Ticket_only",
        "team": "Ænima",
        "environment": "dev",
        "raw": extra,
    }


async def test_a_batch_written_twice_is_there_once(connection: Connection) -> None:
    rows = [row_of(message=str(number)) for number in range(200)]

    await write_all(connection, rows)
    await write_all(connection, rows)

    assert await count(connection) == 200


async def test_what_is_new_in_a_batch_is_written_beside_what_is_known(connection: Connection) -> None:
    known, new = [row_of() for _ in range(50)], [row_of() for _ in range(50)]
    await write_all(connection, known)

    mixed = known + new + new[:10]
    random.Random(7).shuffle(mixed)
    await write_all(connection, mixed)
    await write_all(connection, [*new, row_of()])

    assert await count(connection) == 101


async def test_an_empty_batch_is_no_work(connection: Connection) -> None:
    assert await write_rows(connection, []) == ([], {})


async def test_a_missing_partition_is_made(connection: Connection) -> None:
    far = [datetime(2031, month, 15, tzinfo=UTC) for month in (1, 5, 5, 9)]
    rows = [row_of(moment=moment) for moment in [*far, NOW]]

    await write_all(connection, rows)
    await write_all(connection, [*rows, row_of(moment=datetime(2032, 2, 29, tzinfo=UTC))])

    assert await count(connection) == 6
    cursor = await connection.execute(
        "SELECT DISTINCT tableoid::regclass::text FROM event_audit_log WHERE event_timestamp > '2030-01-01' ORDER BY 1"
    )
    assert [row[0] for row in await cursor.fetchall()] == [
        "event_audit_log_2031_01",
        "event_audit_log_2031_05",
        "event_audit_log_2031_09",
        "event_audit_log_2032_02",
    ]


def _bad_rows() -> dict[str, bytes]:
    return {
        "22021": row_of(message="a NUL \0 in text"),
        "22P05": row_of(detail="a NUL \0 in JSON"),
        "54000": row_of(hostname="".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))),
        "22008": row_of(moment=datetime(1999, 12, 31, tzinfo=UTC)),
        "23514": row_of(source="forbidden"),
    }


async def test_each_bad_row_is_named_and_the_others_are_committed(connection: Connection) -> None:
    await connection.execute("ALTER TABLE event_audit_log ADD CONSTRAINT no_such_source CHECK (source <> 'forbidden')")
    rows = [row_of(message=f"good {number:03}") for number in range(100)]
    expected = {}
    for place, (sqlstate, bad) in zip((0, 17, 18, 60, 99), _bad_rows().items(), strict=True):
        rows[place] = bad
        expected[place] = sqlstate

    refusals, _ = await write_rows(connection, rows)

    assert {refusal.index: refusal.error.sqlstate for refusal in refusals} == expected
    assert await messages(connection) == [f"good {n:03}" for n in range(100) if n not in expected]


async def test_a_bad_row_among_known_rows_is_found_too(connection: Connection) -> None:
    known = [row_of() for _ in range(20)]
    await write_all(connection, known)

    refusals, _ = await write_rows(connection, [*known[:10], row_of(message="\0"), *known[10:], row_of()])

    assert [refusal.index for refusal in refusals] == [10]
    assert await count(connection) == 21


async def test_a_decision_that_stands_is_told_to_who_brings_another(connection: Connection) -> None:
    ids = [uuid4() for _ in range(4)]
    await write_all(connection, [row_of(event_id=event_id) for event_id in ids])
    page = pack_decision("Page_and_ticket", "CORE", None, None, "dev")

    rows = [row_of(event_id=ids[0], decision=page), row_of(event_id=ids[1]), row_of(event_id=ids[0], decision=page)]
    rows += [row_of(event_id=ids[2], moment=NOW - timedelta(days=40), decision=page), row_of(message="\0")]
    rows += [row_of(event_id=ids[3], decision=page), row_of(decision=page)]
    refusals, standing = await write_rows(connection, rows)

    assert [refusal.index for refusal in refusals] == [4]
    assert standing == dict.fromkeys((0, 2, 5), ("Log_only", "NETO", 7, 2, "prod", None))
    assert await count(connection) == 6


async def test_decisions_that_stand_are_looked_up_by_their_keys_however_large_the_audit_is(
    connection: Connection,
) -> None:
    async def whole_reads() -> int:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        cursor = await connection.execute(
            "SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE relname LIKE 'event_audit_log_%'"
        )
        return int((await cursor.fetchall())[0][0])

    ids = [uuid4() for _ in range(1000)]
    await write_all(connection, [row_of(event_id=event_id) for event_id in ids])
    await connection.execute(
        "INSERT INTO event_audit_log (event_id, correlation_id, event_timestamp, received_at, forwarded, hostname,"
        " message, team, handling, environment) SELECT gen_random_uuid(), correlation_id, event_timestamp, received_at,"
        " forwarded, hostname, message, team, handling, environment FROM event_audit_log, generate_series(1, 20)"
    )
    await connection.execute("ANALYZE event_audit_log")
    before = await whole_reads()
    page = pack_decision("Page_and_ticket", "CORE", None, None, "dev")

    _, standing = await write_rows(connection, [row_of(event_id=event_id, decision=page) for event_id in ids])

    assert len(standing) == 1000
    assert await whole_reads() == before


async def test_rows_that_are_known_already_wait_for_no_lock_on_another_month(
    connection: Connection, database_url: str
) -> None:
    rows = [row_of(), row_of()]
    await write_all(connection, [*rows, row_of(moment=NOW - timedelta(days=400))])
    await connection.execute("SET lock_timeout = '1s'")
    async with await AsyncConnection.connect(database_url) as other:
        name = f"event_audit_log_{NOW - timedelta(days=400):%Y_%m}"
        await other.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE".encode())
        await write_all(connection, rows)


async def test_a_second_unique_index_is_the_rows_fault_and_not_a_repeat(connection: Connection) -> None:
    await connection.execute("CREATE UNIQUE INDEX one_a_time ON event_audit_log (event_timestamp)")
    await write_all(connection, [row_of()])

    refusals, _ = await write_rows(connection, [row_of(), row_of(moment=NOW - timedelta(seconds=1))])

    assert [(refusal.index, refusal.error.sqlstate) for refusal in refusals] == [(0, "23505")]
    assert await count(connection) == 2


def at_the_gate(connection: Connection, writers: int) -> Callable[[], Awaitable[list[int]]]:
    """Look for the server processes of writers that wait for the audit table, once they are as many."""

    async def look() -> list[int]:
        cursor = await connection.execute(
            "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'event_audit_log'::regclass"
        )
        found = [row[0] for row in await cursor.fetchall()]
        return found if len(found) == writers else []

    return look


@pytest.mark.parametrize("known", [0, 700])
async def test_writers_of_the_same_rows_never_deadlock(
    pool: AsyncConnectionPool[Connection], connection: Connection, known: int
) -> None:
    last_month = NOW.replace(day=1) - timedelta(days=10)
    rows = [row_of(moment=random.Random(n).choice([NOW, last_month])) for n in range(1500)]
    orders = [random.Random(seed).sample(rows[seed * 50 : 1000 + seed * 50], 1000) for seed in range(6)]
    await write_all(pool, rows[:known])

    async with connection.transaction():
        await connection.execute("LOCK TABLE event_audit_log IN SHARE MODE")
        writers = asyncio.gather(*(write_all(pool, order) for order in orders))
        await eventually(at_the_gate(connection, len(orders)), "all writers wait")
    await writers

    assert await count(connection) == 1250


async def test_a_lost_connection_costs_no_row_its_good_name(database_url: str, connection: Connection) -> None:
    async with await AsyncConnection.connect(database_url) as other:
        await connection.execute("SELECT pg_terminate_backend(%s)", (other.info.backend_pid,))
        with pytest.raises(DatabaseAwayError):
            await write_rows(other, [row_of()])


async def test_a_connection_lost_in_the_middle_is_the_databases_fault(
    pool: AsyncConnectionPool[Connection], connection: Connection
) -> None:
    rows = [row_of() for _ in range(1000)]

    async with connection.transaction():
        await connection.execute("LOCK TABLE event_audit_log")
        writer = asyncio.ensure_future(write_all(pool, rows))
        (pid,) = await eventually(at_the_gate(connection, 1), "the writer waits")
        await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DatabaseAwayError):
            await writer
    await write_all(pool, rows)

    assert await count(connection) == 1000


async def test_a_read_only_database_is_not_the_rows_fault(connection: Connection) -> None:
    await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(DatabaseAwayError, match="ReadOnly"):
        await write_rows(connection, [row_of()])


async def test_a_database_that_nobody_runs_is_away() -> None:
    async with AsyncConnectionPool(
        "postgresql://127.0.0.1:9/x", min_size=0, max_size=1, timeout=0.2, open=False
    ) as nowhere:
        with pytest.raises(DatabaseAwayError):
            await write_all(nowhere, [row_of()])


@pytest.fixture
async def writer(databases: Databases, database_url: str) -> AsyncIterator[Connection]:
    """Connect as a role that has nothing but what the schema's first file says that a service needs."""
    base = (DATABASE / "mutt_schema_v2.1.sql").read_text(encoding="utf-8")
    grants = re.findall(r"^--     (GRANT .* TO mutt_service;)", base, re.MULTILINE)
    assert len(grants) == 4
    name, role = database_url.rsplit("/", 1)[1], f"writer_{uuid4().hex}"
    async with await AsyncConnection.connect(databases.server.url(name), autocommit=True) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'writer'".encode())
        await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC".encode())
        await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {role}".encode())
        for grant in grants:
            await admin.execute(grant.replace("mutt_db", name).replace("mutt_service", role).encode())
        async with await AsyncConnection.connect(databases.server.url(name, role, "writer")) as opened:
            yield opened
        await admin.execute(f"DROP OWNED BY {role}".encode())
        await admin.execute(f"DROP ROLE {role}".encode())


async def test_a_role_with_the_documented_grants_writes_everything(writer: Connection, connection: Connection) -> None:
    far = [row_of(moment=datetime(2040, 1, 1, tzinfo=UTC)), row_of()]

    await write_all(writer, far)
    await write_all(writer, [*far, row_of()])
    rows = pack_deliveries([(str(uuid4()), 1)], datetime(2041, 1, 1, tzinfo=UTC), 200, "success")
    await write_deliveries(writer, rows)

    assert await schema_version(writer) == SCHEMA_VERSION
    assert await count(connection) == 3
    with pytest.raises(InsufficientPrivilege):
        await writer.execute("DELETE FROM event_audit_log")
