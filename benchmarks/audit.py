"""Audit alone: packed rows committed to the table with all its indexes, idempotently, as the alerter does it.

    python benchmarks/audit.py [--runs 3] [--quick] [--json]

Time and CPU are those of the writing process and of PostgreSQL, which share this machine.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import psutil
import psycopg
import uvloop
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from benchmarks import machine, measuring, pieces
from benchmarks.machine import Servers
from benchmarks.measuring import Bench, Figure, Floor, Side
from mutt.audit_row import COLUMNS, HEADER, TRAILER
from mutt.server_settings import DatabaseSettings
from mutt.variables import read
from scripts.devtools.services import database_environment
from scripts.migrate import migrate
from services.audit_logger import write_rows
from services.postgres_connector import open_pool
from services.runtime.secrets import EnvironmentSecrets

BATCH = 1000
ONE_BY_ONE = 3_000  # rows
BATCHED = 150_000
BARE = "CREATE TABLE bare (LIKE event_audit_log INCLUDING DEFAULTS)"
INDEXES = "the key and three indexes, which searches need, cost the server as much again as the row"
NAMES = SQL(", ").join(map(Identifier, COLUMNS))


def copy_into(table: str) -> Any:
    """Return the statement of a binary COPY."""
    return SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(Identifier(table), NAMES)


def inserted(url: str, rows: Sequence[bytes]) -> Callable[[], None]:
    """Prepare one INSERT and one commit a row, by a statement that is prepared."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE unpacked (LIKE event_audit_log INCLUDING DEFAULTS) ON COMMIT DROP")
        with connection.cursor().copy(copy_into("unpacked")) as stream:
            stream.write(b"".join((HEADER, *rows, TRAILER)))
        found = connection.execute(SQL("SELECT {} FROM unpacked").format(NAMES)).fetchall()
    values = [[Jsonb(value) if isinstance(value, dict) else value for value in row] for row in found]
    places = SQL(", ").join([Placeholder()] * len(COLUMNS))
    statement = SQL("INSERT INTO event_audit_log ({}) VALUES ({})").format(NAMES, places).as_string()

    def work() -> None:
        with psycopg.connect(url) as connection:
            for row in values:
                connection.execute(statement.encode(), row, prepare=True)
                connection.commit()

    return work


def copied(url: str, rows: Sequence[bytes]) -> Callable[[], None]:
    """Prepare a binary COPY into a table without any index, with as many rows a commit as an alerter claims."""
    batches = [b"".join((HEADER, *rows[at : at + BATCH], TRAILER)) for at in range(0, len(rows), BATCH)]

    def work() -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            for data in batches:
                with cursor.copy(copy_into("bare")) as stream:
                    stream.write(data)
                connection.commit()

    return work


def written(url: str, rows: Sequence[bytes], batch: int = BATCH) -> Callable[[], None]:
    """Prepare the product's way."""
    environ = database_environment(url)

    async def write() -> None:
        async with open_pool(read(DatabaseSettings, environ), EnvironmentSecrets(environ)) as pool:
            for at in range(0, len(rows), batch):
                done = await write_rows(pool, rows[at : at + batch])
                assert not done.refusals

    return lambda: uvloop.run(write())


def measure(
    servers: Servers,
    url: str,
    table: str,
    rows: Sequence[bytes],
    way: Callable[[str, Sequence[bytes]], Callable[[], None]],
) -> Figure:
    """Empty the table, write the rows into it and see that they are all there."""
    work = way(url, rows)
    assert servers.postgres.process is not None
    processes = [psutil.Process(), psutil.Process(servers.postgres.process.pid)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("TRUNCATE {}").format(Identifier(table)))
        connection.execute("CHECKPOINT")
        cpu, begun = machine.cpu_seconds(processes), time.perf_counter()
        work()
        seconds, cpu = time.perf_counter() - begun, machine.cpu_seconds(processes) - cpu
        found = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table))).fetchone()
    if found != (len(rows),):
        raise SystemExit(f"{found} rows of {len(rows)} are there: a figure would mean nothing")
    return Figure(len(rows) / seconds, cpu / len(rows) * 1e6)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""

    @cache
    def rows(count: int, scale: float) -> list[bytes]:
        return pieces.rows(max(BATCH, round(count * scale) // BATCH * BATCH))

    with machine.servers(options.appendfsync) as servers:
        url = machine.database_url(servers.postgres, "bench_audit")
        migrate(url)
        with psycopg.connect(url) as connection:
            connection.execute(BARE)
        here = partial(measure, servers, url)
        sides = (
            Side(
                "stack",
                "one prepared INSERT and one commit a row, the same table and indexes",
                lambda scale: here("event_audit_log", rows(ONE_BY_ONE, scale), inserted),
            ),
            Side(
                "limit",
                f"COPY alone into a table without any index, {BATCH:,} rows a commit: no row is looked for",
                lambda scale: here("bare", rows(BATCHED, scale), copied),
            ),
            Side(
                "mutt",
                f"write_rows, {BATCH:,} rows a commit: a row that comes twice is there once",
                lambda scale: here("event_audit_log", rows(BATCHED, scale), written),
            ),
            Side(
                "pairs",
                f"the same, {2 * BATCH:,} rows a commit: two batches that waited for it",
                lambda scale: here("event_audit_log", rows(BATCHED, scale), partial(written, batch=2 * BATCH)),
            ),
        )
        yield Bench(
            "audit",
            "Audit, idempotent, all indexes",
            "primary key and indexes on hostname, time and correlation id; partitioned by month; fsync and "
            "synchronous_commit on; one connection; server on the same cores",
            sides,
            (Floor("mutt", "stack", 30), Floor("mutt", "limit", 0.5, why=INDEXES)),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)
