"""Event rates from the counters that the ingestors keep by minute and by hour."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

MINUTES = 61
HOURS = 24
MINUTE = 60.0  # seconds


def minutes(now: datetime) -> list[datetime]:
    """Return the minutes whose counters are needed: the current one first, then an hour of full ones."""
    current = now.astimezone(UTC).replace(second=0, microsecond=0)
    return [current - timedelta(minutes=back) for back in range(MINUTES)]


def hours(now: datetime) -> list[datetime]:
    """Return the last 24 hours, the current one last."""
    current = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [current - timedelta(hours=back) for back in reversed(range(HOURS))]


def summary(now: datetime, per_minute: Sequence[int]) -> dict[str, float]:
    """Return events a second over the last minute, 15 minutes and hour; counts in the order of `minutes`.

    The current minute is under way: each window takes the part of its oldest minute that still lies in it.
    """
    rest = 1 - (now.second + now.microsecond / 1e6) / MINUTE

    def rate(window: int) -> float:
        return round((sum(per_minute[:window]) + per_minute[window] * rest) / (window * MINUTE), 3)

    return {"current_rate_1m": rate(1), "avg_rate_15m": rate(15), "avg_rate_1h": rate(60)}


def chart(now: datetime, per_hour: Sequence[int]) -> dict[str, list[Any]]:
    """Return labels `HH:00` and events a minute for the last 24 hours; counts in the order of `hours`."""
    elapsed = max(now.minute + now.second / MINUTE, 1.0)
    spans = [60.0] * (HOURS - 1) + [elapsed]
    return {
        "labels": [f"{hour:%H}:00" for hour in hours(now)],
        "data": [round(count / span, 2) for count, span in zip(per_hour, spans, strict=True)],
    }
