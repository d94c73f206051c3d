"""Curve: what people at the console cost, and whether senders notice, at half of the ingestor's capacity."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import Command, OpenLoad, Stage

VIEWERS = (0, 10, 30, 100)
HALF = 0.5


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    seconds = 10.0 if option.quick else 20.0
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)
        with stage.running("ingestor", "alerter", "webui") as services:
            ingestor, _, console = services
            report = OpenLoad(ingestor.url, seconds=2 if option.quick else 5).run()
            rate = report["accepted"] / report["seconds"] * HALF
            machine.wait_until(stage.drained, "the audit of all events")

            def measure(x: float) -> Mapping[str, float]:
                viewers = Command("viewers", console.url, count=x, seconds=seconds) if x else None
                load = OpenLoad(ingestor.url, rate=rate, seconds=seconds)
                if viewers:
                    viewers.start()
                load.start()
                before, begun = machine.cpu_seconds([console.process]), time.monotonic()
                others = stage.cpu(*services[:2])
                report = load.report()
                took = time.monotonic() - begun
                used = (machine.cpu_seconds([console.process]) - before) / took
                others = (stage.cpu(*services[:2]) - others) / report["accepted"]
                load.end()
                seen = {"requests": 0, "p99_ms": 0.0}
                if viewers:
                    seen = viewers.report()
                    viewers.end()
                machine.wait_until(stage.drained, "the audit of all events")
                polled = seen["requests"] or 1
                return {
                    "console": used * 1000,
                    "poll_ms": used * took / polled * 1000 if viewers else 0.0,
                    "ingest_p99_ms": report["p99_ms"],
                    "page_p99_ms": seen["p99_ms"],
                    "event_us": others * 1e6,
                }

            yield Curve(
                "viewers",
                "Viewers of the console",
                f"signed in, polling the dashboard every 5 s, while {rate:,.0f} single events/s come: "
                "half of what the generator and the ingestor reached in the same run; the alerter runs too",
                "viewers",
                VIEWERS[::3] if option.quick else VIEWERS,
                (
                    Series("console", "web UI", "CPU ms a second"),
                    Series("poll_ms", "web UI, a poll", "CPU ms"),
                    Series("ingest_p99_ms", "99 % of events answered within", "ms"),
                    Series("page_p99_ms", "99 % of polls answered within", "ms"),
                    Series("event_us", "an event, all but the web UI", "CPU µs"),
                ),
                (
                    Promise(
                        "Viewers cost the web UI at most in proportion to their number", "console", "linear", 1.2, 10
                    ),
                    Promise("An event costs the same, whoever watches", "event_us", "flat", 1.25),
                ),
                measure,
            )
