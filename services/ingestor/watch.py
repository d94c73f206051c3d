"""What the ingestor looks after each second: its clock against Redis's, failures still to be counted."""

import asyncio
import socket
import time

from redis.exceptions import RedisError

from mutt import keys as redis_keys
from mutt.settings import IngestorSettings
from services import durability
from services.ingestor.door import Clock
from services.ingestor.outcomes import Outcomes
from services.logging_utils import get_logger
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments

WATCH_SECONDS = 1.0
BEAT_SECONDS = 5.0
TELL_SECONDS = 10.0
UNHEALTHY_SKEW = 60.0  # seconds
REPLACED_SKEW = 3600.0  # seconds
NOT_LOOKED = "whether Redis keeps what it acknowledges has not been seen yet"

log = get_logger(__name__)


class Watch:
    """Runs beside the HTTP server."""

    def __init__(
        self,
        process: Process[IngestorSettings, IngestorInstruments],
        clock: Clock,
        outcomes: Outcomes,
    ) -> None:
        self._process = process
        self._clock = clock
        self._outcomes = outcomes
        self.name = process.settings.pod_name or f"{socket.gethostname()}-{process.settings.port}"
        self._heartbeat = redis_keys.per_pod(redis_keys.INGESTOR_HEARTBEAT_PREFIX, self.name)
        self._beaten = float("-inf")
        redis = process.settings.redis
        self._replicas = redis.wait_replicas
        self._known_replicas: int | None = None
        self._not_durable = NOT_LOOKED if redis.durable else None
        _show(process.health.problems, self._not_durable)

    async def run(self) -> None:
        """Look each second until cancelled."""
        told = time.monotonic()
        while True:
            self._process.health.progressed()
            try:
                await self.check_clock()
                await self.check_durability()
                await self._outcomes.flush(self._process.redis)
                await self._beat()
            except (RedisError, OSError):
                pass  # health says that Redis is away; nothing is lost by waiting
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self._outcomes.tell()
            await asyncio.sleep(WATCH_SECONDS)

    async def _beat(self) -> None:
        """Tell the console that this instance lives; raises RedisError."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            redis, instruments = self._process.redis, self._process.instruments
            await redis.set(self._heartbeat, self._process.settings.port, ex=redis_keys.INGESTOR_TIMEOUT)
            instruments.heartbeat.set_to_current_time()
            self._beaten = time.monotonic()
            memory = await redis.info("memory")
            instruments.redis_used.set(memory["used_memory"])
            instruments.redis_most.set(memory["maxmemory"])

    def demand(self) -> int:
        """Return how many replicas have to hold a push; raises RedisError where it would not be kept."""
        if self._not_durable is not None:
            raise RedisError(self._not_durable)
        return self._replicas

    async def check_durability(self) -> None:
        """Show in health that pushes cannot be acknowledged, since they would not be kept; raises RedisError."""
        settings, health = self._process.settings.redis, self._process.health
        if not settings.durable and not settings.wait_replicas:
            return
        found = await durability.look(self._process.redis, settings, self._known_replicas)
        self._replicas, self._known_replicas = found.wanted, found.known
        variable = "REDIS_DURABLE" if settings.durable else "REDIS_WAIT_REPLICAS"
        self._not_durable = f"{'; '.join(found.faults)} ({variable})" if found.faults else None
        _show(health.problems, f"events get 503: {self._not_durable}" if found.faults else None)
        _show(health.notes, found.unseen)

    async def leave(self) -> None:
        """Tell the console that this instance ends in order; raises RedisError."""
        await self._process.redis.delete(self._heartbeat)

    async def check_clock(self) -> None:
        """Compare this machine's clock with Redis's; raises RedisError."""
        before = self._clock.own_us()
        seconds, microseconds = await self._process.redis.time()
        # The reply was made somewhere between question and answer: the middle is the best guess.
        skew_us = (before + self._clock.own_us()) // 2 - (seconds * 1_000_000 + microseconds)
        skew = skew_us / 1_000_000
        self._process.instruments.clock_skew.set(skew)
        problems = self._process.health.problems
        if abs(skew) <= UNHEALTHY_SKEW:
            problems.pop("clock", None)
        else:
            if "clock" not in problems:
                log.error("this machine's clock and Redis's differ", seconds=round(skew, 1))
            problems["clock"] = f"this machine's clock is {skew:+.0f} s off Redis's: check NTP on both"
        self._clock.offset_us = skew_us if abs(skew) > REPLACED_SKEW else 0


def _show(words: dict[str, str], told: str | None) -> None:
    if told is None:
        words.pop("durability", None)
    else:
        words["durability"] = told
