"""Two alerters on one queue against one: what the second brings on this machine, and that each event is audited once.

    python benchmarks/two_alerters.py [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]

The queue is full at once, when the alerters wait for it, and time runs until nothing waits and nothing is held.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import psutil

from benchmarks import machine, measuring, pieces
from benchmarks.measuring import Bench, Figure, Floor, Side
from benchmarks.stacks import QUEUE, Stack
from benchmarks.workload import RULES
from scripts.devtools.embedded import free_port
from scripts.devtools.services import SERVICES, database_environment, port_environment, redis_environment

EVENTS = 150_000
PREPARED = "bench:prepared"
PUSHED = 1000  # entries of one call
BUSY = "one alerter judges while PostgreSQL commits, so that it keeps both cores busy by itself"


@contextmanager
def alerters(stack: Stack, count: int) -> Iterator[list[psutil.Process]]:
    """Run alerters, each under a name of its own, until they wait for events."""
    service, started = SERVICES["alerter"], list[psutil.Process]()
    with ExitStack() as running:
        for number in range(count):
            ports = {use: free_port() for use in service.ports}
            environ = redis_environment(stack.servers.redis.url) | database_environment(stack.database)
            environ |= port_environment(service, ports) | {"POD_NAME": pod(number), "MUTT_BIND_HOST": "127.0.0.1"}
            started += running.enter_context(machine.processes([service.command], environ, stack.log))
            machine.wait_healthy(ports["health"], f"the alerter (log: {stack.log})", started)
        yield started


def pod(number: int) -> str:
    """Return an alerter's name."""
    return f"bench-{number}"


def measure(stack: Stack, entries: list[bytes], count: int) -> Figure:
    """Let `count` alerters empty the queue."""
    stack.clear()
    lists = [QUEUE, *(f"mutt:processing:alerter:{pod(number)}" for number in range(count))]
    with alerters(stack, count) as started, stack.servers.client as client:
        for first in range(0, len(entries), PUSHED):
            client.lpush(PREPARED, *entries[first : first + PUSHED])
        everything = [*started, *stack.servers.processes()]
        cpu, begun = machine.cpu_seconds(everything), time.perf_counter()
        client.rename(PREPARED, QUEUE)
        machine.wait_until(lambda: not client.exists(*lists), "the audit of all events", every=0.005)
        seconds, cpu = time.perf_counter() - begun, machine.cpu_seconds(everything) - cpu
    if (audited := stack.audited()) != len(entries):
        raise SystemExit(f"{audited} rows of {len(entries)} events: a figure would mean nothing")
    return Figure(len(entries) / seconds, cpu / len(entries) * 1e6)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""

    @cache
    def entries(scale: float) -> list[bytes]:
        return pieces.entries(max(PUSHED, round(EVENTS * scale)))

    with machine.servers(options.appendfsync) as servers:
        stack = Stack("mutt", servers)
        sides = (
            Side("one", "one alerter", lambda scale: measure(stack, entries(scale), 1)),
            Side("two", "two alerters on the same queue", lambda scale: measure(stack, entries(scale), 2)),
        )
        yield Bench(
            "two_alerters",
            "Two alerters against one",
            f"AOF {options.appendfsync}; {RULES} rules, all Log_only; primary key and indexes on hostname, time and "
            "correlation id; fsync and synchronous_commit on; alerters and servers on the same cores",
            sides,
            (Floor("two", "one", 1.35, why=BUSY),),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)
