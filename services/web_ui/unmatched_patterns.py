"""The patterns of unmatched events as the alerters count them in Redis."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from mutt import keys
from mutt.patterns import pattern_of
from mutt.rules import Handling
from mutt.unmatched import Unmatched, by_hour, longest_literal, order, unmatched
from services.web_ui.audit_queries import AuditQueries, contains
from services.web_ui.context import Context

CHUNK = 1000
BEFORE = timedelta(minutes=5)  # an event's own time is before it was counted
EVENTS_MOST = 500  # events of which the hosts are counted


async def listed(parts: Context) -> tuple[list[Unmatched], int]:
    """Return every pattern that is counted, nearest to the threshold first, and the events past the cap.

    The registry of patterns is read, so no key but theirs is looked at. Raises RedisError.
    """
    started = time.perf_counter()
    counting = parts.settings.counting
    prefix = f"{parts.settings.names.unhandled}:"
    now = datetime.now(UTC)
    members: Any = await parts.redis.zrangebyscore(
        keys.UNHANDLED_PATTERNS, f"{now.timestamp() * 1000:.0f}", "+inf", withscores=True
    )
    found: list[Unmatched] = []
    for start in range(0, len(members), CHUNK):
        part = members[start : start + CHUNK]
        names = [_text(member) for member, _ in part]
        async with parts.redis.pipeline(transaction=False) as pipeline:
            pipeline.mget(names)
            for name in names:
                pipeline.hmget(f"{keys.UNHANDLED_INFO_PREFIX}:{name.removeprefix(prefix)}", ["template", "sample"])
            counts, *infos = await pipeline.execute()
        for (_, score), name, count, (template, sample) in zip(part, names, counts, infos, strict=True):
            if count is not None:
                found.append(
                    unmatched(
                        name.removeprefix(prefix),
                        int(count),
                        counting.unhandled_threshold,
                        template=None if template is None else _text(template),
                        sample=None if sample is None else _text(sample),
                        expires_at=datetime.fromtimestamp(score / 1000, UTC),
                        expiry=timedelta(seconds=counting.unhandled_expiry_seconds),
                        now=now,
                    )
                )
    overflow = int(await parts.redis.get(f"{prefix}overflow") or 0)
    parts.instruments.redis_scan.observe(time.perf_counter() - started)
    return sorted(found, key=order), overflow


async def hours_of(parts: Context, patterns: Sequence[Unmatched], now: datetime) -> dict[str, list[int]]:
    """Return each pattern's counts of the last 24 hours, oldest first; none of those that are not counted by hour.

    Raises RedisError.
    """
    async with parts.redis.pipeline(transaction=False) as pipeline:
        for item in patterns:
            pipeline.hgetall(f"{keys.UNHANDLED_HOURS_PREFIX}:{item.pattern}")
        found = await pipeline.execute()
    hour = int(now.timestamp()) // 3600
    return {
        item.pattern: by_hour({int(field): int(count) for field, count in counts.items()}, hour)
        for item, counts in zip(patterns, found, strict=True)
        if counts
    }


async def hosts_of(parts: Context, item: Unmatched) -> tuple[list[tuple[str, int]], bool] | None:
    """Return the hosts of a pattern's newest events with their counts, and whether these are all of its window.

    None where PostgreSQL does not tell in time, or the pattern has no text to look for.
    """
    literal = longest_literal(item.template or "")
    if literal is None or item.first_seen is None:
        return None
    filters = {"handling": str(Handling.UNHANDLED), "q": contains(literal), "start": item.first_seen - BEFORE}
    try:
        async with parts.database() as queries:
            rows = await AuditQueries(queries).rows(filters, EVENTS_MOST)
    except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError):
        return None
    found = Counter(row["hostname"] for row in rows if pattern_of(row["message"]).hash == item.pattern)
    return found.most_common(), len(rows) < EVENTS_MOST


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
