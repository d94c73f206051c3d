"""What a dry run over millions of audited events costs, and what others notice of it.

    python benchmarks/dry_run.py [--rows 2500000] [--rules 1000] [--json]

A day of events is made by COPY; the web UI runs as a process of its own. A dry run of a rule that catches a quarter of
them, each a page, reads until its limit while /rules is asked for again and again; then another one is stopped by hand,
and the statement on PostgreSQL has to end with it. The web UI's memory is its resident set.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import requests

from benchmarks import machine
from benchmarks.audit_search import COLUMNS, HANDLINGS, HOSTS, MESSAGES
from benchmarks.workload import rules
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

KEY = "benchmark-key"
SPAN = 23 * 3600  # seconds over which the events lie
POLL = 1.0  # seconds, as the editor does
RULE = {
    "match_string": "UPDOWN",
    "match_type": "contains",
    "priority": 1000,
    "prod_handling": "Page_and_ticket",
    "dev_handling": "Log_only",
    "team_assignment": "CORE",
}
INSERT_RULE = (
    "INSERT INTO alert_rules "
    "(match_string, trap_oid, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES (%s, %s, %s, %s, 'Log_only', 'Log_only', 'NETO')"
)
STATEMENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'FETCH%'
"""


def lines(count: int, now: datetime) -> Iterator[str]:
    """Yield audit rows as COPY takes them, spread over the last hours."""
    seed = random.Random(7)
    for number in range(count):
        at = f"{now - timedelta(seconds=SPAN * number / count):%Y-%m-%d %H:%M:%S.%f+00}"
        event_id = str(uuid.UUID(int=seed.getrandbits(128), version=4))
        message = MESSAGES[number % 4].format(n=seed.randrange(250))
        yield (
            f"{event_id}\t{event_id}\t{at}\t{at}\t{at}\t1\t1\t{number % 8}\tf\t"
            f"rtr-{seed.randrange(HOSTS):04}.example.net\t{message}\tsyslog\tNETO\t{HANDLINGS[number % 5]}\t"
            "prod\t{}\n"
        )


def fill(url: str, rows: int, most_rules: int) -> None:
    """Make the rules and the audit."""
    migrate(url)
    now = datetime.now(UTC)
    with psycopg.connect(url, autocommit=True) as connection:
        for day in (now, now - timedelta(days=1)):
            connection.execute("SELECT create_monthly_partition(%s)", (day.date(),))
        for rule in rules()[:most_rules]:
            connection.execute(INSERT_RULE, (rule.match_string, rule.trap_oid, rule.match_type, rule.priority))
        copy = f"COPY event_audit_log ({COLUMNS}) FROM STDIN"
        with connection.cursor().copy(copy.encode()) as stream:
            for line in lines(rows, now - timedelta(minutes=1)):
                stream.write(line)
        connection.execute("ANALYZE event_audit_log")


class Console:
    """The web UI over HTTP."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v2/rules"
        self.process = process
        self.session = requests.Session()
        self.session.headers["X-API-KEY"] = KEY

    def ask(self, method: str, path: str = "", body: object = None) -> dict[str, Any]:
        """Return the answer; ends the benchmark when it is a refusal."""
        reply = self.session.request(method, self.url + path, json=body, timeout=60)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def memory(self) -> float:
        """Return the resident set in MB."""
        return float(self.process.memory_info().rss) / 1e6


class Others(threading.Thread):
    """Someone else, who lists rules meanwhile; `times` are milliseconds."""

    def __init__(self, console: Console) -> None:
        super().__init__(daemon=True)
        self.console = console
        self.times: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Ask until it is over."""
        while not self.over.wait(0.05):
            started = time.perf_counter()
            self.console.ask("GET", "?limit=20")
            self.times.append((time.perf_counter() - started) * 1000)

    def end(self) -> list[float]:
        """Stop asking and return the times."""
        self.over.set()
        self.join()
        return sorted(self.times)


def alone(console: Console, seconds: float = 5) -> list[float]:
    """Return what /rules takes while nothing else happens."""
    others = Others(console)
    others.start()
    time.sleep(seconds)
    return others.end()


def to_the_end(console: Console, port: int) -> dict[str, Any]:
    """Let a dry run go until it ends; returns its figures and what others noticed."""
    idle = alone(console)
    before = console.memory()
    others = Others(Console(port, console.process))
    others.start()
    report = console.ask("POST", "/dry-run", {"rule": RULE, "hours": 24})
    most, shares = before, []
    while report["state"] == "running":
        time.sleep(POLL)
        report = console.ask("GET", f"/dry-run/{report['id']}")
        most = max(most, console.memory())
        shares.append(report["progress"])
        print(f"{report['read']:,} events read, {report['progress']:.0%}", file=sys.stderr, flush=True)
    busy = others.end()
    return {
        "events read": report["read"],
        "seconds": report["seconds"],
        "events a second": round(report["read"] / report["seconds"]),
        "why it ended": report["why"] or "it reached the end",
        "caught": report["caught"],
        "pages, folded": report["pages"]["with_change"],
        "progress never went back": shares == sorted(shares),
        "memory before, MB": round(before),
        "memory at the most, MB": round(most),
        "/rules alone, median ms": round(statistics.median(idle), 1),
        "/rules meanwhile, median ms": round(statistics.median(busy), 1),
        "/rules meanwhile, 99 % ms": round(busy[int(len(busy) * 0.99)], 1),
        "/rules meanwhile, worst ms": round(busy[-1], 1),
    }


def by_hand(console: Console, url: str) -> dict[str, Any]:
    """Stop a dry run while it reads, and watch its statement on PostgreSQL."""
    report = console.ask("POST", "/dry-run", {"rule": RULE, "hours": 24})
    with psycopg.connect(url, autocommit=True) as connection:

        def statements() -> int:
            row = connection.execute(STATEMENTS).fetchone()
            return 0 if row is None else int(row[0])

        machine.wait_until(lambda: statements() > 0, "a statement of the dry run")
        started = time.perf_counter()
        stopped = console.ask("DELETE", f"/dry-run/{report['id']}")
        answered = time.perf_counter() - started
        machine.wait_until(lambda: statements() == 0, "the end of the statement")
        ended = time.perf_counter() - started
    return {
        "state": stopped["state"],
        "stopped after, ms": round(answered * 1000, 1),
        "its connection was gone after, ms": round(ended * 1000, 1),
    }


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run both."""
    with machine.servers("everysec") as servers:
        url = machine.database_url(servers.postgres, "bench_dry_run")
        started = time.perf_counter()
        fill(url, options.rows, options.rules)
        print(f"{options.rows:,} rows in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        service, port = SERVICES["webui"], free_port()
        environ = (
            redis_environment(servers.redis.url) | database_environment(url) | port_environment(service, {"http": port})
        )
        environ |= {"WEBUI_API_KEY": KEY, "MUTT_BIND_HOST": "127.0.0.1"}
        log = Path(tempfile.gettempdir()) / "mutt-benchmark-dry-run.log"
        with machine.processes([service.command], environ, log) as processes:
            machine.wait_healthy(port, f"the web UI (log: {log})", processes)
            console = Console(port, processes[0])
            return {"to its end": to_the_end(console, port), "stopped by hand": by_hand(console, url)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--rules", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    heading = f"{options.rows:,} events of {SPAN // 3600} h, {options.rules:,} rules. {machine.describe()}"
    if options.json:
        print(json.dumps({"conditions": heading, **found}, indent=2))
        return
    print(heading)
    for title, figures in found.items():
        print(f"\n{title}", *(f"  {name:36}{value!s:>24}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
