"""Events a second and CPU an event, from the sender to the committed audit row, beside the plain stack in the same run.

    python benchmarks/end_to_end.py [--runs 3] [--quick] [--appendfsync always|everysec|off] [--json]

Load generator, services and both servers share this machine. Each row is run as often as the others, in turn;
medians are shown, with the least and the most. The CPU is that of services and servers, without the load generator.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks import machine
from benchmarks.machine import LoadProcess, Servers
from benchmarks.workload import RULES, rules
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

KEY = "benchmark-key"
QUEUE = "mutt:ingest_queue"
WARM_UP = 1000  # events
INSERT_RULE = (
    "INSERT INTO alert_rules "
    "(match_string, trap_oid, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES (%s, %s, %s, %s, 'Log_only', 'Log_only', 'NETO')"
)


@dataclass
class Row:
    """One row of the table: a stack, how events are sent, and whether the alerter runs."""

    name: str
    stack: str
    batch: int
    audited: bool
    count: int
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # µs an event
    p99_ms: list[float] = field(default_factory=list)


class Stack:
    """Either stack on the given servers, with its database and the rules in it."""

    def __init__(self, name: str, servers: Servers, workers: int) -> None:
        self.name, self.servers, self.workers = name, servers, workers
        self.database = machine.database_url(servers.postgres, f"bench_{name}")
        self.log = Path(tempfile.gettempdir()) / f"mutt-benchmark-{name}.log"
        self.log.unlink(missing_ok=True)
        self._load_schema()

    def _load_schema(self) -> None:
        if self.name == "mutt":
            migrate(self.database)
        with psycopg.connect(self.database) as connection:
            if self.name == "baseline":
                connection.execute((machine.TREE / "benchmarks/baseline/schema.sql").read_bytes())
            for rule in rules():
                row = (rule.match_string, rule.trap_oid, rule.match_type, rule.priority)
                connection.execute(INSERT_RULE, row)

    @contextmanager
    def running(self, *, audited: bool) -> Iterator[tuple[str, list[psutil.Process]]]:
        """Start the services; gives the ingestor's URL and the processes."""
        start = self._mutt if self.name == "mutt" else self._baseline
        with start(audited=audited) as (port, started):
            yield f"http://127.0.0.1:{port}", started

    @contextmanager
    def _mutt(self, *, audited: bool) -> Iterator[tuple[int, list[psutil.Process]]]:
        names = ["ingestor", "alerter"] if audited else ["ingestor"]
        environ = redis_environment(self.servers.redis.url) | database_environment(self.database)
        environ |= {"INGEST_API_KEY": KEY, "POD_NAME": "bench", "MUTT_BIND_HOST": "127.0.0.1"}
        health = {}
        for name in names:
            ports = {use: free_port() for use in SERVICES[name].ports}
            environ |= port_environment(SERVICES[name], ports)
            health[name] = ports.get("health") or ports["http"]
        with machine.processes([SERVICES[name].command for name in names], environ, self.log) as started:
            for name in names:
                machine.wait_healthy(health[name], f"the {name} (log: {self.log})", started)
            yield health["ingestor"], started

    @contextmanager
    def _baseline(self, *, audited: bool) -> Iterator[tuple[int, list[psutil.Process]]]:
        port = free_port()
        environ = {
            "REDIS_PORT": str(self.servers.redis.port), "REDIS_PASS_CURRENT": self.servers.redis.password,
            "DATABASE_URL": self.database, "INGEST_API_KEY": KEY,
        }  # fmt: skip
        gunicorn = [sys.executable, "-m", "gunicorn", "benchmarks.baseline.ingestor:app", f"--bind=127.0.0.1:{port}"]
        # Two workers of 16 threads were the fastest end to end of 2 to 5 workers, synchronous or with 1 to 16 threads.
        gunicorn += [f"--workers={self.workers}", "--worker-class=gthread", "--threads=16", "--keep-alive=75"]
        gunicorn += ["--backlog=2048", "--no-control-socket"]
        commands = [gunicorn]
        if audited:
            commands.append([sys.executable, str(machine.TREE / "benchmarks/baseline/alerter.py")])
        with machine.processes(commands, environ, self.log) as started:
            machine.wait_listening(port, f"gunicorn (log: {self.log})", started)
            yield port, started

    def drained(self) -> bool:
        """Tell whether no event waits or is being worked on."""
        with self.servers.client as client, client.pipeline() as pipeline:
            pipeline.llen(QUEUE)
            pipeline.llen(f"mutt:processing:alerter:{'bench' if self.name == 'mutt' else 'baseline'}")
            return not any(pipeline.execute())

    def audited(self) -> int:
        """Return the number of committed audit rows."""
        with psycopg.connect(self.database) as connection:
            found = connection.execute("SELECT count(*) FROM event_audit_log").fetchone()
            assert found is not None
            return int(found[0])

    def clear(self) -> None:
        """Empty queue and audit, and have the server write out what it owes."""
        with self.servers.client as client:
            client.flushall()
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("TRUNCATE event_audit_log")
            connection.execute("CHECKPOINT")


