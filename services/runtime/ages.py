"""How long the oldest entry of each queue has been with MUTT: a queue that is short and stuck shows here first."""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt.ages import oldest_age
from services.runtime.instruments import QueueInstruments

SAMPLE_SECONDS = 2.0
RETRIES_READ = 20  # of those due first: a retry's place says when it is due, not how old it is


class AgeSampler:
    """Keeps `mutt_queue_oldest_age_seconds` for `queues` (label to key); a queue is absent while its age is unknown."""

    def __init__(self, redis: Redis, instruments: QueueInstruments, queues: Mapping[str, str]) -> None:
        self._redis = redis
        self._gauge = instruments.oldest_age
        self._queues = dict(queues)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            try:
                ages = await self.sample()
            except (RedisError, OSError):
                ages = {}
            self._gauge.clear()
            for queue, age in ages.items():
                if age is not None:
                    self._gauge.labels(queue).set(age)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def sample(self) -> dict[str, float | None]:
        """Return the age of each queue's oldest entry by Redis's clock; raises RedisError."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in self._queues.values():
                # The one sorted set that waits like a queue; everything else is a list, its oldest entry on the right.
                pipe.zrange(key, 0, RETRIES_READ - 1) if ":retry:" in key else pipe.lrange(key, -1, -1)
            answers: list[Any] = await pipe.execute()
        (seconds, microseconds), *tails = answers
        now = seconds + microseconds / 1_000_000
        return {queue: oldest_age(tail, now) for queue, tail in zip(self._queues, tails, strict=True)}
