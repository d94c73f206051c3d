"""Seconds until an alerter has worked off what one that was killed held: one by one, and in groups, in the same run.

    python benchmarks/recovered.py [--runs 3] [--entries 3000] [--appendfsync always|everysec|off] [--json]

An alerter that cannot commit holds three batches of 1,000 and is killed by SIGKILL; its successor of the same name
hands them back, counted, and works them off. Time runs from the hand-back until nothing waits and nothing is held. With
ALERTER_MAX_RETRIES=1 recovered events are claimed one by one, with the default of 3 in groups. Both in turn; medians,
with the least and the most. The events owe no alert, so that none of them is shed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import psycopg

from benchmarks import machine
from benchmarks.machine import Servers
from mutt import keys
from mutt.events import Envelope, iso
from mutt.ids import uuid7
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment
from scripts.migrate import migrate

QUEUE, HELD = "mutt:ingest_queue", "mutt:processing:alerter:bench"
MOST = 3000  # what an alerter holds at most
WAYS = {"one by one (ALERTER_MAX_RETRIES=1)": 1, "in groups (ALERTER_MAX_RETRIES=3)": 3}
RULE = (
    "INSERT INTO alert_rules (match_string, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES ('line', 'contains', 500, 'Log_only', 'Log_only', 'NETO')"
)


def entry(number: int) -> bytes:
    """Return an event as the ingestor queues it."""
    now = datetime.now(UTC)
    event_id = uuid7(int(now.timestamp() * 1000), os.urandom(10))
    event = {"correlation_id": event_id, "timestamp": iso(now), "message": f"line {number}", "hostname": "router1"}
    return msgspec.json.encode({"_mutt": Envelope(event_id, iso(now), iso(now)), **event})


@contextmanager
def alerter(servers: Servers, database: str, retries: int) -> Iterator[psutil.Process]:
    """Run the alerter; its log is in the temporary folder."""
    service = SERVICES["alerter"]
    environ = redis_environment(servers.redis.url) | database_environment(database)
    environ |= port_environment(service, {use: free_port() for use in service.ports})
    environ |= {"POD_NAME": "bench", "MUTT_BIND_HOST": "127.0.0.1"}
    environ |= {"ALERTER_MAX_RETRIES": str(retries), "ALERTER_DATABASE_GRACE": "600"}
    log = Path(tempfile.gettempdir()) / "mutt-benchmark-recovered.log"
    with machine.processes([service.command], environ, log) as (process,):
        yield process


def measure(servers: Servers, database: str, retries: int, count: int) -> float:
    """Leave entries behind and have them worked off; returns the seconds."""
    recoveries = keys.recoveries("alerter")
    with servers.client as client, psycopg.connect(database, autocommit=True) as connection:
        client.flushall()
        connection.execute("TRUNCATE event_audit_log")
        connection.execute("CHECKPOINT")
        client.lpush(QUEUE, *(entry(number) for number in range(count)))
        with connection.transaction():
            connection.execute("LOCK TABLE event_audit_log IN SHARE MODE")
            with alerter(servers, database, retries) as process:
                machine.wait_until(lambda: client.llen(HELD) == count, f"the claim of {count} events")
                process.kill()
        with alerter(servers, database, retries):
            machine.wait_until(lambda: bool(client.exists(recoveries)), "the hand-back", every=0.001)
            begun = time.perf_counter()
            machine.wait_until(lambda: not client.exists(QUEUE, HELD), "the end of the work", every=0.005)
            seconds = time.perf_counter() - begun
        rows = connection.execute("SELECT count(*) FROM event_audit_log").fetchone()
        if rows != (count,):
            raise SystemExit(f"{rows} audit rows of {count} events: a figure of it would mean nothing")
    return seconds


def main() -> None:
    """Measure both ways in turn, as often as asked, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--entries", type=int, default=MOST, help=f"at most {MOST}")
    parser.add_argument("--appendfsync", choices=("always", "everysec", "off"), default="always")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with machine.servers(options.appendfsync) as servers:
        database = machine.database_url(servers.postgres, "bench_recovered")
        migrate(database)
        with psycopg.connect(database) as connection:
            connection.execute(RULE)
        for run in range(options.runs):
            for way, retries in WAYS.items():
                print(f"run {run + 1}: {way}", file=sys.stderr, flush=True)
                seconds[way].append(measure(servers, database, retries, min(options.entries, MOST)))
    heading = f"{options.entries} entries, append-only file: {options.appendfsync}. {machine.describe()}"
    if options.json:
        print(json.dumps({"conditions": heading, "seconds": seconds}, indent=2))
        return
    print(heading)
    for way, each in seconds.items():
        print(f"{way:40}{statistics.median(each):>8.2f} s   ({min(each):.2f}-{max(each):.2f})")


if __name__ == "__main__":
    main()
