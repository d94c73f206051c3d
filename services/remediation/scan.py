"""The scan: reads the old end of both dead-letter queues, a page at a time, and moves what is due."""

import asyncio
import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis.asyncio import Redis

from mutt import keys
from mutt.circuit import State
from mutt.remediation import Source, Step, Verdict, alerter_room, as_probe, judge, moog_room
from mutt.settings import RemediationSettings
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.protocol import circuit
from services.protocol.script import Argument, beside
from services.remediation.lease import Lease
from services.runtime.depths import measure
from services.runtime.instruments import RemediationInstruments

PAGE = 100  # entries: at most 6.4 MB in one reply
LEASE_LOST = -1

_move = beside(__file__, "move")

log = get_logger(__name__)


class Queues(NamedTuple):
    """A dead-letter queue and the queue that its letters go back to."""

    dead: str
    home: str


class Scanner:
    """Brings dead letters back while the gates are open; everything is read anew in each scan, nothing is kept."""

    def __init__(
        self, redis: Redis, settings: RemediationSettings, lease: Lease, instruments: RemediationInstruments
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._lease = lease
        self._token = lease.token
        self._instruments = instruments
        self._config = DynamicConfig(
            redis,
            enabled=settings.dynamic_config_enabled,
            fallbacks={"max_ingest_queue_size": settings.max_ingest_queue_size},
        )
        instruments.config_refused.set_function(lambda: len(self._config.problems))
        names = settings.names
        self._queues = {
            Source.ALERTER: Queues(names.alerter_dlq, names.ingest_queue),
            Source.MOOG: Queues(names.moog_dlq, names.alert_queue),
        }
        self._order = deque(self._queues)

    async def scan(self, stopping: asyncio.Event) -> None:
        """Look at each queue's oldest letters once; raises RedisError, after which a further scan finds the rest."""
        started = time.perf_counter()
        self._token = self._lease.token
        await self._config.refresh()
        for source in self._order:
            await self._scan_queue(source, stopping)
        # Both compete for the same room: each is first every other time.
        self._order.rotate()
        await self._help_circuit()
        self._instruments.scan_duration.observe(time.perf_counter() - started)

    async def _scan_queue(self, source: Source, stopping: asyncio.Event) -> None:
        dead = self._queues[source].dead
        room, waiting = await self._room(source), 0
        now = await self._now()
        while room > 0 and self._lease.is_held and not stopping.is_set():
            most = min(PAGE, room)
            page: list[Any] = await self._redis.lrange(dead, -(waiting + most), -(waiting + 1))
            verdicts = [(entry, self._judge(entry, source, now)) for entry in reversed(page)]
            due = [(entry, verdict) for entry, verdict in verdicts if verdict is not None]
            if due and not await self._carry_out(source, due):
                return
            waiting += len(page) - len(due)
            room -= len(page)
            if len(page) < most:
                return

    async def _room(self, source: Source) -> int:
        names = self._settings.names
        depths = await measure(self._redis, [names.alert_queue, keys.RETRY_MOOG, names.ingest_queue])
        alerts = depths[names.alert_queue] + depths[keys.RETRY_MOOG]
        warn = self._config.integer("alerter_queue_warn_threshold")
        if source is Source.MOOG:
            closed = (await circuit.read(self._redis)).state is State.CLOSED
            return moog_room(alerts, warn, circuit_closed=closed)
        cap = self._config.integer("max_ingest_queue_size")
        return alerter_room(alerts, warn, depths[names.ingest_queue], cap)

    async def _now(self) -> datetime:
        seconds, microseconds = await self._redis.time()
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)

    def _judge(self, entry: bytes, source: Source, now: datetime) -> Verdict | None:
        return judge(entry, source, now, self._settings.backoff_base, self._settings.max_retries)

    async def _carry_out(self, source: Source, due: list[tuple[bytes, Verdict]]) -> bool:
        """Move a page's letters; tells whether the scan of this queue may go on."""
        moved = await self._send(source, due, only_closed=source is Source.MOOG)
        if moved < 0:
            return False
        steps = Counter(verdict.step for _, verdict in due)
        # What was no longer there was moved by somebody else, who counts it.
        self._instruments.replayed.labels(source, "success").inc(max(0, steps[Step.REPLAY] - (len(due) - moved)))
        self._instruments.replayed.labels(source, "fail").inc(steps[Step.KEEP] + steps[Step.POISON])
        log.info("moved dead letters", source=source.value, moved=moved, **{step.value: steps[step] for step in Step})
        if steps[Step.POISON]:
            log.warning("gave dead letters up", source=source.value, entries=steps[Step.POISON], list=keys.POISON)
        return True

    async def _send(self, source: Source, due: list[tuple[bytes, Verdict]], *, only_closed: bool) -> int:
        queues = self._queues[source]
        destinations = {Step.REPLAY: (1, queues.home), Step.KEEP: (2, queues.dead), Step.POISON: (3, keys.POISON)}
        names = [keys.REMEDIATION_LEASE, keys.CIRCUIT_STATE, queues.dead, *(key for _, key in destinations.values())]
        args: list[Argument] = [self._token, int(only_closed)]
        for entry, verdict in due:
            args += (entry, destinations[verdict.step][0], verdict.payload)
        moved = int(await _move(self._redis, names, args))
        if moved == LEASE_LOST and self._token == self._lease.token:
            self._lease.lost()
        return moved

    async def _help_circuit(self) -> None:
        """When Moogsoft's rest is over and no alert waits that could be the probe, release one or close the circuit."""
        idle = await circuit.close_if_idle(self._redis, self._settings.circuit, self._settings.names)
        if idle is circuit.Idle.CLOSED:
            log.info("closed the circuit: its open time is over, and nothing is left to send")
        if idle is not circuit.Idle.EMPTY or not self._lease.is_held:
            return
        oldest: Any = await self._redis.lindex(self._queues[Source.MOOG].dead, -1)
        if oldest is None:
            return
        verdict = as_probe(oldest)
        if await self._send(Source.MOOG, [(oldest, verdict)], only_closed=False) == 1:
            log.info("released a dead letter as the circuit's probe", step=verdict.step.value)
