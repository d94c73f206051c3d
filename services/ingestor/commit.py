"""Group commit: what arrives while a push is under way goes into the next one, in one script call."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from mutt import keys
from mutt.settings import IngestorSettings
from services.ingestor.line import Line
from services.ingestor.outcomes import COMPONENT, Outcomes
from services.ingestor.room import Room
from services.ingestor.turns import Group, Refusal, Submission, Turns
from services.logging_utils import get_logger
from services.protocol.script import beside
from services.runtime.app import Process
from services.runtime.instruments import IngestorInstruments

COUNTER_TTLS = (keys.METRICS_MINUTE_TTL, keys.METRICS_HOUR_TTL, keys.METRICS_DAY_TTL, keys.SLO_TTL)
RETRY_REDIS = (1, 5)
# Asking Redis for its memory costs as much as pushing a few events: what is pushed between two looks is bounded.
LOOK_BYTES = 256 * 1024
LOOK_SECONDS = 0.05

log = get_logger(__name__)


INTERNAL = Refusal(500, "internal", "internal error; the ingestor's log says more", None, {})


class GroupCommit:
    """Pushes what is submitted, one script call at a time, over a connection of its own."""

    def __init__(
        self,
        process: Process[IngestorSettings, IngestorInstruments],
        redis: Redis,
        outcomes: Outcomes,
        room: Room,
        now: Callable[[], datetime],
        *,
        demand: Callable[[], int],
    ) -> None:
        self._line = Line(redis, process.settings.redis, demand)
        self._settings = process.settings
        self._instruments = process.instruments
        self._outcomes = outcomes
        self._now = now
        self._script = beside(__file__, "push")
        self._peers = room.peers
        self._turns = Turns()
        self._room = room
        self._task: asyncio.Task[None] | None = None
        self._counters: tuple[datetime, list[str]] | None = None
        self._told = ""
        self._looked_at = float("-inf")
        self._unlooked = 0  # bytes that were pushed since
        self.is_open = False

    def submit(self, *submissions: Submission) -> None:
        """Put requests into the next push, or into a later one where their peer has many."""
        for item in submissions:
            if item.peer.quiet:
                self._peers.asked(item.peer)
        self._turns.add(submissions)
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="group-commit")

    async def close(self) -> None:
        """Wait for the pushes under way and give the connection back."""
        if self._task is not None:
            await self._task
        await self._line.drop()

    async def _drain(self) -> None:
        try:
            while self._turns:
                group = self._turns.next_group()
                try:
                    if self._room.runs_short(sum(events for _, events in group.shares)):
                        group = await self._sift(group)
                        if not group.singles and not group.batches:
                            continue
                    for peer, events in group.shares:
                        self._peers.took(peer, events)
                    reply = await self._push(group)
                except (RedisError, OSError) as error:
                    self._failed(group.all(), error)
                except Exception:  # (whatever went wrong here, the senders wait for an answer)
                    log.exception("a push failed within the ingestor")
                    await self._line.drop()
                    self._refuse(group.all(), INTERNAL)
                else:
                    self._settle(group, reply)
        finally:
            self._task = None

    async def _sift(self, group: Group) -> Group:
        """Refuse what there is no room for before its bytes are sent to Redis; raises RedisError or OSError."""
        _, depth, _, _, _, memory = await self._push(Group([], [], ()))
        self._room.seen(depth, memory)
        kept, refused = self._room.sift(group)
        for item, refusal in refused:
            item.refused(refusal)
        return kept

    async def _push(self, group: Group) -> list[int]:
        """Push, and note what Redis says of its queue and its memory; raises RedisError or OSError."""
        singles, batches, _ = group
        if not self.is_open:
            raise ConnectionError("this Redis has not been checked yet")
        entries = [item.entries[0] for item in singles]
        for item in batches:
            entries += item.entries
            entries += item.quarantine
        arguments = [
            self._room.cap(),
            self._settings.max_memory_percent if self._has_to_look(entries) else 0,
            keys.QUARANTINE_MAX,
            *COUNTER_TTLS,
            len(singles),
            len(batches),
        ]
        for item in batches:
            arguments += (len(item.entries), len(item.quarantine))
        names = [self._settings.names.ingest_queue, keys.QUARANTINE, *self._counter_keys()]
        return await self._line.call(self._script, names, [*arguments, *entries])

    def _has_to_look(self, entries: Sequence[bytes]) -> bool:
        """Say whether this push looks at Redis's memory; one of nothing does nothing else."""
        now = time.monotonic()
        self._unlooked += sum(map(len, entries))
        has_to = (
            not entries or self._room.is_short or self._unlooked > LOOK_BYTES or now - self._looked_at > LOOK_SECONDS
        )
        if has_to:
            self._looked_at, self._unlooked = now, 0
        return has_to

    def _settle(self, group: Group, reply: Sequence[int]) -> None:
        self._tell("")
        singles, batches, _ = group
        full, depth, taken_singles, taken_batches, dropped, memory = reply
        self._room.seen(depth, memory)
        admitted = batches[:taken_batches]
        self._outcomes.succeeded(taken_singles + sum(len(item.entries) for item in admitted))
        if quarantined := sum(len(item.quarantine) for item in admitted):
            self._instruments.quarantined.inc(quarantined)
            self._instruments.quarantine_dropped.inc(dropped)
        for item in chain(singles[:taken_singles], admitted):
            item.taken(depth)
        for item in chain(singles[taken_singles:], batches[taken_batches:]):
            item.refused(self._room.full(depth, memory=bool(full)))

    def _failed(self, group: list[Submission], error: Exception) -> None:
        self._tell(f"{type(error).__name__}: {error}")
        if isinstance(error, OutOfMemoryError):
            self._refuse(group, self._room.full(None, memory=True))
            return
        message = (
            "Redis did not acknowledge the push: send again (an event with a correlation_id is not doubled by that)"
        )
        refusal = Refusal(503, "redis", message, random.randint(*RETRY_REDIS), {})
        if not isinstance(error, ResponseError):
            # Redis is away: who waited behind this push need not wait for another timeout.
            group = [*group, *self._turns.take_all()]
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
