"""The frame of every benchmark: sides measured in turn in one run, medians with least and most, floors judged.

A row is a script `benchmarks/<name>.py` with a context manager `bench(options)` that gives a `Bench`, and
`if __name__ == "__main__": measuring.main(bench, __doc__)`. `muttdev bench` runs the rows and prints one table.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

QUICK = 0.1  # the share of the events with --quick
RUNS = 3


class NotHere(Exception):  # noqa: N818  (nothing went wrong)
    """A side cannot be measured on this machine (a program is not installed); the text says why."""


@dataclass(frozen=True)
class Figure:
    """One measurement."""

    per_second: float  # events (or what `unit` says) a second
    cpu_us: float | None = None  # CPU µs an event of services and servers, without the load generator
    notes: Mapping[str, float] = field(default_factory=dict)  # p99_ms, …


@dataclass(frozen=True)
class Side:
    """One of the things compared: "stack" is what a user would write instead, "limit" what is possible at all."""

    name: str
    what: str  # one line for people
    measure: Callable[[float], Figure]  # given the scale: 1, or 0.1 with --quick


@dataclass(frozen=True)
class Floor:
    """What is asked of the ratio of two sides: per_second: side / over; cpu_us: over / side (less CPU is better)."""

    side: str
    over: str
    least: float
    of: Literal["per_second", "cpu_us"] = "per_second"
    why: str = ""  # the reason to show beside it where it is known not to be reached


@dataclass(frozen=True)
class Bench:
    """One row of the table."""

    name: str  # also the script's name
    title: str
    conditions: str  # AOF mode, indexes, rules, connections: what the figure depends on
    sides: Sequence[Side]
    floors: Sequence[Floor]
    unit: str = "events"


@dataclass(frozen=True)
class Spread:
    """A median with its least and most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Make it of one value a run."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Measured:
    """What the runs of one side gave; `missing` says why there are none."""

    name: str
    what: str
    per_second: Spread | None = None
    cpu_us: Spread | None = None
    notes: Mapping[str, float] = field(default_factory=dict)  # medians; of the most ("most ms") the most
    missing: str = ""


@dataclass(frozen=True)
class Verdict:
    """A floor and the ratio of the medians; the spread is of the ratios of the single runs."""

    floor: Floor
    ratio: Spread | None

    @property
    def reached(self) -> bool | None:
        """Tell whether the ratio of the medians is at least the floor; None when a side was not measured."""
        return None if self.ratio is None else self.ratio.median >= self.floor.least


@dataclass(frozen=True)
class Outcome:
    """A row's result."""

    name: str
    title: str
    conditions: str
    unit: str
    runs: int
    scale: float
    sides: Sequence[Measured]
    verdicts: Sequence[Verdict]

    def as_json(self) -> dict[str, Any]:
        """Return what --json prints."""
        floors = [{**asdict(verdict), "reached": verdict.reached} for verdict in self.verdicts]
        return {**asdict(self), "verdicts": floors}


def run(bench: Bench, runs: int, scale: float, say: Callable[[str], None]) -> Outcome:
    """Measure every side once a round, in turn and in the other direction every second round; judge the floors."""
    figures: dict[str, list[Figure]] = {side.name: [] for side in bench.sides}
    missing: dict[str, str] = {}
    for number in range(runs):
        for side in bench.sides[:: -1 if number % 2 else 1]:
            if side.name in missing:
                continue
            try:
                figure = side.measure(scale)
            except NotHere as reason:
                missing[side.name] = str(reason)
                say(f"{bench.name}: {side.name}: not measured: {reason}")
                continue
            figures[side.name].append(figure)
            cpu = "" if figure.cpu_us is None else f", {figure.cpu_us:,.2f} µs CPU"
            say(f"{bench.name}: run {number + 1} of {runs}: {side.name}: {figure.per_second:,.0f}/s{cpu}")
    sides = [_measured(side, figures[side.name], missing.get(side.name, "")) for side in bench.sides]
    verdicts = [Verdict(floor, _ratio(floor, figures)) for floor in bench.floors]
    return Outcome(bench.name, bench.title, bench.conditions, bench.unit, runs, scale, sides, verdicts)


