"""A pattern's day by hour: bars for its row, words for its pace, lines for a table."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from mutt.unmatched import Unmatched, quiet_hours, trend

WIDTH, HEIGHT, STEP = 120, 20, 5
LEAST = 2.0  # of an hour with any event
AN_HOUR, A_MINUTE = 1, 60  # events an hour from which a rate is told by the hour, by the minute


class Bar(NamedTuple):
    """An hour within 120 by 20; `height` is 0 where nothing was counted."""

    x: int
    y: float
    height: float


class Hour(NamedTuple):
    """A line of the table."""

    at: datetime
    events: int


def bars(hours: Sequence[int]) -> list[Bar]:
    """Return a bar each hour, the highest as high as the picture."""
    most = max(hours, default=0)
    heights = [max(round(count / most * HEIGHT, 1), LEAST) if count else 0 for count in hours]
    return [Bar(place * STEP, HEIGHT - height, height) for place, height in enumerate(heights)]


def name_of(hours: Sequence[int], zone: tzinfo, now: datetime) -> str:
    """Return what the bars say in a sentence."""
    lines = table(hours, now)
    peak = max(lines, key=lambda line: line.events)
    return (
        f"{sum(hours):,} in 24 h by hour, {hours[-1]:,} in this one, "
        f"{peak.events:,} at the most from {peak.at.astimezone(zone):%H:%M}"
    )


def table(hours: Sequence[int], now: datetime) -> list[Hour]:
    """Return each hour with its count, oldest first."""
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [Hour(last - timedelta(hours=len(hours) - 1 - place), count) for place, count in enumerate(hours)]


def pace(item: Unmatched, hours: Sequence[int] | None, zone: tzinfo, now: datetime) -> str:
    """Return how fast the pattern comes, in words."""
    if hours:
        back = quiet_hours(hours)
        if 1 < back < len(hours):
            return f"quiet since {table(hours, now)[-back].at.astimezone(zone):%H:%M}"
        found = trend(hours)
        if found is not None:
            return f"{found.word}, {_rate(found.per_hour)}"
    return "new, no pace yet" if item.per_hour is None else _rate(item.per_hour)


def _rate(per_hour: float) -> str:
    if per_hour >= A_MINUTE:
        return f"{per_hour / 60:,.0f} a minute"
    return f"{per_hour:,.0f} an hour" if per_hour >= AN_HOUR else f"{per_hour * 24:,.1f} a day"