def measure(row: Row, stack: Stack) -> None:
    """Run one row once and note its figures."""
    stack.clear()
    with stack.running(audited=row.audited) as (url, started):
        warm_up = LoadProcess(url, KEY, count=WARM_UP, batch=row.batch, seed=7)
        load = LoadProcess(url, KEY, count=row.count, batch=row.batch)
        warm_up.run()
        if row.audited:
            machine.wait_until(stack.drained, "the end of the warm-up")
        everything = [*started, *stack.servers.processes()]
        before, begun = machine.cpu_seconds(everything), time.perf_counter()
        report = json.loads(load.run())
        if row.audited:
            machine.wait_until(stack.drained, "the audit of all events", every=0.005)
        seconds, used = time.perf_counter() - begun, machine.cpu_seconds(everything) - before
        if row.audited:
            expected = row.count + WARM_UP
            found = stack.audited()
            if found != expected:
                raise SystemExit(f"{row.name}: {found} rows audited of {expected}: a figure of it would mean nothing")
        else:
            seconds = report["seconds"]
    row.rates.append(row.count / seconds)
    row.cpu.append(used / row.count * 1e6)
    row.p99_ms.append(report["p99_ms"])


def table(rows: list[Row]) -> str:
    """Return the rows as text; the factor is against the plain stack's row of the same kind."""
    lines = [f"{'':44}{'events/s':>10}{'(least-most)':>18}{'CPU µs':>9}{'p99 ms':>9}{'x rate':>9}{'x CPU':>8}"]
    for row in rows:
        base = next((other for other in rows if other.stack == "baseline" and other.audited == row.audited), None)
        rate, cpu = statistics.median(row.rates), statistics.median(row.cpu)
        spread = f"{min(row.rates):,.0f}-{max(row.rates):,.0f}"
        factors = f"{'-':>9}{'-':>8}"  # the plain stack is not in this run
        if base is not None:
            factors = f"{rate / statistics.median(base.rates):>9.1f}{statistics.median(base.cpu) / cpu:>8.1f}"
        lines.append(
            f"{row.name:44}{rate:>10,.0f}{spread:>18}{cpu:>9.1f}{statistics.median(row.p99_ms):>9.1f}{factors}"
        )
    return "\n".join(lines)


def plan(scale: float, batch: int) -> list[Row]:
    """Return the rows; `scale` shrinks the numbers of events."""

    def events(number: int) -> int:
        return max(batch, round(number * scale) // batch * batch)

    return [
        Row("enqueue only, single events: plain stack", "baseline", 1, False, events(10_000)),
        Row("enqueue only, single events: MUTT", "mutt", 1, False, events(150_000)),
        Row(f"enqueue only, batches of {batch}: MUTT", "mutt", batch, False, events(400_000)),
        Row("to the audit row, single events: plain stack", "baseline", 1, True, events(6_000)),
        Row("to the audit row, single events: MUTT", "mutt", 1, True, events(100_000)),
        Row(f"to the audit row, batches of {batch}: MUTT", "mutt", batch, True, events(200_000)),
    ]


def main() -> None:
    """Run every row in turn, as often as asked, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one run")
    parser.add_argument("--appendfsync", choices=("always", "everysec", "off"), default="always")
    parser.add_argument("--workers", type=int, default=2, help="gunicorn's")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for row in plan(0.1 if options.quick else 1, options.batch) if options.only in row.name]
    with machine.servers(options.appendfsync) as servers:
        stacks = {name: Stack(name, servers, options.workers) for name in sorted({row.stack for row in rows})}
        for run in range(1 if options.quick else options.runs):
            for row in rows:
                print(f"run {run + 1}: {row.name}", file=sys.stderr, flush=True)
                measure(row, stacks[row.stack])
    heading = (
        f"{RULES} rules, append-only file: {options.appendfsync}, fsync and synchronous_commit on. {machine.describe()}"
    )
    if options.json:
        print(json.dumps({"conditions": heading, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(heading, table(rows), sep="\n")


if __name__ == "__main__":
    main()
