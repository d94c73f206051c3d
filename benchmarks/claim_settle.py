"""Claim and settle alone: what one worker takes from a queue and lets go again, without judging and auditing it.

    python benchmarks/claim_settle.py [--runs 3] [--quick] [--appendfsync off|everysec|always] [--json]

The queue is filled before. Time and CPU are those of the worker's process and of Redis, which share this machine.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import Any

import psutil
import uvloop
from prometheus_client import CollectorRegistry

from benchmarks import machine, measuring, pieces
from benchmarks.machine import Servers
from benchmarks.measuring import Bench, Figure, Floor, Side
from mutt.server_settings import RedisSettings
from mutt.settings import AlerterSettings
from scripts.devtools.embedded import HOST
from services import redis_connector
from services.protocol.actions import Actions
from services.protocol.lane import alerter_lane
from services.protocol.worker import Batch, Worker
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.secrets import EnvironmentSecrets

LANE = alerter_lane(AlerterSettings())
HELD = LANE.processing("bench")
BATCH = 1000
COMPARED = "the settle compares each entry byte for byte before it lets it go (docs/decisions/0077)"
ONE_BY_ONE = 10_000  # events
BATCHED = 300_000
FILLED = 100_000  # events that wait at most, so that a filled queue takes some 60 MB


def one_by_one(client: Any, count: int) -> None:
    """Take each event by BRPOPLPUSH and remove it by LREM: what the plain stack does."""
    for _ in range(count):
        entry = client.brpoplpush(LANE.source, HELD, timeout=5)
        client.lrem(HELD, -1, entry)


def taken(client: Any, count: int) -> None:
    """Only take, and forget at once: no worker that dies may do so."""
    for _ in range(count // BATCH):
        client.rpop(LANE.source, BATCH)


async def claimed_and_settled(servers: Servers, count: int) -> None:
    """Claim and settle as the alerter does, the next batch while one is being settled, with nothing to push."""
    settings = RedisSettings(host=HOST, port=servers.redis.port, tls_enabled=False)
    secrets = EnvironmentSecrets({"REDIS_PASS_CURRENT": servers.redis.password})
    redis = redis_connector.connect(settings, secrets)
    instruments = CommonInstruments(CollectorRegistry())
    worker = Worker(LANE, "bench", redis, Health("alerter", instruments), instruments)
    claimed: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)

    async def claim() -> None:
        left = count
        while left:
            batch = await worker.claim(BATCH)
            assert batch is not None
            left -= len(batch.entries)
            await claimed.put(batch)

    async def settle() -> None:
        left = count
        while left:
            batch = await claimed.get()
            settled = await worker.settle(batch.lease, batch.entries, Actions())
            left -= settled.found

    try:
        await worker.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(claim())
            tasks.create_task(settle())
    finally:
        await redis_connector.close(redis)


def measure(servers: Servers, entries: list[bytes], count: int, work: Callable[[int], None]) -> Figure:
    """Fill the queue and have it emptied, as often as it takes; only the emptying counts."""
    assert servers.redis.process is not None
    processes = [psutil.Process(), psutil.Process(servers.redis.process.pid)]
    supply, seconds, cpu = cycle(entries), 0.0, 0.0
    with servers.client as client:
        for first in range(0, count, FILLED):
            part = min(FILLED, count - first)
            client.flushall()
            for _ in range(0, part, BATCH):
                client.lpush(LANE.source, *islice(supply, BATCH))
            before, begun = machine.cpu_seconds(processes), time.perf_counter()
            work(part)
            seconds += time.perf_counter() - begun
            cpu += machine.cpu_seconds(processes) - before
            if left := client.llen(LANE.source) + client.llen(HELD):
                raise SystemExit(f"{left} events are left: a figure would mean nothing")
    return Figure(count / seconds, cpu / count * 1e6)


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Start the servers and give the row."""
    entries = pieces.entries(20_000)

    def events(count: int, scale: float) -> int:
        return max(BATCH, round(count * scale) // BATCH * BATCH)

    with machine.servers(options.appendfsync) as servers, servers.client as client:
        sides = (
            Side(
                "stack",
                "BRPOPLPUSH and LREM for each event, redis-py with hiredis",
                lambda scale: measure(servers, entries, events(ONE_BY_ONE, scale), partial(one_by_one, client)),
            ),
            Side(
                "limit",
                f"RPOP of {BATCH:,} events in one call: who dies with them has lost them",
                lambda scale: measure(servers, entries, events(BATCHED, scale), partial(taken, client)),
            ),
            Side(
                "mutt",
                f"claimed by one script and settled by another, {BATCH:,} events in a batch",
                lambda scale: measure(
                    servers,
                    entries,
                    events(BATCHED, scale),
                    lambda count: uvloop.run(claimed_and_settled(servers, count)),
                ),
            ),
        )
        size = sum(map(len, entries)) // len(entries)
        yield Bench(
            "claim_settle",
            "Claim and settle",
            f"AOF {options.appendfsync}; entries of {size} bytes; one worker, nothing to push; Redis on the same cores",
            sides,
            (Floor("mutt", "stack", 80, why=COMPARED),),
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)
