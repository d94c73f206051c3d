"""How old an entry of a queue is, read off its bytes without decoding an event."""

import re
from collections.abc import Iterable

from mutt.fields import parse_timestamp

SEARCHED = 1024  # bytes from the start: `_mutt` stands first, and `received_at` near its own start
_RECEIVED = re.compile(rb'"received_at"\s*:\s*"([^"]{1,40})"')


def received_at(entry: bytes) -> float | None:
    """Return when the event of an entry was received, in seconds of the epoch; None where the bytes do not say."""
    found = _RECEIVED.search(entry, 0, SEARCHED)
    moment = parse_timestamp(found[1].decode("ascii", "replace")) if found else None
    return None if moment is None else moment.timestamp()


def oldest_age(entries: Iterable[bytes], now: float) -> float | None:
    """Return the age in seconds of the oldest entry: 0 without entries, None where no entry tells its own."""
    entries = list(entries)
    times = [time for entry in entries if (time := received_at(entry)) is not None]
    if times:
        return max(0.0, now - min(times))
    return None if entries else 0.0
