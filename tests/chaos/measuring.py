"""What a process or a server holds, measured again and again, and by how much it grows."""

import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Any, NamedTuple

import psutil

STRETCHES = 40  # that the time is cut into; the median of each counts, since neighbouring samples are alike
LEAST_STRETCHES = 8
WARM_UP = 0.25  # of the time: caches fill, pools open, allocators reach their size
SURE = 1.96  # standard deviations: an interval that holds the slope in 95 of 100 runs
HOUR, DAY = 3600.0, 24  # seconds, hours

Measures = Mapping[str, float]


class Slope(NamedTuple):
    """Growth an hour: the median of the slopes between all pairs (Theil and Sen), and its 95 % interval."""

    an_hour: float
    low: float
    high: float


@dataclass(frozen=True)
class Limit:
    """What may grow by `a_day`; or be at most `most`, for what fills up to a known bound by its nature.

    `least` is what no verdict is made of: what grew by less in the time of the measurement may have filled a cache.
    """

    pattern: str
    a_day: float = 0.0
    most: float | None = None
    least: float = 0.0


class Series:
    """Samples of many measures over time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._samples: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    def add(self, measures: Measures) -> None:
        """Add what was measured now."""
        at = self._clock() - self._began
        for name, value in measures.items():
            self._samples[name].append((at, value))

    @property
    def names(self) -> list[str]:
        """What is measured."""
        return sorted(self._samples)

    @property
    def hours(self) -> float:
        """The time that slopes are made of."""
        return (self._clock() - self._began) * (1 - WARM_UP) / HOUR

    def last(self, name: str) -> float:
        """Return the last value."""
        return self._samples[name][-1][1]

    def most(self, name: str) -> float:
        """Return the largest value."""
        return max(value for _, value in self._samples[name])

    def slope(self, name: str) -> Slope | None:
        """Return how a measure grows after the warm-up; None where it was seen too seldom to say."""
        samples = self._samples[name]
        end = self._clock() - self._began
        points = list(_medians([each for each in samples if each[0] >= end * WARM_UP]))
        return theil_sen(points) if len(points) >= LEAST_STRETCHES else None


def theil_sen(points: list[tuple[float, float]]) -> Slope:
    """Return the slope an hour of points at seconds."""
    count = len(points)
    slopes = sorted((b - a) / (t - s) * HOUR for (s, a), (t, b) in combinations(points, 2))
    spread = SURE * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + spread) / 2))
    return Slope(statistics.median(slopes), slopes[low], slopes[high])


def growing(series: Series, limits: Iterable[Limit]) -> Iterator[str]:
    """Yield what grows by more than its limit, however the measurement is doubted in its favour."""
    ordered = list(limits)
    for name in series.names:
        limit = next((each for each in ordered if re.search(each.pattern, name)), None)
        if limit is None:
            yield f"{name} is measured, and no limit says how much it may grow"
        elif limit.most is not None:
            if series.most(name) > limit.most:
                yield f"{name} reached {series.most(name):,.0f}, more than {limit.most:,.0f}"
        elif (slope := series.slope(name)) is not None and slope.low > max(
            limit.a_day / DAY, limit.least / series.hours
        ):
            yield (
                f"{name} grows by {slope.an_hour:,.1f} an hour ({slope.low:,.1f} to {slope.high:,.1f}): at least "
                f"{slope.low * DAY:,.0f} a day, of which {limit.a_day:,.0f} are allowed"
            )


def of_process(name: str, pid: int) -> dict[str, float]:
    """Measure a process; nothing when it is gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return {
            f"{name}: memory, KB": process.memory_info().rss / 1024,
            f"{name}: file handles": process.num_fds(),
            f"{name}: threads": process.num_threads(),
        }
    return {}


def of_redis(client: Any) -> dict[str, float]:
    """Measure Redis: its memory, its clients by name, its keys by what they are called before anything variable."""
    found = Counter(f"Redis: clients of {each['name'] or 'others'}" for each in client.client_list())
    found.update(f"Redis: keys {shape(key.decode())}" for key in client.scan_iter(count=1000))
    return {"Redis: memory, KB": client.info("memory")["used_memory"] / 1024, **found}


def of_postgres(connection: Any) -> dict[str, float]:
    """Measure PostgreSQL: its connections by application."""
    rows = connection.execute(
        "SELECT coalesce(nullif(application_name, ''), 'others'), count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' GROUP BY 1"
    ).fetchall()
    return {f"PostgreSQL: connections of {name}": float(count) for name, count in rows}


def shape(key: str) -> str:
    """Return a key's name with what differs between keys of a kind as a star."""
    key = re.sub(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d)?)?", "*", key)
    return re.sub(r"[0-9a-f]{8,}(-[0-9a-f]+)*|(?<=-)\d+\b", "*", key)


def _medians(samples: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    if not samples:
        return
    length = max(1, len(samples) // STRETCHES)
    for start in range(0, len(samples) - length + 1, length):
        part = samples[start : start + length]
        yield statistics.median(at for at, _ in part), statistics.median(value for _, value in part)
