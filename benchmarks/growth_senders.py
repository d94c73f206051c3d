"""Curve: single events against the number of connections, each sender with an address of its own."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import OpenLoad, Stage

CONNECTIONS = (1, 8, 64, 250, 1000, 2000)


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    seconds = 1.0 if option.quick else 5.0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)

        def measure(x: float) -> Mapping[str, float]:
            stage.clear()
            with stage.running("ingestor") as (ingestor,):
                OpenLoad(ingestor.url, seconds=0.5).run()
                load = OpenLoad(ingestor.url, seconds=seconds, connections=int(x), addresses=int(x), greet=1)
                report = load.run(lambda: stage.cpu(ingestor))
                memory = ingestor.process.memory_info().rss / (1 << 20)
            accepted = report["accepted"]
            return {
                "per_second": accepted / report["seconds"],
                "cpu_us": report["cpu"] / accepted * 1e6,
                "p99_ms": report["p99_ms"],
                "rss_mib": memory,
            }

        yield Curve(
            "senders",
            "Senders",
            "single events over open connections, each from an address of its own, the next event when the last is "
            "answered; rates and latencies are those that the generator in Python on the same cores allows",
            "connections",
            CONNECTIONS[::2] if option.quick else CONNECTIONS,
            (
                Series("cpu_us", "ingestor and Redis", "CPU µs an event"),
                Series("per_second", "accepted", "events/s"),
                Series("p99_ms", "99 % answered within", "ms"),
                Series("rss_mib", "ingestor's memory", "MiB"),
            ),
            (
                Promise("From 64 connections on an event costs the same", "cpu_us", "flat", 1.3, since=64),
                Promise("Waiting grows no faster than the number of those who wait", "p99_ms", "linear", 2.0, since=64),
            ),
            measure,
        )