def _measured(side: Side, figures: Sequence[Figure], missing: str) -> Measured:
    if not figures:
        return Measured(side.name, side.what, missing=missing)
    cpu = [figure.cpu_us for figure in figures if figure.cpu_us is not None]
    notes = {
        name: _note(name, [each.notes[name] for each in figures if name in each.notes]) for name in figures[0].notes
    }
    rates = Spread.of([figure.per_second for figure in figures])
    return Measured(side.name, side.what, rates, Spread.of(cpu) if cpu else None, notes)


def _note(name: str, values: Sequence[float]) -> float:
    """Return the median of all runs; of what is the most of a run ("most ms") the most of all."""
    return max(values) if name.startswith("most") else statistics.median(values)


def _ratio(floor: Floor, figures: Mapping[str, Sequence[Figure]]) -> Spread | None:
    ours, theirs = figures.get(floor.side, ()), figures.get(floor.over, ())
    if floor.of == "cpu_us":
        ours, theirs = theirs, ours  # less is better
    above = [getattr(figure, floor.of) for figure in ours]
    below = [getattr(figure, floor.of) for figure in theirs]
    if not above or not below or None in above or None in below:
        return None
    each = [one / other for one, other in zip(above, below, strict=True)]
    return Spread(statistics.median(above) / statistics.median(below), min(each), max(each))


def text(outcome: Outcome) -> str:
    """Return a row's result for people."""
    lines = [outcome.title, f"  {outcome.conditions}"]
    for side in outcome.sides:
        if side.per_second is None:
            lines.append(f"  {side.name:12} not measured: {side.missing}")
            continue
        rate = f"{side.per_second.median:,.0f}/s ({side.per_second.least:,.0f}-{side.per_second.most:,.0f})"
        cpu = "" if side.cpu_us is None else f"{side.cpu_us.median:,.2f} µs CPU"
        notes = ", ".join(f"{name} {value:,.{0 if value >= 100 else 2}f}" for name, value in side.notes.items())
        lines.append(f"  {side.name:12} {rate:34} {cpu:20} {notes:24} {side.what}".rstrip())
    lines += [f"  {judged(verdict)}" for verdict in outcome.verdicts]
    return "\n".join(lines)


def judged(verdict: Verdict) -> str:
    """Return a floor with what came of it, in words."""
    floor = verdict.floor
    names = f"{floor.side} / {floor.over}" if floor.of == "per_second" else f"CPU of {floor.over} / {floor.side}"
    asked = f"floor {floor.least:g}"
    if verdict.ratio is None:
        return f"{names}: not measured ({asked})"
    ratio = f"{verdict.ratio.median:,.2f} ({verdict.ratio.least:,.2f}-{verdict.ratio.most:,.2f})"
    if verdict.reached:
        return f"{names}: {ratio}, {asked}: reached"
    return f"{names}: {ratio}, {asked}: NOT reached{': ' if floor.why else ''}{floor.why}"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return the options that every row has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help=f"rounds (default: {RUNS}, 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, one round")
    parser.add_argument("--scale", type=float, help="another share of the events (default: 1, 0.1 with --quick)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--judged", action="store_true", help="only the sides that floors are asked of")
    parser.add_argument("--appendfsync", choices=("off", "everysec", "always"), default="off", help="Redis's AOF mode")
    return parser


Making = Callable[[argparse.Namespace], AbstractContextManager[Bench]]


def measured(bench: Making, options: argparse.Namespace) -> Outcome:
    """Run one row as its options say; progress goes to stderr."""
    scale = options.scale or (QUICK if options.quick else 1.0)
    runs = options.runs or (1 if options.quick else RUNS)
    # What the code that is measured logs is no result.
    with redirect_stdout(sys.stderr), bench(options) as given:
        names = {floor.side for floor in given.floors}
        sides = [side for side in given.sides if side.name in names or not options.judged]
        row = replace(given, sides=sides, floors=() if options.judged else given.floors)
        return run(row, runs, scale, lambda line: print(line, file=sys.stderr, flush=True))


def main(bench: Making, doc: str | None) -> None:
    """Run one row from the command line."""
    options = arguments(doc).parse_args()
    outcome = measured(bench, options)
    print(json.dumps(outcome.as_json(), ensure_ascii=False) if options.json else text(outcome), flush=True)
