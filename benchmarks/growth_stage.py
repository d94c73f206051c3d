"""What the curves of growth run on: two servers, a database with rules, services, and the open-loop load."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks import machine, pieces
from benchmarks.machine import Servers
from benchmarks.workload import RULES, events, rules
from mutt.intake import Receipt
from scripts.devtools.embedded import HOST, free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

KEY = "benchmark-key"
QUEUE = "mutt:ingest_queue"
PROCESSING = "mutt:processing:alerter:bench"
NO_LIMIT = 10**9
_names = count(1)


@dataclass(frozen=True)
class Running:
    """A service that runs."""

    process: psutil.Process
    port: int  # its first: HTTP, else metrics

    @property
    def url(self) -> str:
        """Return its base URL."""
        return f"http://{HOST}:{self.port}"


class Stage:
    """Servers and a fresh database; services are started on it by name."""

    def __init__(self, servers: Servers, *, rule_count: int = RULES, handling: str = "Log_only") -> None:
        self.servers = servers
        self.database = machine.database_url(servers.postgres, f"stage_{next(_names)}")
        self.log = Path(tempfile.gettempdir()) / "mutt-benchmark-growth.log"
        migrate(self.database)
        self.set_rules(rule_count, handling)
        self.clear()

    def set_rules(self, number: int = RULES, handling: str = "Log_only", without: Collection[str] = ()) -> None:
        """Replace the rules; those that look for one of `without` are left out."""
        with psycopg.connect(self.database) as connection:
            connection.execute("DELETE FROM alert_rules")
            copy = (
                "COPY alert_rules (match_string, trap_oid, match_type, priority, prod_handling, dev_handling,"
                " team_assignment) FROM STDIN"
            )
            with connection.cursor().copy(copy) as stream:
                for rule in (each for each in rules(number) if each.match_string not in without):
                    row = (rule.match_string, rule.trap_oid, rule.match_type, rule.priority, handling, handling, "NETO")
                    stream.write_row(row)

    def clear(self) -> None:
        """Empty Redis and the audit; nothing is shed, no limit is met."""
        with self.servers.client as client:
            client.flushall()
            names = ("alerter_queue_warn_threshold", "alerter_queue_shed_threshold", "max_ingest_queue_size")
            client.mset({f"mutt:config:{name}": NO_LIMIT for name in names} | {"mutt:config:moog_rate_limit": 100_000})
        self.empty_audit()

    def empty_audit(self) -> None:
        """Empty the audit alone."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("TRUNCATE event_audit_log")

    @contextmanager
    def running(self, *names: str, environ: Mapping[str, str] | None = None) -> Iterator[list[Running]]:
        """Start services by their names, and end them."""
        with ExitStack() as stack:
            started = []
            for name in names:
                ports = {use: free_port() for use in SERVICES[name].ports}
                settings = redis_environment(self.servers.redis.url) | database_environment(self.database)
                settings |= port_environment(SERVICES[name], ports)
                settings |= {"POD_NAME": "bench", "MUTT_BIND_HOST": HOST, "DYNAMIC_CONFIG_ENABLED": "true"}
                settings |= {"INGEST_API_KEY": KEY, "WEBUI_API_KEY": KEY, "WEBUI_INSECURE_COOKIES": "true"}
                settings |= environ or {}
                (process,) = stack.enter_context(machine.processes([SERVICES[name].command], settings, self.log))
                machine.wait_healthy(ports.get("health") or ports["http"], f"{name} (log: {self.log})", [process])
                started.append(Running(process, ports.get("http") or ports["metrics"]))
            yield started

    def cpu(self, *services: Running) -> float:
        """Return the CPU seconds so far of services and both servers."""
        return machine.cpu_seconds([*(each.process for each in services), *self.servers.processes()])

    def drained(self) -> bool:
        """Tell whether no event waits or is being worked on."""
        with self.servers.client as client, client.pipeline() as pipeline:
            pipeline.llen(QUEUE)
            pipeline.llen(PROCESSING)
            return not any(pipeline.execute())

    def fill(self, entries: Sequence[bytes]) -> None:
        """Put entries into the ingest queue as they would have come."""
        with self.servers.client as client:
            for start in range(0, len(entries), 1000):
                client.lpush(QUEUE, *entries[start : start + 1000])

    def depth(self) -> int:
        """Return the length of the ingest queue."""
        with self.servers.client as client:
            return int(client.llen(QUEUE))


@dataclass(frozen=True)
class WorkedOff:
    """CPU µs an event of an alerter that emptied the queue; `all_us` with both servers; `rss_mib` before it did."""

    alerter_us: float
    all_us: float
    rss_mib: float


def work_off(stage: Stage, entries: "Entries", events: int) -> WorkedOff:
    """Start an alerter, let it warm up on a tenth more, and audit so many events from the queue."""
    with stage.running("alerter") as (alerter,):
        stage.fill(entries.fresh(events // 10))  # caches of hosts and decisions are warm, the book is compiled
        machine.wait_until(stage.drained, "the end of the warm-up")
        rss = alerter.process.memory_info().rss / (1 << 20)
        made = entries.fresh(events)
        before, both = machine.cpu_seconds([alerter.process]), stage.cpu(alerter)
        stage.fill(made)
        machine.wait_until(stage.drained, "the audit of all events", every=0.005)
        alone = machine.cpu_seconds([alerter.process]) - before
        return WorkedOff(alone / events * 1e6, (stage.cpu(alerter) - both) / events * 1e6, rss)


class Entries:
    """Queue entries as the ingestor makes them, each with an id of its own."""

    def __init__(self, different: int = 5000) -> None:
        intake = pieces.intake()
        self._count = count()
        self._split: list[tuple[bytes, list[bytes]]] = []
        for event in events(different):
            taken = intake.read(event, "", "application/json", Receipt(time.time_ns() // 1000)).accepted[0]
            event_id = taken.event_id.encode()
            self._split.append((event_id[:24], taken.entry.split(event_id)))

    def fresh(self, number: int) -> list[bytes]:
        """Return entries that nobody had before."""
        made = []
        for place in islice(self._count, number):
            start, parts = self._split[place % len(self._split)]
            made.append((start + b"%012x" % place).join(parts))
        return made


class Command:
    """A module of the benchmarks in its own process, which prints `ready`, starts at a line and reports at the end."""

    def __init__(self, module: str, url: str, **options: float) -> None:
        given = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", url, KEY, *given],
            cwd=machine.TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{module} did not start")

    def start(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def report(self) -> dict[str, Any]:
        """Return what it saw; it stays until `end`, so that what its end costs others is in no figure."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a load generator failed")
        report: dict[str, Any] = json.loads(line)
        return report

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()

    def run(self, cpu: Callable[[], float] = float) -> dict[str, Any]:
        """Start it, wait for its report and end it; `cpu` of the report is by how much that grew meanwhile."""
        before = cpu()
        self.start()
        report = self.report()
        report["cpu"] = cpu() - before
        self.end()
        return report


class OpenLoad(Command):
    """The open-loop generator; ends the benchmark where events were refused."""

    def __init__(self, url: str, **options: float) -> None:
        super().__init__("open_loop", url, **options)

    def report(self) -> dict[str, Any]:
        """Return what it saw."""
        report = super().report()
        if report["refused"] or report["unanswered"]:
            raise SystemExit(f"events were refused or not answered, so the figures would mean nothing: {report}")
        return report
