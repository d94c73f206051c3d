"""What the settings of safety cost: Redis's append-only file in its modes, and the durable mode with a replica.

    python -m benchmarks.settings_cost [--runs 3] [--quick] [--write] [--json]

The same ingestor and the same Redis, set anew for each side; single events over 64 connections and batches of 100, as
fast as the answers come. What an index of the audit costs the writer is in benchmarks/audit_search.py.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil

from benchmarks import machine, measuring, performance_page
from benchmarks.growth_stage import OpenLoad, Stage
from benchmarks.machine import Servers
from benchmarks.measuring import Bench, Figure, Outcome, Side
from scripts.devtools.embedded import HOST, RedisServer

MODES = ("off", "everysec", "always")
BATCHES = (1, 100)
SECONDS = 5.0


@contextmanager
def replica(servers: Servers) -> Iterator[psutil.Process]:
    """Run a replica of the Redis, and wait until it has caught up."""
    with tempfile.TemporaryDirectory(prefix="mutt-benchmark-", ignore_cleanup_errors=True) as name:
        primary = servers.redis
        settings = [f"replicaof {HOST} {primary.port}", f"masterauth {primary.password}", "appendfsync always"]
        second = RedisServer(Path(name) / "replica", settings=settings)
        second.start()
        try:
            with servers.client as client:

                def has_caught_up() -> bool:
                    return bool(client.info("replication").get("slave0", {}).get("state") == "online")

                machine.wait_until(has_caught_up, "the replica's start")
            assert second.process is not None
            yield psutil.Process(second.process.pid)
        finally:
            second.stop()


def set_mode(servers: Servers, mode: str) -> None:
    """Set the append-only file, and wait until a rewrite that this begins has ended."""
    with servers.client as client:
        client.config_set("appendonly", "no" if mode == "off" else "yes")
        if mode != "off":
            client.config_set("appendfsync", mode)
        machine.wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the file's rewrite")


def taken(stage: Stage, batch: int, *, durable: bool, scale: float, more: Sequence[psutil.Process] = ()) -> Figure:
    """Send for some seconds; the CPU is that of ingestor, Redis and replica."""
    stage.clear()
    with stage.running("ingestor", environ={"REDIS_DURABLE": str(durable).lower()}) as (ingestor,):
        OpenLoad(ingestor.url, batch=batch, seconds=0.5).run()
        load = OpenLoad(ingestor.url, batch=batch, seconds=max(0.5, SECONDS * scale))
        processes = [ingestor.process, stage.servers.processes()[0], *more]
        report = load.run(lambda: machine.cpu_seconds(processes))
    accepted = report["accepted"]
    return Figure(accepted / report["seconds"], report["cpu"] / accepted * 1e6, {"p99_ms": report["p99_ms"]})


@contextmanager
def bench() -> Iterator[Bench]:
    """Give all sides."""
    with machine.servers("always") as servers:
        stage = Stage(servers)

        def of_mode(mode: str, batch: int, scale: float) -> Figure:
            set_mode(servers, mode)
            return taken(stage, batch, durable=False, scale=scale)

        def durable(batch: int, scale: float) -> Figure:
            set_mode(servers, "always")
            with replica(servers) as second:
                return taken(stage, batch, durable=True, scale=scale, more=[second])

        sides = []
        for batch in BATCHES:
            kind = "single events" if batch == 1 else f"batches of {batch}"
            ways: list[tuple[str, Callable[[float], Figure]]] = [
                (mode, partial(of_mode, mode, batch)) for mode in MODES
            ]
            ways.append(("durable", partial(durable, batch)))
            for name, measure in ways:
                what = "always, and a replica has it" if name == "durable" else f"append-only file {name}"
                sides.append(Side(f"{name} {batch}", f"{kind}: {what}", measure))
        conditions = "64 connections, the generator in Python on the same cores; services and servers on one disk"
        yield Bench("settings", "What the settings of safety cost", conditions, sides, ())


def table(outcome: Outcome) -> str:
    """Return it as a table of the page."""
    rows = ["| setting | events/s (least-most) | CPU µs an event | 99 % answered within, ms |", "|---|--:|--:|--:|"]
    for side in outcome.sides:
        if side.per_second is None or side.cpu_us is None:
            continue
        rate = f"{side.per_second.median:,.0f} ({side.per_second.least:,.0f}-{side.per_second.most:,.0f})"
        rows.append(f"| {side.what} | {rate} | {side.cpu_us.median:,.1f} | {side.notes['p99_ms']:,.1f} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page where that is wanted."""
    parser = measuring.arguments(__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args(arguments)
    scale = options.scale or (measuring.QUICK if options.quick else 1.0)
    runs = options.runs or (1 if options.quick else measuring.RUNS)
    began = time.perf_counter()
    with bench() as row:
        outcome = measuring.run(row, runs, scale, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(outcome.as_json(), ensure_ascii=False) if options.json else measuring.text(outcome), flush=True)
    print(f"settings: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.write:
        heading = (
            f"`python -m benchmarks.settings_cost{' --quick' if options.quick else ''} --runs {runs}`, "
            f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}. "
            f"{outcome.conditions[0].upper()}{outcome.conditions[1:]}."
        )
        performance_page.replace("settings", f"{heading}\n\n{table(outcome)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
