"""What the ingestor looks after each second: its clock against Redis's, failures still to be counted."""

import asyncio
import socket
import time
from typing import Any

from redis.exceptions import RedisError

from mutt import keys as redis_keys
from mutt.settings import IngestorSettings
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

    async def run(self) -> None:
        """Look each second until cancelled."""
        told = time.monotonic()
        while True:
            self._process.health.progressed()
            try:
                await self.check_clock()
                await self._check_replicas()
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

    async def _check_replicas(self) -> None:
        """Show in health that pushes cannot be acknowledged, since too few replicas are there; raises RedisError."""
        wanted = self._process.settings.redis.wait_replicas
        if not wanted:
            return
        role: list[Any] = await self._process.redis.role()
        there = len(role[2]) if role[0] == b"master" else 0
        if there >= wanted:
            self._process.health.problems.pop("replicas", None)
        else:
            self._process.health.problems["replicas"] = (
                f"{there} of {wanted} replicas are connected: events get 503 until REDIS_WAIT_REPLICAS of them are"
            )

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
