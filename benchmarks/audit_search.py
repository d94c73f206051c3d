"""What a page of the audit search costs on a large audit beside a small one, and what its indexes cost the writer.

    python benchmarks/audit_search.py [--small 50000] [--large 5000000] [--runs 15] [--json]

Both tables are made by COPY, four months of events each, with the same rows in the last day: what no index finds is
looked for within that day alone. Every search runs as the web UI runs it, page and count, on both in turn; medians are
shown with their ratio. No plan may read more than one partition from end to end, and none may be over 3 times as dear.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
from prometheus_client import CollectorRegistry, Histogram
from psycopg import AsyncConnection, sql

from benchmarks import machine
from mutt.paging import Position
from scripts.devtools.embedded import PostgresServer, durable_settings
from scripts.migrate import migrate
from services.web_ui.audit_queries import AuditQueries, contains
from services.web_ui.queries import Queries

MONTHS = 4
HOSTS = 500
LAST_DAY = 10_000  # rows, in either table
PAGE = 50
DEEP = 10_000  # rows that a page by number may skip
MOST = 3.0  # times as dear as on the small table
NOISE_MS = 1.0  # below it a ratio says nothing
WRITTEN = 100_000  # rows for the cost of the indexes
COLUMNS = (
    "event_id, correlation_id, event_timestamp, received_at, audited_at, rule_id, rule_version, syslog_severity,"
    " forwarded, hostname, message, source, team, handling, environment, raw"
)
HANDLINGS = ("Page_and_ticket", "Ticket_only", "Email_only", "Log_only", "Unhandled")
MESSAGES = (
    "%LINK-3-UPDOWN: Interface TenGigE0/2/0/{n}, changed state to down",
    "%BGP-5-ADJCHANGE: neighbor 10.255.{n}.12 Down BGP Notification sent",
    "sshd[{n}]: Failed password for root from 192.0.2.{n} port 22 ssh2",
    "%SYS-5-CONFIG_I: Configured from console by admin{n} on vty0",
)
RARE = "fan tray 7 removed"


@dataclass
class Search:
    """One search on both tables; `filters` are the web UI's, times are milliseconds."""

    name: str
    filters: dict[str, Any]
    offset: int = 0
    deep: bool = False
    counted: bool = True
    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)
    scanned: int = 0  # partitions that the plan on the large table reads from end to end

    @property
    def ratio(self) -> float:
        """How much dearer the large table is."""
        return statistics.median(self.large) / max(statistics.median(self.small), NOISE_MS)


