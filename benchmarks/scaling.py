"""What cores and machines carry, and the bill of a rate, out of the figures of a run of the benchmarks.

    python -m benchmarks.scaling [FILE] [--footprint FILE] [--events 1000000] [--cores 16] [--use 0.5] [--write]

FILE is what `muttdev bench --appendfsync always --json FILE` wrote; without it, what the last `bench --write` with that
mode left in docs/. The footprint is what `python -m benchmarks.footprint --json` printed. --write puts the tables into
docs/scaling.md.
"""

import argparse
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.machine import TREE

PAGE = TREE / "docs" / "scaling.md"
LAST = TREE / "docs" / "images" / "performance" / "bench-always.json"  # as `bench --write` leaves it
ROWS = {"single events": "end_to_end_single", "batches of 100": "end_to_end_batches"}
TEN = 10
DAY = 86_400


@dataclass(frozen=True)
class Costs:
    """CPU µs that an event costs in each step, from the request to the committed row."""

    ingestor: float
    redis: float
    alerter: float
    postgres: float

    @property
    def total(self) -> float:
        """All steps together."""
        return self.ingestor + self.redis + self.alerter + self.postgres

    @classmethod
    def of(cls, document: Mapping[str, Any], row: str) -> "Costs":
        """Take them from a row of the benchmarks."""
        for found in document["rows"]:
            for side in found.get("sides", ()):
                if (found["name"], side["name"]) == (row, "mutt") and side["notes"]:
                    return cls(**{field.name: side["notes"][f"{field.name}_us"] for field in fields(cls)})
        raise SystemExit(f"the file holds no figures of {row}: run bench with it")


@dataclass(frozen=True)
class Plan:
    """How a machine is planned: its cores, and the share of them that is used, so that the rest is a reserve."""

    cores: int = 16
    use: float = 0.5

    def rate(self, cores: float, cost: float) -> float:
        """Return the events a second that so many cores carry at a cost."""
        return cores * self.use * 1e6 / cost

    def needed(self, rate: float, cost: float) -> int:
        """Return the cores that a rate takes at a cost."""
        return math.ceil(rate * cost / 1e6 / self.use)


def carried(costs: Costs, plan: Plan) -> Iterator[tuple[str, float, str]]:
    """Yield what carries events, how many a second, and which step ends it."""
    yield "one core", plan.rate(1, costs.total), "the core"
    one = {"the cores": plan.rate(plan.cores, costs.total), "Redis, one thread": plan.rate(1, costs.redis)}
    yield f"one machine of {plan.cores} cores", *_least(one)
    # One machine for PostgreSQL, one for Redis, of which one core works; all others for the services.
    apart = {
        "Redis, one thread": plan.rate(1, costs.redis),
        "PostgreSQL, one machine": plan.rate(plan.cores, costs.postgres),
        "the services": plan.rate((TEN - 2) * plan.cores, costs.ingestor + costs.alerter),
    }
    yield "ten machines, one Redis and one PostgreSQL among them", *_least(apart)
    sharded = {name: rate for name, rate in apart.items() if not name.startswith("Redis")}
    sharded["the services and Redis"] = plan.rate((TEN - 1) * plan.cores, costs.total - costs.postgres)
    yield "ten machines, Redis in shards, one PostgreSQL", *_least(sharded)
    yield "ten machines, Redis and PostgreSQL in shards", plan.rate(TEN * plan.cores, costs.total), "the cores"


def _least(rates: Mapping[str, float]) -> tuple[float, str]:
    step = min(rates, key=lambda name: rates[name])
    return rates[step], step


def bill(costs: Costs, plan: Plan, rate: float) -> Iterator[tuple[str, float, int, str]]:
    """Yield each step of a rate: its cost, its cores, and what they are."""
    units = {
        "ingestor": "processes behind a balancer",
        "redis": "shards, each a primary with its replica on another machine",
        "alerter": "processes, at least one a shard",
        "postgres": "cores of the audit's nodes",
    }
    for step, unit in units.items():
        cost = getattr(costs, step)
        yield step, cost, plan.needed(rate, cost), unit


