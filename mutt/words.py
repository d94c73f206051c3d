"""Numbers and times as the console writes them: with units, never two of them, nothing made up."""

from datetime import UTC, datetime, tzinfo

MINUTE, HOUR, DAY = 60, 3600, 86_400


def count(value: float | None) -> str:
    """Return a whole number with its thousands set apart; what is not known is `unknown`."""
    return "unknown" if value is None else f"{round(value):,}"


def figure(value: float | str) -> str:
    """Return a value as people read it: thousands set apart, a fraction without a tail; text stays as it is."""
    return value if isinstance(value, str) else f"{value:,.12g}"


def age(seconds: float | None) -> str:
    """Return a duration: `0.3 s`, `48 s`, `17 min 39 s`, `5 h 10 min`, `3 d 4 h`."""
    if seconds is None:
        return "unknown"
    seconds = max(0.0, seconds)
    if seconds < 10:  # noqa: PLR2004  (below it, tenths tell something)
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    for unit, name, part, part_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name} {rest} {part_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def ago(seconds: float) -> str:
    """Return roughly how long ago something was: `8 s ago`, `5 min ago`, `3 d ago`."""
    whole = max(0, round(seconds))
    unit, name = next(
        ((unit, name) for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")) if whole >= unit), (1, "s")
    )
    return f"{whole // unit} {name} ago"


def duration(seconds: float) -> str:
    """Return how long something took: `0.4 ms`, `11 ms`, `1.3 s`; what no bucket bounds is `over 30 s`."""
    if seconds == float("inf"):
        return "over 30 s"
    if seconds >= 1:
        return age(seconds)
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004


def rate(per_second: float | None) -> tuple[str, str]:
    """Return a rate's figure and unit: events a second, or a minute below one in ten seconds."""
    if per_second is None:
        return "unknown", ""
    if 0 < per_second < 0.1:  # noqa: PLR2004
        return f"{per_second * MINUTE:.1f}", "/min"
    return (f"{per_second:.1f}" if per_second < 10 and per_second % 1 else f"{per_second:,.0f}"), "/s"  # noqa: PLR2004


def share(value: float | None, digits: int = 2) -> str:
    """Return a share in percent, never rounded up to a 100 % that it is not."""
    if value is None:
        return "no data"
    text = f"{value * 100:,.{digits}f}"
    if value < 1 and float(text.replace(",", "")) >= 100:  # noqa: PLR2004
        text = f"{100 - 10**-digits:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def clock(at: datetime, zone: tzinfo, now: datetime) -> str:
    """Return a moment in a zone: the time today, with its day otherwise, with its year when that is another."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M:%S}"
    return f"{local.day} {local:%b %Y %H:%M}"


def utc(at: datetime) -> str:
    """Return a moment in UTC, with its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