class Table:
    """An audit of `count` rows on a database of its own."""

    def __init__(self, server: PostgresServer, name: str, count: int, now: datetime) -> None:
        self.url = machine.database_url(server, name)
        self.count, self.now = count, now
        self.seed = random.Random(5)
        self.known: dict[str, Any] = {}
        migrate(self.url)
        self._fill()

    def _fill(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for month in range(MONTHS + 1):
                day = (self.now - timedelta(days=30.4 * month)).date()
                connection.execute("SELECT create_monthly_partition(%s)", (day,))
            copy = f"COPY event_audit_log ({COLUMNS}) FROM STDIN"
            with connection.transaction(), connection.cursor().copy(copy.encode()) as stream:
                for row in self.rows(self.count):
                    stream.write(row)
            connection.execute("VACUUM (ANALYZE) event_audit_log")

    def rows(self, count: int) -> Iterator[str]:
        """Yield lines of COPY's text format: the last day's first, the rest spread evenly over four months."""
        seed, day, span = self.seed, 86_400.0, MONTHS * 30.4 * 86_400
        recent = min(LAST_DAY, count)
        for number in range(count):
            back = seed.random() * day if number < recent else day + seed.random() * (span - day)
            at = self.now - timedelta(seconds=back)
            event_id = str(uuid.UUID(int=seed.getrandbits(128), version=4))
            if number == recent + (count - recent) // 2:
                self.known = {"event_id": event_id, "at": at}
            host = f"rtr-{seed.randrange(HOSTS):04}.example.net"
            message = RARE if number % 2_000 == 7 else MESSAGES[number % 4].format(n=seed.randrange(250))
            handling, rule = HANDLINGS[number % 5], seed.randrange(1, 200)
            yield (
                f"{event_id}\t{event_id}\t{at:%Y-%m-%d %H:%M:%S.%f+00}\t{at:%Y-%m-%d %H:%M:%S.%f+00}\t"
                f"{at:%Y-%m-%d %H:%M:%S.%f+00}\t{rule}\t1\t{number % 8}\t{'t' if number % 5 < 3 else 'f'}\t{host}\t"
                f"{message}\tsyslog\tNETO\t{handling}\tprod\t{{}}\n"
            )


def searches(table: Table) -> list[Search]:
    """Return what is searched for, with what stands in this table."""
    day = {"start": table.now - timedelta(days=1), "end": table.now}
    month_ago = {"start": table.now - timedelta(days=60), "end": table.now - timedelta(days=59)}
    host = ["rtr-0412.example.net"]
    return [
        Search("newest page", {}),
        Search("page 201 by number", {}, offset=DEEP),
        Search("deep page by cursor", {}, deep=True),
        Search("by event id", {"event_id": table.known["event_id"]}, counted=False),
        Search("by correlation id", {"correlation_id": table.known["event_id"]}),
        Search("by host", {"hostname": host}),
        Search("by host, two spellings", {"hostname": ["RTR-0412.example.net", *host]}),
        Search("by host, deep by cursor", {"hostname": host}, deep=True),
        Search("by host that is not there", {"hostname": ["nobody.example"]}),
        Search("by time, a day of two months ago", month_ago),
        Search("by rule, last day", day | {"rule_id": 118}),
        Search("by handling, last day", day | {"handling": "Page_and_ticket"}),
        Search("by text, last day", day | {"q": contains("ADJCHANGE")}),
        Search("by rare text, last day", day | {"q": contains(RARE)}),
        Search("by text that is nowhere, last day", day | {"q": contains("no such text")}),
        Search("by text or host, last day", day | {"text": (contains("rtr-0412"), contains("rtr-0412"))}),
    ]


async def measure(table: Table, mine: Search, runs: int) -> list[float]:
    """Return the milliseconds of each run: the page, and its count where the API gives one."""
    latency = Histogram("latency", "unused", ["operation"], registry=CollectorRegistry())
    after = Position(table.known["at"], table.known["event_id"]) if mine.deep else None
    found = []
    async with await AsyncConnection.connect(table.url) as connection:
        for _ in range(runs + 2):
            audit = AuditQueries(Queries(connection, latency))
            started = time.perf_counter()
            rows = await audit.events(mine.filters, PAGE, mine.offset, after)
            if mine.counted and len(rows) == PAGE:
                await audit.count_events(mine.filters)
            found.append((time.perf_counter() - started) * 1000)
            await connection.rollback()
    return found[2:]


async def whole_scans(table: Table, mine: Search) -> int:
    """Return how many partitions with rows the plan of a search reads from end to end."""
    plans: list[Any] = []

    class Explaining(Queries):
        """Asks for each statement's plan instead of its rows."""

        async def fetch(self, operation: str, statement: Any, values: Any = ()) -> list[dict[str, Any]]:
            rows = await super().fetch(operation, sql.SQL("EXPLAIN (FORMAT JSON) ") + statement, values)
            plans.append(rows[0]["QUERY PLAN"][0]["Plan"])
            return [{"total": 0}]

    latency = Histogram("latency", "unused", ["operation"], registry=CollectorRegistry())
    after = Position(table.known["at"], table.known["event_id"]) if mine.deep else None
    async with await AsyncConnection.connect(table.url) as connection:
        audit = AuditQueries(Explaining(connection, latency))
        await audit.rows(mine.filters, PAGE, mine.offset, after)
        await audit.count_up_to(mine.filters, 1000)
    return max(len(set(_scanned(plan))) for plan in plans)


def _scanned(plan: Mapping[str, Any]) -> Iterator[str]:
    # Partitions of months to come are empty, and reading an empty table is no scan to speak of.
    if plan["Node Type"] == "Seq Scan" and plan["Plan Rows"] > 1 and plan["Total Cost"] > 100:
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from _scanned(part)


def writing(table: Table, server: PostgresServer) -> dict[str, float]:
    """Return how many microseconds of the server's CPU a row costs, with all indexes and without each of them."""
    assert server.process is not None
    postgres = [psutil.Process(server.process.pid)]
    indexes = {
        "idx_event_audit_log_hostname": "(hostname, event_timestamp)",
        "idx_event_audit_log_timestamp": "(event_timestamp, event_id)",
        "idx_event_audit_log_correlation_id": "(correlation_id)",
    }
    lines = "".join(table.rows(WRITTEN)).encode()
    found: dict[str, list[float]] = {}
    with psycopg.connect(table.url, autocommit=True) as connection:
        for run in range(6):
            for dropped in (None, *indexes):
                connection.execute("CHECKPOINT")
                with connection.transaction(force_rollback=True):
                    if dropped:
                        connection.execute(f"DROP INDEX {dropped}".encode())
                    before = machine.cpu_seconds(postgres)
                    with connection.cursor().copy(f"COPY event_audit_log ({COLUMNS}) FROM STDIN".encode()) as stream:
                        stream.write(lines)
                    micros = (machine.cpu_seconds(postgres) - before) / WRITTEN * 1e6
                name = "all four" if dropped is None else f"without {indexes[dropped]}"
                if run:  # the first warms the caches
                    found.setdefault(name, []).append(micros)
    return {name: statistics.median(values) for name, values in found.items()}


def table_of(done: list[Search], written: Mapping[str, float]) -> str:
    """Return the figures as text."""
    lines = [f"{'':38}{'small ms':>10}{'large ms':>10}{'ratio':>8}{'whole scans':>13}"]
    for each in done:
        small, large = statistics.median(each.small), statistics.median(each.large)
        lines.append(f"{each.name:38}{small:>10.2f}{large:>10.2f}{each.ratio:>8.2f}{each.scanned:>13}")
    everything = written["all four"]
    lines.append(f"\n{'the audit writer, on the large table':46}{'CPU µs/row':>10}{'the index costs':>18}")
    for name, micros in written.items():
        cost = "" if name == "all four" else f"{everything - micros:.2f} µs, {(1 - micros / everything) * 100:.0f} %"
        lines.append(f"{name:46}{micros:>10.2f}{cost:>18}")
    return "\n".join(lines)


def compare(server: PostgresServer, options: argparse.Namespace) -> tuple[list[Search], dict[str, float]]:
    """Fill both tables, run every search on either in turn, and time the writer."""
    now = datetime.now(UTC)
    tables = []
    for name, count in (("small", options.small), ("large", options.large)):
        started = time.perf_counter()
        tables.append(Table(server, name, count, now))
        print(f"{count:,} rows in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    small, large = tables
    done = []
    for on_small, on_large in zip(searches(small), searches(large), strict=True):
        print(on_large.name, file=sys.stderr, flush=True)
        on_large.small = asyncio.run(measure(small, on_small, options.runs))
        on_large.large = asyncio.run(measure(large, on_large, options.runs))
        on_large.scanned = asyncio.run(whole_scans(large, on_large))
        done.append(on_large)
    return done, writing(large, server)


def main() -> None:
    """Print the table; ends with 1 where a search breaks its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=50_000, help="rows")
    parser.add_argument("--large", type=int, default=5_000_000, help="rows")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="mutt-benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = PostgresServer(folder / "postgres")
        server.settings = durable_settings(folder)
        server.start()
        try:
            done, written = compare(server, options)
        finally:
            server.stop()
    heading = f"{options.small:,} and {options.large:,} rows over {MONTHS} months. {machine.describe()}"
    if options.json:
        rows = [asdict(each) | {"ratio": each.ratio} for each in done]
        print(json.dumps({"conditions": heading, "searches": rows, "writer": written}, indent=2, default=str))
    else:
        print(heading, table_of(done, written), sep="\n")
    broken = [each.name for each in done if each.ratio > MOST or each.scanned > 1]
    if broken:
        raise SystemExit(f"over {MOST:g} times as dear, or more than one partition read whole: {', '.join(broken)}")


if __name__ == "__main__":
    main()