def carried_table(documents: Mapping[str, Costs], plan: Plan) -> list[str]:
    """Return the first table: a row each for what there is, a column each for how events come."""
    lines = ["| | " + " | ".join(f"{kind}, events/s | ended by" for kind in documents) + " |"]
    lines.append("|---|" + "--:|---|" * len(documents))
    for places in zip(*(carried(costs, plan) for costs in documents.values()), strict=True):
        cells = (f"{_two_digits(rate):,.0f} | {step}" for _, rate, step in places)
        lines.append(f"| {places[0][0]} | " + " | ".join(cells) + " |")
    return lines


def bill_table(costs: Costs, plan: Plan, rate: float) -> list[str]:
    """Return the second table: what a rate takes."""
    lines = ["| step | CPU µs an event | cores | what they are |", "|---|--:|--:|---|"]
    total = 0
    for step, cost, cores, unit in bill(costs, plan, rate):
        total += cores
        lines.append(f"| {step} | {cost:.2f} | {cores:,} | {unit} |")
    machines = math.ceil(total / plan.cores)
    return [*lines, f"| all | {costs.total:.2f} | {total:,} | {machines:,} machines of {plan.cores} cores |"]


def bytes_table(footprint: Mapping[str, Any], rate: float) -> list[str]:
    """Return the third table: what a rate writes."""
    redis, audit = footprint["redis"], footprint["audit"]
    flows = {
        "append-only files, the push alone": redis["append_only_file"],
        "write-ahead log": audit["write_ahead_log"],
        "audit tables and indexes": audit["bytes"],
    }
    lines = ["| what is written | bytes an event | MB/s | TB a day |", "|---|--:|--:|--:|"]
    for what, size in flows.items():
        lines.append(f"| {what} | {size:,.0f} | {rate * size / 1e6:,.0f} | {rate * size * DAY / 1e12:,.1f} |")
    minute = rate * 60 * redis["ingest_queue"] / 1e9
    return [*lines, "", f"A minute of events that wait takes {minute:,.1f} GB of Redis's memory, over all shards."]


def _two_digits(rate: float) -> int:
    return round(rate, 1 - math.floor(math.log10(rate)))  # type: ignore[return-value]


def report(document: Mapping[str, Any], footprint: Mapping[str, Any] | None, plan: Plan, rate: float) -> str:
    """Return the tables as they stand in the page."""
    kinds = {kind: Costs.of(document, row) for kind, row in ROWS.items()}
    dates = sorted({row["date"] for row in document["rows"] if row["name"] in ROWS.values()})
    told = f"From `{document['command']}` of {dates[-1]}, append-only file {document['appendfsync']}"
    parts = [f"{told}. {plan.use:.0%} of each core is planned, the rest is the reserve."]
    parts += ["", *carried_table(kinds, plan), "", f"{rate:,.0f} events/s in batches of 100:", ""]
    parts += bill_table(kinds["batches of 100"], plan, rate)
    if footprint is not None:
        parts += ["", *bytes_table(footprint, rate)]
    return "\n".join(parts)


def between(page: str, inside: str) -> str:
    """Return the page with what stands between its markers replaced."""
    marks = re.compile(r"(<!-- scaling -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(page):
        raise SystemExit(f"{PAGE.name} has no pair of markers <!-- scaling --> and <!-- end -->")
    return marks.sub(lambda found: f"{found[1]}{inside}\n{found[2]}", page)


def main() -> None:
    """Compute, print, and write where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=LAST)
    parser.add_argument("--footprint", type=Path)
    parser.add_argument("--events", type=float, default=1e6, help="a second")
    parser.add_argument("--cores", type=int, default=Plan.cores, help="of a machine")
    parser.add_argument("--use", type=float, default=Plan.use, help="the share of a core that is planned")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scaling.md")
    options = parser.parse_args()
    if not options.file.exists():
        raise SystemExit(f"{options.file} is not there: bench --appendfsync always --json FILE writes one")
    document = json.loads(options.file.read_text(encoding="utf-8"))
    footprint = options.footprint and json.loads(options.footprint.read_text(encoding="utf-8"))
    text = report(document, footprint, Plan(options.cores, options.use), options.events)
    print(text)
    if options.write:
        PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
