"""Counts requests for the forwarder's service level in Redis; kept in memory while Redis is away."""

from collections import Counter
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys

COMPONENT = "forwarder"


class SloCounter:
    """Hourly counters of good and bad requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counts: Counter[str] = Counter()

    def count(self, *, success: bool) -> None:
        """Count one request in the hour in which it ended."""
        self._counts[keys.slo(COMPONENT, "ok" if success else "fail", datetime.now(UTC))] += 1

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
                await pipe.execute()
        except (RedisError, OSError):
            self._counts.update(counts)
            raise
        return False
