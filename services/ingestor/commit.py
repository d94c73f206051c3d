"""Group commit: what arrives while a push is under way goes into the next one, in one script call."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import NamedTuple, Protocol

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from mutt import keys
from mutt.settings import IngestorSettings
from services.ingestor.line import Line
from services.ingestor.outcomes import COMPONENT, Outcomes
from services.logging_utils import get_logger
from services.protocol.script import beside
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments

GROUP_EVENTS = 10_000
GROUP_BYTES = 8 * 1024 * 1024
COUNTER_TTLS = (keys.METRICS_MINUTE_TTL, keys.METRICS_HOUR_TTL, keys.METRICS_DAY_TTL, keys.SLO_TTL)
RETRY_FULL = (5, 15)  # seconds, from and to: a sender's retries must not come back all at once
RETRY_REDIS = (1, 5)

log = get_logger(__name__)


class Refusal(NamedTuple):
    """Why a request was not taken; `retry_after` in seconds, `details` for the reply's body."""

    status: int
    reason: str
    message: str
    retry_after: int | None
    details: dict[str, int]


INTERNAL = Refusal(500, "internal", "internal error; the ingestor's log says more", None, {})


class Submission(Protocol):
    """A request that waits for its push; exactly one of `taken` and `refused` is called."""

    @property
    def single(self) -> bool:
        """Whether it is one event alone."""

    @property
    def entries(self) -> Sequence[bytes]:
        """The queue entries."""

    @property
    def quarantine(self) -> Sequence[bytes]:
        """The quarantine's entries."""

    @property
    def size(self) -> int:
        """Bytes of the body."""

    def taken(self, depth: int) -> None:
        """Redis has acknowledged the push; `depth` is the queue's."""

    def refused(self, refusal: Refusal) -> None:
        """Nothing of it was pushed, or nobody knows."""


class GroupCommit:
    """Pushes what is submitted, one script call at a time, over a connection of its own."""

    def __init__(
        self,
        process: Process[IngestorSettings, IngestorInstruments],
        redis: Redis,
        outcomes: Outcomes,
        *,
        cap: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        self._line = Line(redis, process.settings.redis)
        self._settings = process.settings
        self._instruments = process.instruments
        self._outcomes = outcomes
        self._cap = cap
        self._now = now
        self._script = beside(__file__, "push")
        self._waiting: deque[Submission] = deque()
        self._task: asyncio.Task[None] | None = None
        self._counters: tuple[datetime, list[str]] | None = None
        self._told = ""
        self.is_open = False

    def submit(self, submission: Submission) -> None:
        """Put a request into the next push."""
        self._waiting.append(submission)
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="group-commit")

    async def close(self) -> None:
        """Wait for the pushes under way and give the connection back."""
        if self._task is not None:
            await self._task
        await self._line.drop()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                singles, batches = self._next_group()
                try:
                    reply = await self._push(singles, batches)
                except (RedisError, OSError) as error:
                    await self._failed([*singles, *batches], error)
                except Exception:  # (whatever went wrong here, the senders wait for an answer)
                    log.exception("a push failed within the ingestor")
                    await self._line.drop()
                    self._refuse([*singles, *batches], INTERNAL)
                else:
                    self._settle(singles, batches, reply)
        finally:
            self._task = None

    def _next_group(self) -> tuple[list[Submission], list[Submission]]:
        singles: list[Submission] = []
        batches: list[Submission] = []
        events = size = 0
        waiting = self._waiting
        while waiting and events < GROUP_EVENTS and size < GROUP_BYTES:
            item = waiting.popleft()
            size += item.size
            if item.single:
                singles.append(item)
                events += 1
            else:
                batches.append(item)
                events += len(item.entries)
        return singles, batches

    async def _push(self, singles: list[Submission], batches: list[Submission]) -> list[int]:
        if not self.is_open:
            raise ConnectionError("this Redis has not been checked yet")
        arguments = [
            self._cap(),
            self._settings.max_memory_percent,
            keys.QUARANTINE_MAX,
            *COUNTER_TTLS,
            len(singles),
            len(batches),
        ]
        for item in batches:
            arguments += (len(item.entries), len(item.quarantine))
        entries = [item.entries[0] for item in singles]
        for item in batches:
            entries += item.entries
            entries += item.quarantine
        names = [self._settings.names.ingest_queue, keys.QUARANTINE, *self._counter_keys()]
        return await self._line.call(self._script, names, [*arguments, *entries])

    def _settle(self, singles: list[Submission], batches: list[Submission], reply: Sequence[int]) -> None:
        self._tell("")
        memory, depth, taken_singles, taken_batches, dropped = reply
        admitted = batches[:taken_batches]
        self._outcomes.succeeded(taken_singles + sum(len(item.entries) for item in admitted))
        if quarantined := sum(len(item.quarantine) for item in admitted):
            self._instruments.quarantined.inc(quarantined)
            self._instruments.quarantine_dropped.inc(dropped)
        for item in chain(singles[:taken_singles], admitted):
            item.taken(depth)
        for item in chain(singles[taken_singles:], batches[taken_batches:]):
            item.refused(self._full(depth, memory=bool(memory)))

    def _full(self, depth: int | None, *, memory: bool) -> Refusal:
        cap = self._cap()
        message = (
            f"Redis uses over {self._settings.max_memory_percent} % of its maxmemory"
            if memory
            else f"the queue is full: {depth} of {cap} events"
        )
        details = {"queue_limit": cap} if depth is None else {"queue_depth": depth, "queue_limit": cap}
        return Refusal(503, "queue_full", f"{message}; try again later", random.randint(*RETRY_FULL), details)

    async def _failed(self, group: list[Submission], error: Exception) -> None:
        self._tell(f"{type(error).__name__}: {error}")
        if isinstance(error, OutOfMemoryError):
            self._refuse(group, self._full(None, memory=True))
            return
        if isinstance(error, ReadOnlyError):
            await self._line.drop()  # the primary has moved: the name leads to another server now
        message = (
            "Redis did not acknowledge the push: send again (an event with a correlation_id is not doubled by that)"
        )
        refusal = Refusal(503, "redis", message, random.randint(*RETRY_REDIS), {})
        if not isinstance(error, ResponseError):
            # Redis is away: who waited behind this push need not wait for another timeout.
            group = [*group, *self._waiting]
            self._waiting.clear()
        self._refuse(group, refusal)

    def _refuse(self, group: Iterable[Submission], refusal: Refusal) -> None:
        for item in group:
            item.refused(refusal)

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            if problem:
                log.warning("a push failed, its senders were told to try again", error=problem)
            else:
                log.info("pushes succeed again")
            self._told = problem

    def _counter_keys(self) -> list[str]:
        now = self._now()
        if self._counters is None or not timedelta(0) <= now - self._counters[0] < timedelta(minutes=1):
            minute = now.astimezone(UTC).replace(second=0, microsecond=0)
            made = [keys.metrics_minute(minute), keys.metrics_hour(minute), keys.metrics_day(minute)]
            self._counters = minute, [*made, keys.slo(COMPONENT, "ok", minute)]
        return self._counters[1]
