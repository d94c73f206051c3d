"""The patterns of unmatched events as the alerters count them in Redis."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from mutt import keys
from mutt.unmatched import Unmatched, order, unmatched
from services.web_ui.context import Context

CHUNK = 1000


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


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
