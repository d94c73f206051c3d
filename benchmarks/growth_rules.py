"""Curve: CPU of the alerter an event against the number of rules."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import Entries, Stage, work_off

RULE_COUNTS = (100, 1000, 10_000, 100_000)


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    events = 10_000 if option.quick else 60_000
    entries = Entries()
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)

        def measure(x: float) -> Mapping[str, float]:
            stage.clear()
            stage.set_rules(int(x))
            return asdict(work_off(stage, entries, events))

        yield Curve(
            "rules",
            "Rules",
            f"{events:,} queued events to committed audit rows, eight in ten rules literals, the rest regexes and OIDs",
            "rules",
            RULE_COUNTS[:-1] if option.quick else RULE_COUNTS,
            (
                Series("alerter_us", "alerter", "CPU µs an event"),
                Series("all_us", "alerter, Redis and PostgreSQL", "CPU µs an event"),
                Series("rss_mib", "alerter's memory", "MiB"),
            ),
            (
                Promise(
                    "The CPU of an event does not depend on the number of rules (within a half; at most the logarithm)",
                    "alerter_us", "log", 1.5, since=100,
                ),
            ),
            measure,
        )  # fmt: skip
