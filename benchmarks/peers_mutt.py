"""MUTT killed in the middle, as the peers are, and what becomes of the events that it had acknowledged."""

import psycopg

from benchmarks import machine
from benchmarks.machine import Servers
from benchmarks.peers_loss import STILL, Loss, wait_still
from benchmarks.peers_post import Poster
from benchmarks.stacks import HEADERS, Stack
from benchmarks.workload import events

BATCH = 100


def loss(stack: Stack, count: int, *, with_redis: bool) -> Loss:
    """Kill the services, and Redis with them, start them again, and look for each event that was acknowledged."""
    stack.clear()
    with stack.running(audited=True) as (url, started), Poster(url, arrays(count), HEADERS) as poster:
        machine.wait_until(lambda: stack.audited() >= count // 4, "a quarter of the rows")
        if with_redis:
            stack.servers.redis.kill()
        for process in started:
            process.kill()
    if with_redis:
        stack.servers.redis.start()
    with stack.running(audited=True):  # as whoever supervises them does
        machine.wait_until(stack.drained, "the audit of what was left")
        rows = wait_still(stack.audited, STILL, "the end of what was left")
    with psycopg.connect(stack.database) as connection:
        found = connection.execute(
            "SELECT DISTINCT (regexp_match(message, 'sequence (\\d+)'))[1]::int FROM event_audit_log"
        )
        there = {number for (number,) in found}
    taken = {place * BATCH + within for place in poster.acknowledged for within in range(BATCH)}
    return Loss(len(taken), len(taken - there), rows - len(there))


def arrays(count: int) -> list[bytes]:
    """Return events that are all different, in batches."""
    made = list(events(count))
    return [b"[" + b",".join(made[first : first + BATCH]) + b"]" for first in range(0, count, BATCH)]


def append_only(servers: Servers, mode: str) -> None:
    """Set Redis's append-only file to always, everysec or off, and wait until it is so."""
    with servers.client as client:
        if mode == "off":
            client.config_set("appendonly", "no")
            return
        client.config_set("appendfsync", mode)
        client.config_set("appendonly", "yes")
        machine.wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the append-only file")
