"""What an event takes: memory in Redis at each station, rows on PostgreSQL's disk; and a service: memory, CPU at rest.

    python benchmarks/footprint.py [--events 50000] [--json]

The services run on real servers with the benchmarks' events (about 364 bytes of JSON) and 100 rules, of which each that
matches forwards; alerters and forwarders start when the queue before them is full, so that what waits can be measured.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg
import uvloop
from psycopg.sql import SQL, Identifier

from benchmarks import machine
from benchmarks.load import Load, Target, run
from benchmarks.machine import Servers
from benchmarks.workload import RULES, bodies, rules
from scripts.devtools.embedded import HOST, free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

KEY = "benchmark-key"
BATCH = 100
MIB = 1 << 20
AT_REST = 400  # MiB of all services together, at most
STARTED, IDLE = 3.0, 10.0  # seconds in which the work of a start ends, and in which there is none
Idle = dict[str, float]  # how often its loop waits, and ms of CPU, each second
DELIVERED = 5_000  # alerts at most, for the log of deliveries
INSERT_RULE = (
    "INSERT INTO alert_rules "
    "(match_string, trap_oid, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES (%s, %s, %s, %s, 'Ticket_only', 'Log_only', 'NETO')"
)


class Stage:
    """Servers, a database with rules, and services that are started one by one."""

    def __init__(self, servers: Servers, stack: ExitStack) -> None:
        self.servers, self._stack = servers, stack
        self.database = machine.database_url(servers.postgres, "footprint")
        self.log = Path(tempfile.gettempdir()) / "mutt-benchmark-footprint.log"
        self.log.unlink(missing_ok=True)
        migrate(self.database)
        with psycopg.connect(self.database) as connection:
            for rule in rules():
                row = (rule.match_string, rule.trap_oid, rule.match_type, rule.priority)
                connection.execute(INSERT_RULE, row)
        with servers.client as client:
            # Nothing is shed and no limit is met: what waits has to wait whole.
            client.mset({"mutt:config:alerter_queue_warn_threshold": 10**9, "mutt:config:moog_rate_limit": 100_000})
            client.set("mutt:config:alerter_queue_shed_threshold", 10**9)
        self.moog = free_port()
        stand_in = [sys.executable, str(machine.TREE / "scripts/devtools/moogsoft_stand_in.py"), f"--port={self.moog}"]
        stack.enter_context(machine.processes([stand_in], {}, self.log))
        machine.wait_listening(self.moog, "the stand-in", [])

    def at_rest(self) -> tuple[dict[str, float], dict[str, Idle]]:
        """Return the MiB of each service, and its work, when all have started and none has anything to do."""
        with ExitStack() as stack:
            started = {name: self.start(name, stack)[0] for name in SERVICES}
            time.sleep(STARTED)
            before = {name: work_of(process) for name, process in started.items()}
            time.sleep(IDLE)
            after = {name: work_of(process) for name, process in started.items()}
            memory = {name: process.memory_info().rss / MIB for name, process in started.items()}
        each = ((name, after[name], before[name]) for name in SERVICES)
        return memory, {
            name: {"wake_ups": (now[0] - then[0]) / IDLE, "cpu_ms": (now[1] - then[1]) / IDLE * 1000}
            for name, now, then in each
        }

    def start(self, name: str, stack: ExitStack | None = None) -> tuple[psutil.Process, int]:
        """Start a service, until the stack ends, and return its process and its first port."""
        ports = {use: free_port() for use in SERVICES[name].ports}
        environ = redis_environment(self.servers.redis.url) | database_environment(self.database)
        environ |= port_environment(SERVICES[name], ports) | {"MUTT_BIND_HOST": HOST, "DYNAMIC_CONFIG_ENABLED": "true"}
        environ |= {
            "INGEST_API_KEY": KEY,
            "WEBUI_API_KEY": KEY,
            "MOOG_WEBHOOK_URL": f"http://{HOST}:{self.moog}/events",
        }
        running = machine.processes([SERVICES[name].command], environ, self.log)
        (process,) = (self._stack if stack is None else stack).enter_context(running)
        machine.wait_healthy(ports.get("health") or ports["http"], f"{name} (log: {self.log})", [process])
        return process, ports.get("http") or ports["health"]

    def entry_bytes(self, key: str) -> float:
        """Return the memory of one entry of a list, of which there have to be some."""
        with self.servers.client as client:
            return float(client.execute_command("MEMORY", "USAGE", key, "SAMPLES", "0") / client.llen(key))

    def wait_empty(self, *keys: str) -> None:
        """Return once nothing is in these lists."""
        with self.servers.client as client:
            machine.wait_until(lambda: not any(client.llen(key) for key in keys), f"the end of {', '.join(keys)}")

    def row_bytes(self, parent: str) -> dict[str, float]:
        """Return bytes of a row of a table or of its partitions, of these those of the indexes, and the rows."""
        query = (
            "SELECT sum(pg_total_relation_size(c.oid)), sum(pg_indexes_size(c.oid)) FROM pg_class c "
            "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relkind = 'r' AND c.relname !~ '^pg_' "
            "AND (i.inhparent = %(name)s::regclass OR c.oid = %(name)s::regclass)"
        )
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            sizes = connection.execute(query, {"name": parent}).fetchone()
            rows = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(parent))).fetchone()
        assert sizes is not None
        assert rows is not None
        count = max(1, rows[0])
        return {"rows": rows[0], "bytes": float(sizes[0]) / count, "indexes": float(sizes[1]) / count}

    def log_position(self) -> int:
        """Return how much PostgreSQL has written ahead."""
        with psycopg.connect(self.database) as connection:
            found = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert found is not None
        return int(found[0])


def measure(stage: Stage, events: int) -> dict[str, Any]:
    """Run the stations one after another and return their figures."""
    resting, idle = stage.at_rest()
    memory = {name: {"at rest": resident} for name, resident in resting.items()}
    processes: dict[str, psutil.Process] = {}

    def note(when: str) -> None:
        for name, process in processes.items():
            memory[name][when] = process.memory_info().rss / MIB

    processes["ingestor"], port = stage.start("ingestor")
    made = bodies(events, BATCH)
    load = Load(events=events, seconds=machine.DEADLINE, batch=BATCH, make=lambda first: made[first // BATCH])
    sent = uvloop.run(run(Target.of_url(f"http://{HOST}:{port}", KEY), load))
    if sent.accepted != events:
        raise SystemExit(f"{sent.accepted} of {events} events were taken: {sent}")
    with stage.servers.client as client:
        written = client.info("persistence")["aof_current_size"] / events
    redis = {"ingest_queue": stage.entry_bytes("mutt:ingest_queue"), "append_only_file": written}

    before = stage.log_position()
    processes["alerter"], _ = stage.start("alerter")
    stage.wait_empty("mutt:ingest_queue")
    machine.wait_until(lambda: stage.row_bytes("event_audit_log")["rows"] == events, "the audit of all events")
    audit = stage.row_bytes("event_audit_log")
    audit["write_ahead_log"] = (stage.log_position() - before) / events
    redis["alert_queue"] = stage.entry_bytes("mutt:alert_queue")

    with stage.servers.client as client:
        client.ltrim("mutt:alert_queue", -DELIVERED, -1)
        waiting = client.llen("mutt:alert_queue")
    for name in ("webui", "remediation", "moog-forwarder"):
        processes[name], _ = stage.start(name)
    machine.wait_until(lambda: stage.row_bytes("delivery_log")["rows"] >= waiting, "the log of deliveries")
    note("after")
    deliveries = stage.row_bytes("delivery_log")
    return {"redis": redis, "audit": audit, "deliveries": deliveries, "memory": memory, "idle": idle}


def work_of(process: psutil.Process) -> tuple[int, float]:
    """Return how often its loop has waited so far, and its CPU seconds."""
    return process.num_ctx_switches().voluntary, machine.cpu_seconds([process])


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = ["bytes an entry in Redis"]
    lines += [f"  {name.replace('_', ' '):<28}{value:>8,.0f}" for name, value in figures["redis"].items()]
    for title, key in (("a row of event_audit_log", "audit"), ("a row of delivery_log", "deliveries")):
        lines.append(f"bytes {title} ({figures[key]['rows']:,} rows)")
        for name, label in (
            ("bytes", "on disk"),
            ("indexes", "of these indexes"),
            ("write_ahead_log", "write-ahead log"),
        ):
            if name in figures[key]:
                lines.append(f"  {label:<28}{figures[key][name]:>8,.0f}")
    lines.append("MiB of a service (resident)")
    for name, values in figures["memory"].items():
        lines.append(f"  {name:<28}" + ", ".join(f"{when} {value:,.0f}" for when, value in values.items()))
    resting = sum(values["at rest"] for values in figures["memory"].values())
    lines.append(f"  {'all at rest':<28}{resting:,.0f} (asked for: at most {AT_REST})")
    lines.append("a service that has nothing to do, each second")
    for name, work in figures["idle"].items():
        lines.append(f"  {name:<28}{work['wake_ups']:.0f} wake-ups, {work['cpu_ms']:.1f} ms of CPU")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.pop("LOG_LEVEL", None)
    with machine.servers("everysec") as servers, ExitStack() as stack:
        figures = measure(Stage(servers, stack), options.events // BATCH * BATCH)
    heading = f"{options.events:,} events, {RULES} rules. {machine.describe()}"
    print(json.dumps({"conditions": heading, **figures}, indent=2) if options.json else f"{heading}\n{table(figures)}")


if __name__ == "__main__":
    main()
