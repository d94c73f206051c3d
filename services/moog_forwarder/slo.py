"""Counts requests for the forwarder's service level in Redis, beside the last answer; kept while Redis is away."""

import time
from collections import Counter
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from mutt.events import iso
from mutt.figures import MoogAnswer

COMPONENT = "forwarder"
HOUR = 3600  # seconds


class SloCounter:
    """Hourly counters of good and bad requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: Counter[tuple[int, bool]] = Counter()  # by hour since 1970, and whether it was a success
        self._last: tuple[float, int | None, str] | None = None

    def count(self, requests: int, *, success: bool, status: int | None, words: str) -> None:
        """Count requests in the hour in which they ended, with the status that was answered, None without one."""
        now = time.time()
        self._counts[int(now) // HOUR, success] += requests
        self._last = now, status, words

    async def flush(self) -> bool:
        """Add what was counted to Redis; raises RedisError and keeps it."""
        counts, self._counts = self._counts, Counter()
        if not counts or self._last is None:
            return False
        at, status, words = self._last
        answer = MoogAnswer(status, iso(datetime.fromtimestamp(at, UTC)), words)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for (hour, success), number in counts.items():
                    key = keys.slo(COMPONENT, "ok" if success else "fail", datetime.fromtimestamp(hour * HOUR, UTC))
                    pipe.incrby(key, number)
                    pipe.expire(key, keys.SLO_TTL)
                pipe.set(keys.MOOG_ANSWER, msgspec.json.encode(answer), ex=keys.SLO_TTL)
                await pipe.execute()
        except (RedisError, OSError):
            self._counts.update(counts)
            raise
        return False
