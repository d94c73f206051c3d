"""MUTT, and the plain stack that would do the same, as processes on the same two servers."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import psycopg

from benchmarks import machine
from benchmarks.machine import Servers
from benchmarks.workload import rules
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

KEY = "benchmark-key"
HEADERS = {"X-API-KEY": KEY}
PATH = "/api/v2/ingest"
QUEUE = "mutt:ingest_queue"
WORKERS = 2  # gunicorn's; with 16 threads each the fastest end to end of 2 to 5 workers with 1 to 16 threads
INSERT_RULE = (
    "INSERT INTO alert_rules "
    "(match_string, trap_oid, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES (%s, %s, %s, %s, 'Log_only', 'Log_only', 'NETO')"
)


class Stack:
    """Either stack with its database and the rules in it; the services of MUTT are those that are named."""

    def __init__(self, name: str, servers: Servers) -> None:
        self.name, self.servers = name, servers
        self.database = machine.database_url(servers.postgres, f"bench_{name}")
        self.log = Path(tempfile.gettempdir()) / f"mutt-benchmark-{name}.log"
        self.log.unlink(missing_ok=True)
        self._load_schema()

    def _load_schema(self) -> None:
        if self.name == "mutt":
            migrate(self.database)
        with psycopg.connect(self.database) as connection:
            if self.name == "stack":
                connection.execute((machine.TREE / "benchmarks/baseline/schema.sql").read_bytes())
            for rule in rules():
                row = (rule.match_string, rule.trap_oid, rule.match_type, rule.priority)
                connection.execute(INSERT_RULE, row)

    @contextmanager
    def running(self, *, audited: bool) -> Iterator[tuple[str, list[psutil.Process]]]:
        """Start ingestor and, if `audited`, alerter; gives the address to post to and the processes."""
        start: Callable[..., AbstractContextManager[tuple[int, list[psutil.Process]]]]
        start = self._mutt if self.name == "mutt" else self._plain
        with start(audited=audited) as (port, started):
            yield f"http://127.0.0.1:{port}{PATH}", started

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
    def _plain(self, *, audited: bool) -> Iterator[tuple[int, list[psutil.Process]]]:
        port = free_port()
        environ = {
            "REDIS_PORT": str(self.servers.redis.port), "REDIS_PASS_CURRENT": self.servers.redis.password,
            "DATABASE_URL": self.database, "INGEST_API_KEY": KEY,
        }  # fmt: skip
        gunicorn = [sys.executable, "-m", "gunicorn", "benchmarks.baseline.ingestor:app", f"--bind=127.0.0.1:{port}"]
        gunicorn += [f"--workers={WORKERS}", "--worker-class=gthread", "--threads=16", "--keep-alive=75"]
        gunicorn += ["--backlog=2048", "--no-control-socket"]
        commands = [gunicorn]
        if audited:
            commands.append([sys.executable, "-m", "benchmarks.baseline.alerter"])
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
