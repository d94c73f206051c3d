"""The longest that an alerter's event loop stands still.

    python benchmarks/stalls.py [--runs 3] [--quick] [--json]

In ordinary work, while rules are reloaded, in a look through all objects by the garbage collector, and while partitions
are made. A ticker in the loop sleeps a millisecond again and again and notes the most that it came too late, beside
events that are judged in small groups. A rule is changed before each reload, or all are, so that a book is made anew.
The rate is how many stalls as long as the longest fit into a second: 20 of the 50 ms that none may take. `most ms` is
the longest stall; `most own ms` the most that this process computed in one, in all its threads: on a machine that
others use, what is above that is not the alerter's.
"""

import argparse
import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import LiteralString

import psycopg
import uvloop
from prometheus_client import CollectorRegistry
from psycopg.sql import SQL, Identifier

from benchmarks import machine, measuring, pieces
from benchmarks.measuring import Bench, Figure, Floor, Side
from benchmarks.workload import rules
from mutt.judge import judge
from mutt.server_settings import DatabaseSettings
from mutt.settings import AlerterSettings, load
from scripts.devtools.services import database_environment
from scripts.migrate import migrate
from services.alerter.caches import Caches
from services.partitions import ensure_partitions
from services.postgres_connector import Pool, borrowed, open_pool, transaction
from services.runtime.garbage import settle_down
from services.runtime.health import Health
from services.runtime.instruments import AlerterInstruments
from services.runtime.secrets import EnvironmentSecrets

TICK = 0.001
GROUP = 50  # events judged at once: half a millisecond's work
CALM_SECONDS = 2.0
LIMIT = 0.050  # seconds that no stall may take
JUDGED = ("reload", "reload all", "garbage", "partitions")
WHY = "the ticker counts whatever else the machine did meanwhile: look at `most own ms`, and at `calm`"
INSERT = (
    "INSERT INTO alert_rules "
    "(match_string, trap_oid, match_type, priority, prod_handling, dev_handling, team_assignment) "
    "VALUES (%s, %s, %s, %s, 'Log_only', 'Log_only', 'NETO')"
)
CHANGE = "UPDATE alert_rules SET version = version + 1 WHERE id = (SELECT min(id) FROM alert_rules)"
CHANGE_ALL = "UPDATE alert_rules SET version = version + 1"
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('event_audit_log'::regclass, 'delivery_log'::regclass)"
)


@dataclass
class Stage:
    """What an alerter holds; in seconds the longest that a tick came too late, and the most CPU of such a time."""

    pool: Pool
    caches: Caches
    most: float = 0.0
    own: float = 0.0

    async def tick(self) -> None:
        """Tick until cancelled."""
        last, last_own = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK)
            now, own = time.perf_counter(), time.process_time()
            late = now - last - TICK
            # Some of it was computed while the ticker slept: no more than the stall.
            self.most, self.own = max(self.most, late), max(self.own, min(late, own - last_own))
            last, last_own = now, own

    async def work(self) -> None:
        """Judge events until cancelled, a group each ten milliseconds."""
        entries = pieces.entries(GROUP)
        while True:
            judged = [judge(entry, self.caches.book, self.caches.hosts, pieces.TEAM) for entry in entries]
            assert len(judged) == GROUP
            await asyncio.sleep(10 * TICK)


def fill(url: str, count: int) -> None:
    """Put so many rules into a database."""
    rows = [(rule.match_string, rule.trap_oid, rule.match_type, rule.priority) for rule in rules(count)]
    with psycopg.connect(url) as connection:
        connection.cursor().executemany(INSERT, rows)


Act = Callable[[Stage], Awaitable[None]]


async def calm(stage: Stage) -> None:
    """Do nothing beside."""
    del stage
    await asyncio.sleep(CALM_SECONDS)


async def reload(stage: Stage, change: LiteralString = CHANGE) -> None:
    """Change a rule and reload all of them."""
    before = weakref.ref(stage.caches.book)
    async with transaction(stage.pool) as connection:
        await connection.execute(change)
    assert await stage.caches.reload()
    assert stage.caches.book is not before()


async def reload_all(stage: Stage) -> None:
    """Change all rules and reload them."""
    await reload(stage, CHANGE_ALL)


async def collect(stage: Stage) -> None:
    """Look through all objects that are not set apart."""
    del stage
    gc.collect()


async def make_partitions(stage: Stage) -> None:
    """Make all partitions that are due, of which none is there."""
    async with borrowed(stage.pool) as connection:
        for (name,) in await (await connection.execute(PARTITIONS)).fetchall():
            await connection.execute(SQL("DROP TABLE {}").format(Identifier(name)))
        assert await ensure_partitions(connection, datetime.now(UTC).date())
        await connection.commit()


async def stalled(settings: DatabaseSettings, password: str, act: Act) -> Figure:
    """Do the act in a loop like the alerter's; return the ticks and the longest stall."""
    instruments = AlerterInstruments(CollectorRegistry())
    async with open_pool(settings, EnvironmentSecrets({"DB_PASS_CURRENT": password})) as pool:
        stage = Stage(pool, Caches(pool, instruments, Health("alerter", instruments), match_short=False))
        settle_down()
        assert await stage.caches.reload()
        beside = [asyncio.create_task(work()) for work in (stage.tick, stage.work)]
        await asyncio.sleep(100 * TICK)
        stage.most = stage.own = 0.0
        started = time.perf_counter()
        await act(stage)
        await asyncio.sleep(10 * TICK)
        seconds = time.perf_counter() - started
        for task in beside:
            task.cancel()
        most = {"most ms": stage.most * 1000, "most own ms": stage.own * 1000}
        return Figure(1 / max(stage.most, TICK), notes={**most, "seconds": seconds, "rules": len(stage.caches.book)})


@contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """Give the row."""
    with machine.servers(options.appendfsync) as servers:
        databases: dict[int, str] = {}

        def measure(act: Act, count: int, scale: float) -> Figure:
            number = max(100, round(count * scale))
            if number not in databases:
                databases[number] = machine.database_url(servers.postgres, f"stalls_{number}")
                migrate(databases[number])
                fill(databases[number], number)
            environ = database_environment(databases[number])
            settings = load(AlerterSettings, environ | {"POD_NAME": "bench"}).db
            return uvloop.run(stalled(settings, environ["DB_PASS_CURRENT"], act))

        acts = {
            "calm": (calm, 10_000, "nothing but the events, with 10,000 rules"),
            "reload": (reload, 10_000, "10,000 rules reloaded, one of them changed"),
            "reload all": (reload_all, 10_000, "10,000 rules reloaded, each of them changed"),
            "reload more": (reload, 100_000, "100,000 rules reloaded, one of them changed"),
            "garbage": (collect, 10_000, "a full look by the garbage collector, with 10,000 rules"),
            "partitions": (make_partitions, 10_000, "eight months of partitions made"),
        }
        sides = [Side(name, what, partial(measure, act, count)) for name, (act, count, what) in acts.items()]
        limit = Side(
            "limit", "what none may reach: 50 ms", lambda _: Figure(1 / LIMIT, notes={"most ms": LIMIT * 1000})
        )
        yield Bench(
            "stalls",
            "Stalls of the alerter's event loop",
            "a ticker of 1 ms beside events that are judged 50 at a time, 5,000 a second",
            [*sides, limit],
            [Floor(name, "limit", 1, why=WHY) for name in JUDGED],
            unit="stalls",
        )


if __name__ == "__main__":
    measuring.main(bench, __doc__)
