"""Patterns of unmatched events on their way to the threshold, told from what their counters hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from mutt.patterns import TEMPLATE_MAX

NEAR = 0.8  # share of the threshold from which a pattern is near it
HALF, SOON = 0.5, timedelta(hours=1)  # or from which it counts as near when it would get there this soon
SHORTEST = 60.0  # seconds that a pattern has to be counted before it has a rate
_MASK = re.compile(r"<(uuid|mac|ip|if|num|str)>")
MASKS = {"if": "ifname"}
LITERAL_LEAST = 3
EDGES = " ,;:-([])"  # around a text they say nothing
HOURS = 24
TREND_HOURS, TREND = 3, 1.5  # full hours compared with as many before, and by what factor they have to differ


class Part(NamedTuple):
    """A stretch of a template; `masked` when it names what varies."""

    text: str
    masked: bool


class Trend(NamedTuple):
    """Rising, falling or steady, and events an hour by the last full hours."""

    word: str
    per_hour: float


@dataclass(frozen=True, slots=True)
class Unmatched:
    """One pattern; `first_seen` is None where the counter has no end, `crossing_at` where it is not on course."""

    pattern: str
    count: int
    threshold: int
    template: str | None
    sample: str | None
    first_seen: datetime | None
    expires_at: datetime | None
    crossing_at: datetime | None
    per_hour: float | None
    state: str  # alert_sent, near or counting


def unmatched(
    pattern: str,
    count: int,
    threshold: int,
    *,
    template: str | None,
    sample: str | None,
    expires_at: datetime | None,
    expiry: timedelta,
    now: datetime,
) -> Unmatched:
    """Return a pattern with what follows: its counter began `expiry` before it ends, and goes on as it did so far."""
    first = None if expires_at is None else min(expires_at - expiry, now)
    per_hour: float | None = None
    crossing: datetime | None = None
    if first is not None and (seconds := (now - first).total_seconds()) >= SHORTEST:
        per_hour = count / seconds * 3600
        if 0 < count < threshold:
            at = now + timedelta(seconds=(threshold - count) * seconds / count)
            crossing = at if expires_at is not None and at < expires_at else None
    on_course = crossing is not None and crossing - now <= SOON and count >= threshold * HALF
    soon = count >= threshold * NEAR or on_course
    state = "alert_sent" if count >= threshold else "near" if soon else "counting"
    return Unmatched(pattern, count, threshold, template, sample, first, expires_at, crossing, per_hour, state)


def by_hour(counts: Mapping[int, int], hour: int) -> list[int]:
    """Return a day's counts up to the hour `hour` (since 1970), oldest first, of counts by such hours."""
    return [counts.get(hour - back, 0) for back in reversed(range(HOURS))]


def trend(hours: Sequence[int]) -> Trend | None:
    """Return where counts by hour (oldest first, the last hour under way) go; None where nothing tells."""
    full = hours[:-1]
    begun = next((place for place, count in enumerate(full) if count), len(full))
    late, early = sum(full[-TREND_HOURS:]), sum(full[-2 * TREND_HOURS : -TREND_HOURS])
    if begun == len(full) or not late + early:
        return None
    word = "rising" if late > early * TREND else "falling" if early > late * TREND else "steady"
    return Trend(word, late / min(TREND_HOURS, len(full) - begun))


def quiet_hours(hours: Sequence[int]) -> int:
    """Return how many hours ago the last hour with an event was, 0 for the one under way."""
    return next((back for back, count in enumerate(reversed(hours)) if count), len(hours))


def order(item: Unmatched) -> tuple[int, float, str]:
    """Sort key: nearest to the threshold first, then those past it."""
    crossed = item.count >= item.threshold
    return (1 if crossed else 0), -item.count / item.threshold, item.pattern


def parts(template: str) -> list[Part]:
    """Return a template in stretches, so that what varies can be outlined."""
    found: list[Part] = []
    start = 0
    for match in _MASK.finditer(template):
        if match.start() > start:
            found.append(Part(template[start : match.start()], masked=False))
        found.append(Part(MASKS.get(match.group(1), match.group(1)), masked=True))
        start = match.end()
    if start < len(template):
        found.append(Part(template[start:], masked=False))
    return found


def telling_text(template: str, message: str) -> str | None:
    """Return the longest text between a template's masks, or a word of it, that `message` holds as it is written.

    A template joins runs of blanks, so that its text need not be the message's. None where nothing is worth a rule.
    """
    pieces = [part.text.strip(EDGES) for part in parts(template) if not part.masked]
    folded = message.casefold()
    texts = pieces + [word.strip(EDGES) for piece in pieces for word in piece.split()]
    best = max((text for text in texts if text.casefold() in folded), key=len, default="")
    return best if len(best) >= LITERAL_LEAST else None


def longest_literal(template: str) -> str | None:
    """Return the longest word that every message of the pattern holds; None where it has none worth asking for."""
    whole = template if len(template) < TEMPLATE_MAX else template[: template.rfind(" ") + 1]
    words = [word for part in parts(whole) if not part.masked for word in part.text.split()]
    best = max(words, key=len, default="")
    return best if len(best) >= LITERAL_LEAST else None
