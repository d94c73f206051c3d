"""Counts requests for the forwarder's service level in Redis, beside the last answer; kept while Redis is away."""

from collections import Counter
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from mutt.events import iso
from mutt.figures import MoogAnswer

COMPONENT = "forwarder"


class SloCounter:
    """Hourly counters of good and bad requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: Counter[str] = Counter()
        self._last: MoogAnswer | None = None

    def count(self, *, success: bool, status: int | None, words: str) -> None:
        """Count one request in the hour in which it ended, with the status that was answered, None without one."""
        now = datetime.now(UTC)
        self._counts[keys.slo(COMPONENT, "ok" if success else "fail", now)] += 1
        self._last = MoogAnswer(status, iso(now), words)

    async def flush(self) -> bool:
        """Add what was counted to Redis; raises RedisError and keeps it."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return False
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for key, number in counts.items():
                    pipe.incrby(key, number)
                    pipe.expire(key, keys.SLO_TTL)
                pipe.set(keys.MOOG_ANSWER, msgspec.json.encode(self._last), ex=keys.SLO_TTL)
                await pipe.execute()
        except (RedisError, OSError):
            self._counts.update(counts)
            raise
        return False
