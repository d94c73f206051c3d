"""The janitor: hands back what dead workers left, but never just after Redis itself came back."""

import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.logging_utils import get_logger
from services.protocol.lane import Lane
from services.protocol.recovery import recover_all
from services.protocol.worker import Worker
from services.runtime.instruments import CommonInstruments

log = get_logger(__name__)


class Janitor:
    """Sweeps one lane; every worker runs one, since the recovery of a list is one script."""

    def __init__(self, lane: Lane, redis: Redis, instruments: CommonInstruments) -> None:
        self._lane = lane
        self._redis = redis
        self._instruments = instruments
        self._trusted_since = time.monotonic()
        self._run_id = ""

    def redis_was_away(self) -> None:
        """Start the embargo anew: heartbeats may have expired only because nobody could refresh them."""
        self._trusted_since = time.monotonic() + self._lane.timeout

    async def reconnected(self, worker: Worker) -> None:
        """Set a worker right after an error of Redis: it doubts what it holds, and is careful with others' lists."""
        worker.doubt()
        self.redis_was_away()
        await worker.beat()

    async def sweep_once(self) -> bool:
        """Sweep, as the body of a loop that pauses after each pass."""
        try:
            await self.sweep()
        except (RedisError, OSError):
            # It may be the only one to notice: a claim that waits for an earlier batch asks Redis nothing.
            self.redis_was_away()
            raise
        return False

    async def sweep(self) -> int:
        """Hand back the lists whose heartbeat is absent; returns the number of entries moved."""
        info = await self._redis.info("server")
        if self._run_id and info["run_id"] != self._run_id:
            self.redis_was_away()
        self._run_id = info["run_id"]
        if info["uptime_in_seconds"] < self._lane.timeout or time.monotonic() < self._trusted_since:
            return 0
        moved = 0
        for prefix, _home, _counts in self._lane.lists():
            async for key in self._redis.scan_iter(match=f"{prefix}:*", count=1000):
                pod = key.decode().removeprefix(f"{prefix}:")
                part = await recover_all(self._redis, self._lane, pod, "")
                if part:
                    log.warning("handed back what a dead worker left", entries=part, pod=pod)
                moved += part
        self._instruments.recovered.inc(moved)
        return moved
