"""Curve: what an event costs on its way in and on its way out, against the depth of the ingest queue."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import Entries, OpenLoad, Stage

DEPTHS = (0, 10_000, 100_000, 1_000_000)
BATCH = 100


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    seconds = 1.0 if option.quick else 4.0
    out = 10_000 if option.quick else 150_000
    entries = Entries()
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)

        def deepen(depth: int) -> None:
            while (missing := depth - stage.depth()) > 0:
                stage.fill(entries.fresh(min(missing, 100_000)))

        def measure(x: float) -> Mapping[str, float]:
            stage.clear()
            deepen(int(x))
            with stage.running("ingestor") as (ingestor,):
                OpenLoad(ingestor.url, batch=BATCH, seconds=0.5).run()
                load = OpenLoad(ingestor.url, batch=BATCH, seconds=seconds)
                report = load.run(lambda: stage.cpu(ingestor))
                pushed = report["cpu"] / report["accepted"] * 1e6
            with servers.client as client:
                memory = client.memory_usage("mutt:ingest_queue", samples=100) / client.llen("mutt:ingest_queue")
            deepen(max(int(x), 2 * out))
            with stage.running("alerter") as (alerter,):
                machine.wait_until(lambda: stage.depth() < max(x, 2 * out) - out / 5, "the first claims", every=0.005)
                before, begun = stage.cpu(alerter), stage.depth()
                machine.wait_until(lambda: stage.depth() <= begun - out, "the claims", every=0.005)
                claimed = (stage.cpu(alerter) - before) / (begun - stage.depth()) * 1e6
            return {"in_us": pushed, "out_us": claimed, "bytes": memory}

        yield Curve(
            "queue",
            "Queue depth",
            f"in: batches of {BATCH} while so many events wait; out: {out:,} of them to committed audit rows",
            "events waiting",
            DEPTHS[:-1] if option.quick else DEPTHS,
            (
                Series("in_us", "in: ingestor and Redis", "CPU µs an event"),
                Series("out_us", "out: alerter, Redis and PostgreSQL", "CPU µs an event"),
                Series("bytes", "Redis's memory", "bytes an event"),
            ),
            (
                Promise("An event costs the same on its way in, however many wait", "in_us", "flat", 1.3),
                Promise("An event costs the same on its way out, however many wait", "out_us", "flat", 1.3),
                Promise("Redis's memory is linear: an event that waits takes the same", "bytes", "flat", 1.1),
            ),
            measure,
        )
