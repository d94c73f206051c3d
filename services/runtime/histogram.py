"""A histogram for what happens a hundred thousand times a second."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from prometheus_client import Histogram
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString


class QuickHistogram(Histogram):
    """prometheus_client's histogram without labels, locks and exemplars: for the one thread of an event loop."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._counts = [0] * len(self._upper_bounds)
        self._total = 0.0

    def observe(self, amount: float, _exemplar: Any = None) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._upper_bounds, amount)] += 1
        self._total += amount

    def observe_alike(self, amount: float, times: int) -> None:
        """Count so many observations of one amount."""
        self._counts[bisect_left(self._upper_bounds, amount)] += times
        self._total += amount * times

    def observe_all(self, amounts: Iterable[float]) -> None:
        """Count many observations; below zero is zero, as between the clocks of two machines."""
        ordered, counts, start = sorted(amounts), self._counts, 0
        for place, bound in enumerate(self._upper_bounds):
            if start == len(ordered):
                break
            end = bisect_right(ordered, bound, start)
            counts[place] += end - start
            start = end
        self._total += sum(ordered[bisect_left(ordered, 0.0) :])

    def _child_samples(self) -> Iterable[Sample]:
        counts = list(accumulate(self._counts))
        for bound, count in zip(self._upper_bounds, counts, strict=True):
            yield Sample("_bucket", {"le": floatToGoString(bound)}, count, None, None)  # type: ignore[no-untyped-call]
        yield Sample("_count", {}, counts[-1], None, None)
        yield Sample("_sum", {}, self._total, None, None)
