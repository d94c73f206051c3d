"""The dry run's chart, pages a minute over its time, as coordinates for an SVG."""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

WIDTH, HEIGHT = 720, 110
LEFT, TOP, BOTTOM = 40, 16, 18
BARS = 144
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000)


def pages_chart(report: Mapping[str, Any], zone: tzinfo) -> dict[str, Any] | None:
    """Return bars, lines and labels; None where nothing pages."""
    minutes = [(datetime.fromisoformat(each["at"]), each["with_change"], each["today"]) for each in report["minutes"]]
    if not any(pages for _, pages, _ in minutes):
        return None
    since, until = (datetime.fromisoformat(report[name]) for name in ("since", "until"))
    span = (until - since).total_seconds()
    worst, usual = max(pages for _, pages, _ in minutes), report["worst_minute"]["today"]["pages"]
    step = next(step for step in STEPS if step * 2 >= max(worst, usual, 2))
    room, floor = WIDTH - LEFT, HEIGHT - BOTTOM
    buckets, before = [0] * BARS, [0] * BARS
    for at, pages, today in minutes:
        place = min(max(int((at - since).total_seconds() / span * BARS), 0), BARS - 1)
        buckets[place], before[place] = max(buckets[place], pages), max(before[place], today)
    scale = (floor - TOP) / (step * 2)
    bars = [
        {
            "x": round(LEFT + place * room / BARS, 1),
            "y": round(floor - pages * scale, 1),
            "width": round(room / BARS - 0.8, 1),
            "height": round(pages * scale, 1),
            "more": pages > usual > 0 or (usual == 0 and pages > 1),
        }
        for place, pages in enumerate(buckets)
        if pages
    ]
    at, pages = max(((at, pages) for at, pages, _ in minutes), key=lambda each: each[1])
    peak_x = LEFT + (at - since).total_seconds() / span * room
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "floor": floor,
        "lines": [{"y": round(floor - value * scale, 1), "text": f"{value:,}"} for value in (0, step, step * 2)],
        "bars": bars,
        "usual": {"y": round(floor - usual * scale, 1), "pages": usual} if usual else None,
        "peak": {
            "x": round(min(max(peak_x, LEFT + 90), WIDTH - 4), 1),
            "y": round(max(floor - pages * scale - 5, 11), 1),
            "text": f"{pages:,} {'page' if pages == 1 else 'pages'} at {at.astimezone(zone):%H:%M}",
        },
        "ticks": _ticks(since, until, zone, room / span),
        "minutes": round(span / BARS / 60),
        "room": room,
        "top": TOP,
        "rows": [
            _row(since + (until - since) * place / BARS, zone, pages, today)
            for place, (pages, today) in enumerate(zip(buckets, before, strict=True))
        ],
    }


def _row(at: datetime, zone: tzinfo, pages: int, today: int) -> dict[str, Any]:
    return {"local": f"{at.astimezone(zone):%a %H:%M}", "utc": f"{at:%H:%M}", "with_change": pages, "today": today}


def _ticks(since: datetime, until: datetime, zone: tzinfo, per_second: float) -> list[dict[str, Any]]:
    hours = max(1, round((until - since).total_seconds() / 3600 / 8))
    at = since.astimezone(zone).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    ticks = []
    while at < until:
        x = LEFT + (at - since).total_seconds() * per_second
        if LEFT + 14 < x < WIDTH - 20:
            ticks.append({"x": round(x, 1), "text": f"{at:%a} {at.day}" if at.hour < hours else f"{at:%H:%M}"})
        at += timedelta(hours=hours)
    return ticks
