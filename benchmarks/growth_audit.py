"""Curve: what a row costs the writer and a page costs the reader, against the rows that the audit holds."""

import asyncio
import statistics
import struct
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry, Histogram
from psycopg import AsyncConnection

from benchmarks import machine, pieces
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import Stage
from mutt.audit_row import COLUMNS, EPOCH, HEADER, TRAILER
from services.audit_logger import write_rows
from services.web_ui.audit_queries import AuditQueries
from services.web_ui.queries import Queries

LEVELS = (0, 500_000, 3_000_000, 20_000_000)
QUICK = (0, 50_000, 500_000)
MONTHS = 4
DIFFERENT = 5000
CHUNK = 50_000  # rows of one COPY
WRITERS = 2
BATCH = 1000
WARM_UP = 30  # batches: so many that pages which a checkpoint makes dear at their first change have had it
BATCHES = 60
PAGE = 50
PAGES = 15
COPY = f"COPY {{}} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary{{}})"
BYTES = 1000  # of disk that a row takes with its indexes, and what is held back for the log and for sorting
# Vacuums would come where they disturb a measurement; a table that is made and filled in one transaction needs no log.
SETTINGS = {"autovacuum": "off", "wal_level": "minimal", "max_wal_senders": "0"}


def partition(month: date) -> str:
    """Return the name of a month's table."""
    return f"event_audit_log_{month:%Y_%m}"


class Rows:
    """Packed rows with times and ids of their own; an id begins with its time, as the ingestor's do."""

    def __init__(self) -> None:
        made = pieces.rows(DIFFERENT)
        # Before the time; between time and id; between id and correlation id, which is the same; and the rest.
        self._parts = [(row[:6], row[14:18], row[34:38], row[54:]) for row in made]
        self._number = count()

    def make(self, moment: datetime, span: timedelta, number: int) -> list[bytes]:
        """Return rows that are spread evenly over a span from a moment on."""
        start, step = (moment - EPOCH) // timedelta(microseconds=1), span / number // timedelta(microseconds=1)
        unix = int(EPOCH.timestamp()) * 1_000_000
        pack, parts, found = struct.Struct("!q").pack, self._parts, []
        for place in range(number):
            at, each = start + place * step, next(self._number)
            before, between, then, rest = parts[each * 7919 % DIFFERENT]
            event_id = ((at + unix) // 1000).to_bytes(6, "big") + b"\x70\x00\x80" + each.to_bytes(7, "big")
            found.append(b"".join((before, pack(at), between, event_id, then, event_id, rest)))
        return found


class Audit:
    """An audit that grows."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.rows, self.held = stage, Rows(), 0
        machine.configure(stage.servers, SETTINGS)
        with psycopg.connect(stage.database, autocommit=True) as connection:
            for month in self.months():
                connection.execute("SELECT create_monthly_partition(%s)", (month,))

    @staticmethod
    def months() -> list[date]:
        """Return the first days of the last months, the current one first."""
        found = [datetime.now(UTC).date().replace(day=1)]
        while len(found) < MONTHS:
            found.append((found[-1] - timedelta(days=1)).replace(day=1))
        return found

    def grow(self, level: int) -> None:
        """Let it hold that many rows, evenly over the months, each month's in the order of time.

        Each month is filled apart, without indexes and without a log, and then attached, which builds its indexes: that
        takes a fraction of what an alerter's way would.
        """
        if level > self.held:
            months, number = self.months(), level // MONTHS
            with psycopg.connect(self.stage.database, autocommit=True) as connection:
                for month in months:
                    connection.execute(f"DROP TABLE {partition(month)}".encode())
                machine.require_disk(self.stage.servers, level * BYTES)
                with ThreadPoolExecutor(WRITERS) as pool:
                    list(pool.map(lambda month: self._fill(month, number), months))
                connection.execute("SET maintenance_work_mem = '1GB'")
                for month in months:
                    connection.execute("SELECT create_monthly_partition(%s)", (month,))
                connection.execute("ANALYZE event_audit_log")
            self.held = level
        with psycopg.connect(self.stage.database, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def _fill(self, month: date, number: int) -> None:
        begin = datetime(month.year, month.month, month.day, tzinfo=UTC)
        end = min((begin + timedelta(days=32)).replace(day=1), max(datetime.now(UTC), begin + timedelta(minutes=1)))
        parts = max(1, number // CHUNK)
        span = (end - begin) / parts
        name = partition(month)
        with psycopg.connect(self.stage.database) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {name} (LIKE event_audit_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS)".encode()
            )
            for part in range(parts):
                data = self.rows.make(begin + span * part, span, number // parts)
                with cursor.copy(COPY.format(name, ", FREEZE").encode()) as stream:
                    stream.write(b"".join((HEADER, *data, TRAILER)))

    async def write(self) -> float:
        """Write batches as an alerter does; return the CPU µs a row of PostgreSQL and of the writer."""
        made = [self.rows.make(datetime.now(UTC), timedelta(seconds=0.05), BATCH) for _ in range(WARM_UP + BATCHES)]
        async with await AsyncConnection.connect(self.stage.database) as connection:
            for data in made[:WARM_UP]:
                await write_rows(connection, data)
            theirs, own = self.stage.cpu(), time.process_time()  # reading the servers' takes CPU too: before and after
            for data in made[WARM_UP:]:
                assert not (await write_rows(connection, data)).refusals
            own = time.process_time() - own
            theirs = self.stage.cpu() - theirs
        return (own + theirs) / BATCHES / BATCH * 1e6

    async def page(self, filters: Mapping[str, Any]) -> float:
        """Return the milliseconds of a page of the console's search."""
        latency = Histogram("latency", "unused", ["operation"], registry=CollectorRegistry())
        taken = []
        async with await AsyncConnection.connect(self.stage.database) as connection:
            for _ in range(PAGES):
                began = time.perf_counter()
                await AuditQueries(Queries(connection, latency)).events(filters, PAGE, 0, None)
                taken.append((time.perf_counter() - began) * 1000)
                await connection.rollback()
        return statistics.median(taken)


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    with machine.servers(option.appendfsync) as servers:
        audit = Audit(Stage(servers))

        def measure(x: float) -> Mapping[str, float]:
            audit.grow(int(x))
            return {
                "row_us": asyncio.run(audit.write()),
                "newest_ms": asyncio.run(audit.page({})),
                "host_ms": asyncio.run(audit.page({"hostname": ["sw0007.site07.example"]})),
            }

        yield Curve(
            "audit",
            "Rows in the audit",
            f"batches of {BATCH:,} rows into the current month, as an alerter writes them, all indexes on; they lie "
            f"in {MONTHS} months, a quarter of them in the current one",
            "rows",
            QUICK if option.quick else LEVELS,
            (
                Series("row_us", "writer and PostgreSQL", "CPU µs a row"),
                Series("newest_ms", "the newest page", "ms"),
                Series("host_ms", "the newest page of a host", "ms"),
            ),
            (
                Promise(
                    "A row costs at most the logarithm of the rows more (from the second point)",
                    "row_us",
                    "log",
                    1.3,
                    1,
                ),
                Promise("A page does not wait longer for more rows", "newest_ms", "flat", 3.0, 1),
            ),
            measure,
            in_order=True,
        )
