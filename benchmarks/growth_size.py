"""Curve: the cost of an event, from the sender to its audit row, against its size."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import OpenLoad, Stage

SIZES = (120, 364, 1000, 4000, 16_000, 60_000)
REQUEST = 200_000  # bytes of a batch at most


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    seconds = 1.0 if option.quick else 4.0
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)

        def measure(x: float) -> Mapping[str, float]:
            stage.clear()
            batch = max(1, min(100, int(REQUEST / x)))
            with stage.running("ingestor", "alerter") as (ingestor, alerter):
                OpenLoad(ingestor.url, batch=batch, size=int(x), seconds=0.5, connections=4).run()
                machine.wait_until(stage.drained, "the end of the warm-up")
                load = OpenLoad(ingestor.url, batch=batch, size=int(x), seconds=seconds, connections=8)
                services = [ingestor, alerter]
                before = [machine.cpu_seconds([each.process]) for each in services]
                everything = stage.cpu(*services)
                load.start()
                report = load.report()
                machine.wait_until(stage.drained, "the audit of all events")
                everything = stage.cpu(*services) - everything
                each = [machine.cpu_seconds([one.process]) - was for one, was in zip(services, before, strict=True)]
            load.end()
            accepted = report["accepted"] / 1e6
            return {
                "all_us": everything / accepted,
                "ingestor_us": each[0] / accepted,
                "alerter_us": each[1] / accepted,
                "ns_byte": everything / accepted / x * 1000,
            }

        yield Curve(
            "size",
            "Size of an event",
            f"batches of up to 100 events and {REQUEST:,} bytes, from the sender to committed audit rows",
            "bytes an event",
            SIZES[::2] if option.quick else SIZES,
            (
                Series("all_us", "all services and servers", "CPU µs an event"),
                Series("ingestor_us", "ingestor", "CPU µs an event"),
                Series("alerter_us", "alerter", "CPU µs an event"),
                Series("ns_byte", "all services and servers", "CPU ns a byte"),
            ),
            (
                Promise(
                    "An event costs a fixed part and at most in proportion to its bytes (from 1,000 bytes on)",
                    "all_us", "linear", 1.3, since=1000,
                ),
            ),
            measure,
        )  # fmt: skip
