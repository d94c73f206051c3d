"""The frame of a curve: points measured in turn, and a promise of how its cost may grow, which is checked."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Growth = Literal["flat", "log", "linear"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Promise:
    """How `of` may grow with x, from the first point that is at least `since`; `tolerance` is a factor of it."""

    words: str
    of: str
    growth: Growth
    tolerance: float
    since: float = 0.0
    most: float | None = None  # instead of what follows from the first point

    def allowed(self, first_x: float, first: float, x: float) -> float:
        """Return the most that a value at `x` may be, given the first one."""
        if self.most is not None:
            return self.most
        grown = {"flat": 1.0, "log": math.log(x + 1) / math.log(first_x + 1) if first_x else 1.0}
        return first * self.tolerance * grown.get(self.growth, x / first_x if first_x else 1.0)

    def broken(self, points: Sequence["Point"]) -> list[str]:
        """Return where the promise is not kept, in words."""
        judged = [point for point in points if point.x >= self.since]
        first = judged[0]
        found = []
        for point in judged[1:] if self.most is None else judged:
            most, is_now = self.allowed(first.x, first.values[self.of], point.x), point.values[self.of]
            if is_now > most:
                found.append(f"{self.of} at {point.x:,.0f} is {is_now:,.2f}, over {most:,.2f}")
        return found


@dataclass(frozen=True)
class Point:
    """What was measured at one x: medians by name, with least and most in `spread`."""

    x: float
    values: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """One of a curve's values; those of one panel and unit are drawn together."""

    key: str
    name: str
    unit: str
    panel: str = ""


@dataclass(frozen=True)
class Curve:
    """A curve: `measure` gives the values at one x."""

    name: str
    title: str
    conditions: str
    x_name: str
    xs: Sequence[float]
    series: Sequence[Series]
    promises: Sequence[Promise]
    measure: Callable[[float], Mapping[str, float]]
    in_order: bool = False  # points build on each other: they cannot be measured in turn


@dataclass(frozen=True)
class Option:
    """How much is measured."""

    quick: bool = False
    runs: int = 3
    appendfsync: str = "off"


Make = Callable[[Option], AbstractContextManager[Curve]]


def measured(curve: Curve, option: Option, say: Say) -> list[Point]:
    """Measure every point, in turn and in the other direction every second round."""
    found: dict[float, list[Mapping[str, float]]] = {x: [] for x in curve.xs}
    one = [list(curve.xs)[:: -1 if number % 2 else 1] for number in range(option.runs)]
    order = [x for x in curve.xs for _ in range(option.runs)] if curve.in_order else [x for turn in one for x in turn]
    for x in order:
        values = curve.measure(x)
        found[x].append(values)
        say(
            f"{curve.name}: {x:,.0f} {curve.x_name}: "
            + ", ".join(f"{key} {value:,.4g}" for key, value in values.items())
        )
    return [_point(x, each) for x, each in found.items()]


def _point(x: float, runs: Sequence[Mapping[str, float]]) -> Point:
    by_name = {key: [run[key] for run in runs] for key in runs[0]}
    spread = {key: (min(values), max(values)) for key, values in by_name.items()}
    return Point(x, {key: statistics.median(values) for key, values in by_name.items()}, spread)


def as_json(curve: Curve, points: Sequence[Point], about: Mapping[str, str]) -> dict[str, Any]:
    """Return a measured curve as what its file holds; the page is made of that alone."""
    broken = [{"words": promise.words, "broken": promise.broken(points)} for promise in curve.promises]
    return {
        "name": curve.name,
        "title": curve.title,
        "conditions": curve.conditions,
        "x_name": curve.x_name,
        "series": [asdict(each) for each in curve.series],
        "promises": broken,
        "points": [asdict(point) for point in points],
        **about,
    }
