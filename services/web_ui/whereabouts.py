"""Looks for events in the queues, the lists in hand and the dead letters; bounded in entries and in time."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from mutt import keys
from mutt.settings import QueueNames
from mutt.whereabouts import Find, Place, read_find, windows

CHUNK = 200  # entries of one reply; an entry is at most 64 KiB
MOST = 20_000  # entries of one list that are looked at: all, or as many from either end
SECONDS = 2.0  # for one look
SCAN_COUNT, SCAN_ROUNDS = 1000, 200
FOUND_MOST = 200


@dataclass(slots=True)
class Look:
    """What a look found; `cut_off` names the lists that were not looked through whole, `of` counts all entries."""

    finds: list[Find] = field(default_factory=list)
    looked_at: int = 0
    of: int = 0
    cut_off: list[str] = field(default_factory=list)

    def of_event(self, event_id: str) -> list[Find]:
        """Return the finds of one event."""
        return [find for find in self.finds if find.event_id == event_id]


async def look_for(redis: Redis, names: QueueNames, wanted: str) -> Look:
    """Return every entry whose event_id or correlation_id is `wanted` (lower case); raises RedisError."""
    look = Look()
    until = time.monotonic() + SECONDS
    needle = wanted.encode()
    # The shortest lists tell most, so they come first and a long queue cannot take their time.
    places = [(place, key, await _length(redis, place, key)) for place, key in await _places(redis, names)]
    look.of = sum(length for _, _, length in places)
    for place, key, length in sorted(places, key=lambda found: found[2]):
        seen = 0
        async for at, entries in _chunks(redis, place, key, length):
            seen += len(entries)
            for index, (entry, due) in enumerate(entries):
                if needle in entry.lower():
                    # What leaves next stands at the right end of a list, and first in a sorted set.
                    ahead = at + index if place is Place.RETRY else length - 1 - at - index
                    found = read_find(wanted, place, key, entry, ahead=ahead, due=due)
                    if found is not None:
                        look.finds.append(found)
            if time.monotonic() > until or len(look.finds) >= FOUND_MOST:
                break
        look.looked_at += min(seen, length)
        if seen < length:
            look.cut_off.append(key)
    return look


async def _places(redis: Redis, names: QueueNames) -> list[tuple[Place, str]]:
    found = [
        (Place.INGEST, names.ingest_queue),
        (Place.ALERTS, names.alert_queue),
        (Place.RETRY, keys.RETRY_MOOG),
        (Place.ALERTER_DEAD, names.alerter_dlq),
        (Place.MOOG_DEAD, names.moog_dlq),
        (Place.PENDING, keys.AUDIT_PENDING),
        (Place.POISON, keys.POISON),
        (Place.QUARANTINE, keys.QUARANTINE),
    ]
    prefixes = {
        names.alerter_processing: Place.MATCHING,
        names.moog_processing: Place.SENDING,
        keys.AUDIT_PROCESSING_PREFIX: Place.AUDITING,
    }
    cursor, shared = 0, _shared(list(prefixes))
    for _ in range(SCAN_ROUNDS):
        cursor, listed = await redis.scan(cursor, match=f"{shared}*", count=SCAN_COUNT)
        for key in listed:
            name = _bytes(key).decode("utf-8", "replace")
            found += [(place, name) for prefix, place in prefixes.items() if name.startswith(f"{prefix}:")]
        if not cursor:
            break
    return list(dict.fromkeys(found))


async def _length(redis: Redis, place: Place, key: str) -> int:
    return int(await (redis.zcard(key) if place is Place.RETRY else redis.llen(key)))


async def _chunks(
    redis: Redis, place: Place, key: str, length: int
) -> AsyncIterator[tuple[int, list[tuple[bytes, datetime | None]]]]:
    for start, end in windows(length, MOST, CHUNK):
        if place is Place.RETRY:
            members: list[Any] = await redis.zrange(key, start, end, withscores=True)
            yield start, [(member, datetime.fromtimestamp(score / 1000, UTC)) for member, score in members]
        else:
            yield start, [(_bytes(entry), None) for entry in await redis.lrange(key, start, end)]


def _shared(prefixes: list[str]) -> str:
    """Return how all of them begin."""
    first, last = min(prefixes), max(prefixes)
    return next((first[:at] for at, letter in enumerate(first) if not last.startswith(letter, at)), first)


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
