"""How long a failed alert or a dead letter waits before it is tried again."""

JITTER_SHARE = 0.1  # of a delay at most, so that alerts which failed together do not come back together


def forward_delay(attempt: int, base: float, cap: float, jitter: float) -> float:
    """Return the seconds before the retry that follows failure `attempt` (1, 2, …); `jitter` is in [0, 1].

    Doubles from `base` up to `cap`; jitter only shortens it, so that the cap holds.
    """
    # Past 2^63 every base is over every cap; the bound keeps the power finite.
    delay = min(base * 2.0 ** min(attempt - 1, 63), cap)
    return delay * (1 - JITTER_SHARE * jitter)


def remediation_due(attempts: int, base: float) -> float:
    """Return the seconds that a dead letter waits which was replayed `attempts` times: `base` x the next attempt."""
    return base * (attempts + 1)
