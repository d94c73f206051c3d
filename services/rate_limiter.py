"""One rate limit for all forwarders: a sliding window in Redis, on Redis's clock."""

import itertools
from typing import NamedTuple

from redis.asyncio import Redis

from services.protocol.script import beside

_script = beside(__file__, "rate_limit")


class Grant(NamedTuple):
    """Tokens granted, and how long until one more is free (0 when all that were wanted were granted)."""

    tokens: int
    wait_ms: int
    at_us: int


class RateLimiter:
    """At most `limit` tokens in any `period` seconds, over all holders of the key; `name` is this holder's own."""

    def __init__(self, client: Redis, key: str, name: str) -> None:
        self._client = client
        self._key = key
        self._name = name
        self._calls = itertools.count()

    async def acquire(self, wanted: int, *, limit: int, period: float) -> Grant:
        """Take up to `wanted` tokens at once, without waiting; raises RedisError."""
        member = f"{self._name}:{next(self._calls)}"
        granted, wait_ms, at_us = await _script(
            self._client, [self._key], [limit, round(period * 1_000_000), wanted, member]
        )
        return Grant(granted, wait_ms, at_us)
