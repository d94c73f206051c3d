"""Depth gauges, sampled each second, and absent while Redis is away: unknown is not zero."""

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.runtime.instruments import CommonInstruments

SAMPLE_SECONDS = 1.0

Keys = Callable[[], tuple[str, ...]]  # asked at each sample: a worker's list changes with its name


class DepthSampler:
    """Keeps gauges at the summed length of their keys; `depths` holds the last sample, empty while Redis is away."""

    def __init__(self, redis: Redis, instruments: CommonInstruments, gauges: Mapping[Gauge, Keys]) -> None:
        self._redis = redis
        self._registry = instruments.registry
        self._gauges = dict(gauges)
        self._shown = set(self._gauges)
        self.depths: dict[str, int] = {}

    async def run(self) -> None:
        """Sample each second until cancelled."""
        while True:
            wanted = {gauge: keys() for gauge, keys in self._gauges.items()}
            try:
                self.depths = await measure(self._redis, [key for keys in wanted.values() for key in keys])
            except (RedisError, OSError):
                self.depths = {}
            for gauge, keys in wanted.items():
                self._show(gauge, visible=bool(self.depths))
                if self.depths:
                    gauge.set(sum(self.depths[key] for key in keys))
            await asyncio.sleep(SAMPLE_SECONDS)

    def _show(self, gauge: Gauge, *, visible: bool) -> None:
        if visible and gauge not in self._shown:
            self._registry.register(gauge)
            self._shown.add(gauge)
        elif not visible and gauge in self._shown:
            self._registry.unregister(gauge)
            self._shown.discard(gauge)


async def measure(redis: Redis, keys: list[str]) -> dict[str, int]:
    """Return the length of each list or sorted set in one round trip; raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            # The one sorted set that waits like a queue; everything else is a list.
            pipe.zcard(key) if ":retry:" in key else pipe.llen(key)
        return dict(zip(keys, await pipe.execute(), strict=True))
