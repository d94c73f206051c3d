"""What the rows ingest_single, ingest_batches and instances measure: requests until Redis has their events."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from redis import Redis

from benchmarks import machine, pieces
from benchmarks.generator import Load, Report
from benchmarks.machine import Servers
from benchmarks.measuring import Figure, NotHere
from benchmarks.stacks import HEADERS, KEY, PATH, QUEUE, Stack
from benchmarks.workload import bodies
from scripts.devtools.embedded import HOST, free_port
from scripts.devtools.services import SERVICES, port_environment, redis_environment
from tests.harness.programs import find

CONNECTIONS = 64
WARM_UP = 0.3  # seconds
STAYS = 0.2  # seconds
LEAST = 0.5  # seconds of load
BODIES = 20_000  # events that are sent in turn
CAP = 100_000_000  # events: nobody takes them from the queue
PIPELINED = 100  # commands of redis-benchmark that are sent at once
REPLY = 134  # bytes of the body of the reply to a single event, with its two ids
LOG = Path(tempfile.gettempdir()) / "mutt-benchmark-ingest.log"


@contextmanager
def ingestors(servers: Servers, number: int) -> Iterator[tuple[list[str], list[psutil.Process]]]:
    """Run so many ingestors; gives the addresses to post to and the processes."""
    service = SERVICES["ingestor"]
    environ = {**redis_environment(servers.redis.url), "INGEST_API_KEY": KEY, "MUTT_BIND_HOST": HOST}
    environ["MAX_INGEST_QUEUE_SIZE"] = str(CAP)
    ports: list[int] = []
    started: list[psutil.Process] = []
    with ExitStack() as running:
        for each in range(number):
            chosen = {use: free_port() for use in service.ports}
            own = {**environ, "POD_NAME": f"bench-{each}", **port_environment(service, chosen)}
            started += running.enter_context(machine.processes([service.command], own, LOG))
            ports.append(chosen["http"])
        for port in ports:
            machine.wait_healthy(port, f"an ingestor (log: {LOG})", started)
        yield [f"http://{HOST}:{port}{PATH}" for port in ports], started


def into_the_queue(
    servers: Servers, urls: Sequence[str], started: Sequence[psutil.Process], batch: int, seconds: float
) -> Figure:
    """Send for so long, over as many connections to each address, and compare with what Redis has then."""
    everything, each = [*started, servers.processes()[0]], CONNECTIONS // len(urls)
    with ExitStack() as stack, servers.client as client, ThreadPoolExecutor(len(urls)) as threads:
        made = bodies(BODIES, batch)
        loads = [stack.enter_context(Load(url, made, HEADERS, connections=each)) for url in urls]

        def send(for_seconds: float) -> list[Report]:
            return list(threads.map(lambda load: load.run(for_seconds), loads))

        send(WARM_UP)
        settled(client)
        client.flushall()
        before = [machine.cpu_seconds([process]) for process in everything]
        reports = send(max(LEAST, seconds))
        queued, acknowledged = settled(client), sum(report.taken for report in reports) * batch
        used = [machine.cpu_seconds([process]) for process in everything]
        client.flushall()
    # Each connection may have had one request under way when the load ended: taken, and its reply not waited for.
    if not acknowledged <= queued <= acknowledged + CONNECTIONS * batch:
        raise SystemExit(f"{queued} events queued of {acknowledged} acknowledged: a figure would mean nothing")
    *ingesting, redis = [(after - first) / queued * 1e6 for after, first in zip(used, before, strict=True)]
    p99 = max(report.p99_ms for report in reports)
    rate = sum(report.taken * batch / report.seconds for report in reports)
    notes = {"p99_ms": p99, "ingestors_us": sum(ingesting), "redis_us": redis}
    return Figure(rate, sum(ingesting) + redis, notes)


def settled(client: Redis) -> int:
    """Wait until what was under way when a load ended is in the queue or forgotten; returns the queue's depth."""
    depth, since = -1, time.perf_counter()
    while time.perf_counter() - since < STAYS:
        time.sleep(0.02)
        found = int(client.llen(QUEUE))
        if found != depth:
            depth, since = found, time.perf_counter()
    return depth


def plain(servers: Servers, stack: Stack, seconds: float) -> Figure:
    """Send single events to the plain stack."""
    with stack.running(audited=False) as (url, started):
        return into_the_queue(servers, [url], started, 1, seconds)


def mutt(servers: Servers, batch: int, seconds: float, number: int = 1) -> Figure:
    """Send to so many ingestors."""
    with ingestors(servers, number) as (urls, started):
        return into_the_queue(servers, urls, started, batch, seconds)


def answered(batch: int, seconds: float) -> Figure:
    """Send the same to a server that answers and does nothing."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.constant", str(port), str(REPLY)]
    with (
        machine.processes([command], {}, LOG) as started,
        Load(f"http://{HOST}:{port}{PATH}", bodies(BODIES, batch), HEADERS, connections=CONNECTIONS) as load,
    ):
        machine.wait_listening(port, "the constant answer", started)
        load.run(WARM_UP)
        before = machine.cpu_seconds(started)
        report = load.run(max(LEAST, seconds))
        used = machine.cpu_seconds(started) - before
    events = report.taken * batch
    return Figure(events / report.seconds, used / events * 1e6, {"p99_ms": report.p99_ms})


def pushed(servers: Servers, events: int) -> Figure:
    """Have redis-benchmark push an entry again and again, many commands at once."""
    program = find("redis-benchmark")
    if program is None:
        raise NotHere("redis-benchmark is not here: bash .ci/programs unpacks it")
    address = ["-h", HOST, "-p", str(servers.redis.port), "-a", servers.redis.password]
    entry = sorted(pieces.entries(100), key=len)[50].decode()
    amount = ["-n", str(events), "-P", str(PIPELINED), "--csv"]
    redis = servers.processes()[:1]
    with servers.client as client:
        client.flushall()
        before = machine.cpu_seconds(redis)
        ran = subprocess.run(
            [str(program.path), *address, *amount, "LPUSH", QUEUE, entry],
            env=program.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        used = machine.cpu_seconds(redis) - before
        queued = client.llen(QUEUE)
        client.flushall()
    if queued < events:
        raise SystemExit(f"{queued} events queued of {events}: {ran.stderr}")
    # The first of its eight columns is the command as it was given, quotes and all.
    rate = ran.stdout.rstrip().rsplit('","', 7)[1]
    return Figure(float(rate), used / queued * 1e6)
