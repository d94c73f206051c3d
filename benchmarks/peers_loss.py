"""What a kill -9 in the middle costs."""

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.machine import wait_until

STILL = 3.0  # seconds without another row, after which no more are expected


class Loss(NamedTuple):
    """Of what had been taken (read off the network, or acknowledged): what never arrived, and what came twice."""

    taken: int
    lost: int
    doubled: int


def wait_still(count: Callable[[], int], seconds: float, what: str) -> int:
    """Wait until a count has not changed for so long, and return it."""
    seen, since = count(), time.monotonic()

    def still() -> bool:
        nonlocal seen, since
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    wait_until(still, what, every=0.05)
    return seen
