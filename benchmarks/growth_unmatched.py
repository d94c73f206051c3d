"""Curve: what events cost the alerter that no rule matches: each is masked and counted by its pattern."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.growth_frame import Curve, Option, Promise, Series
from benchmarks.growth_stage import Entries, Stage, work_off
from benchmarks.workload import LITERALS

SHARES = (0, 25, 50, 75, 100)  # per cent


@contextmanager
def curve(option: Option) -> Iterator[Curve]:
    """Give the curve."""
    events = 10_000 if option.quick else 60_000
    entries = Entries()
    with machine.servers(option.appendfsync) as servers:
        stage = Stage(servers)

        def measure(x: float) -> Mapping[str, float]:
            stage.clear()
            stage.set_rules(without=LITERALS[: round(len(LITERALS) * x / 100)])
            used = work_off(stage, entries, events)
            return {"alerter_us": used.alerter_us, "all_us": used.all_us}

        yield Curve(
            "unmatched",
            "Events that no rule matches",
            f"{events:,} queued events to committed audit rows, 100 rules less those that would match",
            "% of events",
            SHARES[::2] if option.quick else SHARES,
            (
                Series("alerter_us", "alerter", "CPU µs an event"),
                Series("all_us", "alerter, Redis and PostgreSQL", "CPU µs an event"),
            ),
            (Promise("An event that no rule matches costs at most twice what others do", "alerter_us", "flat", 2.0),),
            measure,
        )
