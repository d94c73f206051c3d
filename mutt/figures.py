"""What an instance of a service tells of its own work: how much lately, and how long each took, as compact counts."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

EVERY = 2.0  # seconds between two reports
RATE_SECONDS = 60.0
LATENCY_SECONDS = 300.0
KEPT_SECONDS = 20  # that a report lives in Redis: an instance that is gone is soon not counted any more


class Snapshot(NamedTuple):
    """Counts since the start of a process: what it did, and observations up to each bound and past the last."""

    at: float  # seconds of a clock that never goes back
    done: int
    buckets: tuple[int, ...]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One instance's report; `buckets` are observations between two bounds, the last ones past every bound."""

    seconds: float  # that `done` took
    done: int
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    health: str = ""  # address of its health document; with TLS followed by # and its certificate's SHA-256


class MoogAnswer(msgspec.Struct, frozen=True):
    """Moogsoft's last answer: `status` is None where none came, `at` is an ISO time, `words` say more."""

    status: int | None
    at: str
    words: str = ""


class Refused(msgspec.Struct, frozen=True):
    """The ingest request that was refused last: its sender's address, and what it was told."""

    status: int
    words: str
    at: str
    sender: str = ""


class Window:
    """The snapshots of the last minutes, and what lies between them."""

    def __init__(self, bounds: Sequence[float], first: Snapshot) -> None:
        self._bounds = tuple(bounds)
        self._snapshots = deque([first])

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot; those that no window reaches any more are forgotten."""
        self._snapshots.append(snapshot)
        while len(self._snapshots) > 2 and self._snapshots[1].at <= snapshot.at - LATENCY_SECONDS:  # noqa: PLR2004
            self._snapshots.popleft()

    def report(self, health: str = "") -> Report:
        """Return what happened in the last minute, and how long things took in the last five."""
        last, first = self._snapshots[-1], self._snapshots[0]
        since = next((each for each in reversed(self._snapshots) if each.at <= last.at - RATE_SECONDS), first)
        taken = [new - old for new, old in zip(last.buckets, first.buckets, strict=True)]
        return Report(last.at - since.at, last.done - since.done, self._bounds, tuple(taken), health)


def rate(reports: Iterable[Report]) -> float | None:
    """Return how much all of them do a second; None where none has measured yet."""
    rates = [each.done / each.seconds for each in reports if each.seconds > 0]
    return sum(rates) if rates else None


def percentile(reports: Iterable[Report], share: float) -> float | None:
    """Return the seconds within which `share` of all observations lie, None without any; inf past the last bound.

    Within a bucket the observations count as spread evenly, as PromQL's histogram_quantile has it.
    """
    counted = [each for each in reports if each.bounds and len(each.buckets) == len(each.bounds) + 1]
    if not counted or len({each.bounds for each in counted}) > 1:
        return None
    bounds = counted[0].bounds
    sums: list[int] = list(accumulate(sum(counts) for counts in zip(*(each.buckets for each in counted), strict=True)))
    if not sums[-1]:
        return None
    rank = share * sums[-1]
    place = bisect_left(sums, rank)
    if place == len(bounds):
        return float("inf")
    low: float = bounds[place - 1] if place else 0.0
    before = sums[place - 1] if place else 0
    width = bounds[place] - low
    return low + width * (rank - before) / (sums[place] - before)


def between(cumulative: Sequence[int], total: int) -> tuple[int, ...]:
    """Return the observations between bounds, and past the last, of counts up to each bound."""
    return tuple(high - low for low, high in pairwise((0, *cumulative, total)))
