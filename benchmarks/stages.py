"""Where each microsecond goes: CPU an event by stage, from the sender to the settled entry.

    python -m benchmarks.stages [--runs 3] [--quick] [--write] [--json FILE] [--appendfsync off|everysec|always]

Services and servers run under load; what their processes use is measured as a whole. The pieces within a service are
measured again alone, in this process, on the same events. What the pieces leave over of the whole is a line of its own.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvloop
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection

from benchmarks import machine, performance_page, pieces
from benchmarks.counted import EVENTS, PIECES
from benchmarks.growth_stage import Entries, OpenLoad, Stage
from benchmarks.instructions import given
from mutt.server_settings import RedisSettings
from mutt.settings import AlerterSettings
from scripts.devtools.embedded import HOST
from services import redis_connector
from services.audit_logger import write_rows
from services.protocol.actions import Actions
from services.protocol.lane import alerter_lane
from services.protocol.worker import Worker
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from services.runtime.secrets import EnvironmentSecrets

BATCH = 1000
Costs = dict[str, float]  # CPU µs an event by stage


@dataclass(frozen=True)
class Line:
    """A stage: its cost for events that come one by one, and for those in batches of a hundred."""

    process: str
    stage: str
    single: float
    batched: float


def alone(name: str, rounds: int) -> float:
    """Return the CPU of a piece of mutt/ in this process: the least of several turns, which others disturb least."""
    once, least = PIECES[name](given()), float("inf")
    for _ in range(10):
        began = time.thread_time()
        for _ in range(rounds):
            once()
        least = min(least, time.thread_time() - began)
    return least / rounds / EVENTS * 1e6


def ingest(stage: Stage, batch: int, seconds: float) -> Costs:
    """Return what the ingestor, the kernel on its behalf, and Redis use while events come."""
    stage.clear()
    redis = stage.servers.processes()[:1]
    with stage.running("ingestor") as (ingestor,):
        OpenLoad(ingestor.url, batch=batch, seconds=0.5).run()
        load = OpenLoad(ingestor.url, batch=batch, seconds=seconds)
        process = psutil.Process(ingestor.process.pid)
        before = process.cpu_times(), machine.cpu_seconds(redis)
        load.start()
        accepted = load.report()["accepted"]
        own, theirs = process.cpu_times(), machine.cpu_seconds(redis) - before[1]
        load.end()
    user, kernel = own.user - before[0].user, own.system - before[0].system
    return {name: spent / accepted * 1e6 for name, spent in (("user", user), ("kernel", kernel), ("push", theirs))}


def alert(stage: Stage, entries: Entries, count: int) -> Costs:
    """Return what alerter, Redis and PostgreSQL use while they work off a queue."""
    stage.clear()
    redis, postgres = stage.servers.processes()
    with stage.running("alerter") as (alerter,):
        stage.fill(entries.fresh(count // 10))
        machine.wait_until(stage.drained, "the end of the warm-up")
        made = entries.fresh(count)
        with stage.servers.client as client:  # filled beforehand: Redis's own part is not to count
            for start in range(0, count, BATCH):
                client.lpush("bench:ready", *made[start : start + BATCH])
            before = [machine.cpu_seconds([each]) for each in (alerter.process, redis, postgres)]
            client.rename("bench:ready", "mutt:ingest_queue")
        machine.wait_until(stage.drained, "the audit of all events", every=0.005)
        used = [machine.cpu_seconds([each]) for each in (alerter.process, redis, postgres)]
    own, theirs, database = ((now - then) / count * 1e6 for now, then in zip(used, before, strict=True))
    return {"alerter": own, "redis": theirs, "postgres": database}


async def steps(stage: Stage, entries: Entries, batches: int) -> Costs:
    """Return what claim, audit and settle use in their client and in the servers, one after another."""
    stage.clear()
    settings = RedisSettings(host=HOST, port=stage.servers.redis.port, tls_enabled=False)
    redis = redis_connector.connect(settings, EnvironmentSecrets({"REDIS_PASS_CURRENT": stage.servers.redis.password}))
    instruments = CommonInstruments(CollectorRegistry())
    worker = Worker(alerter_lane(AlerterSettings()), "bench", redis, Health("alerter", instruments), instruments)
    cache = psutil.Process(stage.servers.processes()[0].pid)
    spent: dict[str, float] = defaultdict(float)

    def mark() -> tuple[float, float]:
        theirs = cache.cpu_times()  # quick to read: what the reading takes would count for the next step
        return time.process_time(), theirs.user + theirs.system

    await worker.start()
    gc.collect()
    gc.freeze()  # as the services do: what this process holds besides is not theirs to be searched
    try:
        async with await AsyncConnection.connect(stage.database) as connection:
            for number in range(batches + 2):
                if number == 2:  # the first warm the caches
                    spent.clear()
                stage.fill(entries.fresh(BATCH))
                rows = pieces.rows(BATCH, seed=number)
                marks = [mark()]
                batch = await worker.claim(BATCH)
                assert batch is not None
                marks.append(mark())
                await write_rows(connection, rows)
                marks.append(mark())
                await worker.settle(batch.lease, batch.entries, Actions())
                marks.append(mark())
                for name, before, after in zip(("claim", "copy", "settle"), marks, marks[1:], strict=False):
                    spent[name] += after[0] - before[0]
                    spent[f"redis_{name}"] += after[1] - before[1]
    finally:
        await redis_connector.close(redis)
    return {name: seconds / batches / BATCH * 1e6 for name, seconds in spent.items()}


def lines(single: Costs, batched: Costs, out: Costs, step: Costs, piece: Costs) -> list[Line]:
    """Put the stages together."""
    judging = piece["judge_and_pack"]
    of_alerter = [
        ("claim", step["claim"]),
        ("decode, decide, pack the row", judging - piece["match"]),
        ("match", piece["match"]),
        ("COPY, the sending side", step["copy"]),
        ("settle", step["settle"]),
    ]
    rest = out["alerter"] - sum(cost for _, cost in of_alerter)
    of_redis = [("push", single["push"], batched["push"])]
    of_redis += [(name, step[f"redis_{name}"], step[f"redis_{name}"]) for name in ("claim", "settle")]
    return [
        Line("ingestor", "read", piece["read_single"], piece["read_batch"]),
        Line("ingestor", "reply", piece["reply"], piece["reply"] / EVENTS),
        Line(
            "ingestor",
            "HTTP, turns, sending the push, counts",
            single["user"] - piece["read_single"] - piece["reply"],
            batched["user"] - piece["read_batch"] - piece["reply"] / EVENTS,
        ),
        Line("ingestor", "the kernel: receiving and sending", single["kernel"], batched["kernel"]),
        *(Line("Redis", *row) for row in of_redis),
        *(Line("alerter", name, cost, cost) for name, cost in of_alerter),
        Line("alerter", "loop, shedding, counts and latencies", rest, rest),
        Line("PostgreSQL", "COPY, indexes, write-ahead log", out["postgres"], out["postgres"]),
    ]


def measure(appendfsync: str, *, quick: bool, runs: int) -> list[Line]:
    """Measure everything `runs` times, in turn; the median of each stage, and the sum of these."""
    seconds, count = (1.0, 10_000) if quick else (4.0, 60_000)
    found: list[list[Line]] = []
    with machine.servers(appendfsync) as servers:
        stage, entries = Stage(servers), Entries()
        for run in range(runs):
            print(f"stages: run {run + 1} of {runs}", file=sys.stderr, flush=True)
            piece = {name: alone(name, 3 if quick else 30) for name in PIECES}
            step = uvloop.run(steps(stage, entries, count // BATCH))
            single, batched = (ingest(stage, batch, seconds) for batch in (1, 100))
            found.append(lines(single, batched, alert(stage, entries, count), step, piece))
    medians = [_median(same) for same in zip(*found, strict=True)]
    return [*medians, Line("all", "", sum(each.single for each in medians), sum(each.batched for each in medians))]


def _median(same: Sequence[Line]) -> Line:
    of: Callable[[str], float] = lambda name: statistics.median(getattr(each, name) for each in same)  # noqa: E731
    return Line(same[0].process, same[0].stage, of("single"), of("batched"))


def table(found: Sequence[Line]) -> str:
    """Return the stages as a table of the page, which is text that people can read too."""
    rows = [f"| {'process':10} | {'stage':38} | {'single, µs':>10} | {'batched, µs':>11} |"]
    rows.append(f"|{'-' * 12}|{'-' * 40}|{'-' * 11}:|{'-' * 12}:|")
    rows += [f"| {each.process:10} | {each.stage:38} | {each.single:10.2f} | {each.batched:11.2f} |" for each in found]
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--appendfsync", choices=("off", "everysec", "always"), default="off")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    runs = options.runs or (1 if options.quick else 3)
    found = measure(options.appendfsync, quick=options.quick, runs=runs)
    heading = (
        f"`python -m benchmarks.stages{' --quick' if options.quick else ''} --runs {runs}`, "
        f"{datetime.now(UTC):%Y-%m-%d}, append-only file {options.appendfsync}, {machine.describe()}."
    )
    print(heading, table(found), sep="\n")
    if options.write:
        performance_page.replace("stages", f"{heading}\n\n{table(found)}")
    if options.json:
        data = {"machine": machine.describe(), "stages": [asdict(each) for each in found]}
        options.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
