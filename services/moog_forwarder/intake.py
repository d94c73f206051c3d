"""Claims alerts: with the circuit's permission, retries that are due first, never more than may be held."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime

from mutt.circuit import Result
from mutt.envelope import OPENING
from mutt.errors import EntryError
from mutt.events import MEMBER, DecidedEvent, decode_decided, split_entry
from mutt.forwarding import Move, Resolution, deadly
from mutt.ids import uuid7
from mutt.judge import undecodable
from services.logging_utils import get_logger
from services.moog_forwarder.flight import GATHER
from services.moog_forwarder.settler import Desk, Ended, Leaving
from services.protocol.circuit import Permission, Standing
from services.protocol.retries import claim_due
from services.protocol.worker import Batch, Worker

ESCAPE = b"\\u00"  # begins each other spelling of an ASCII character, and so of a member's name
SHORTEST_BLOCK = 0.01  # seconds; to Redis 0 means for ever
BUSY_BLOCK = 0.1  # seconds
BLOCKED_MOST = 1000  # alerts held behind others of their key, so that a flapping interface takes nobody's place
AHEAD = 4  # alerts held for each request under way, so that none waits for a claim or a settle
LONGEST_PAUSE = 1.0  # seconds between two looks at a circuit that is open
WAKE_SECONDS = 0.5

log = get_logger(__name__)


class Intake:
    """Brings alerts from Redis into the flight."""

    def __init__(self, desk: Desk, worker: Worker) -> None:
        self._process = desk.process
        self._settings = desk.process.settings
        self._config = desk.config
        self._flight = desk.flight
        self._breaker = desk.breaker
        self._settler = desk.settler
        self._worker = worker
        # A claim that blocks makes no progress: it has to end before the heartbeat is allowed to expire for that.
        self._longest_block = min(float(self._settings.brpoplpush_timeout), self._settings.janitor_timeout / 3)

    async def claim_once(self) -> bool:
        """Claim what may be claimed now; every way through it takes its time or brought something."""
        size = self._config.integer("moog_batch_size")
        room = self._room(size)
        if len(self._flight) and room < size:
            await asyncio.sleep(GATHER)
            room = self._room(size)
        if room <= 0 or (room < size and self._has_plenty(size)) or self._flight.is_exclusive:
            await self._flight.wait(self._flight.left, WAKE_SECONDS)
            return True
        if self._breaker.throttle_left:
            await self._process.pause(min(self._breaker.throttle_left, LONGEST_PAUSE))
            return True
        permission = await self._breaker.ask()
        if not permission.may_send:
            await self._process.pause(min(max(permission.wait, WAKE_SECONDS), LONGEST_PAUSE))
            return True
        batch = await self._claim(1 if permission.is_probe else min(size, room), block=not permission.is_probe)
        if batch is not None:
            try:
                await self._take_in(batch, permission)
            except BaseException:
                self._worker.give_up(batch.entries, batch.lease)
                raise
        elif permission.is_probe:
            await self._breaker.report([(permission.generation, Result.UNKNOWN)])
        return True

    def _has_plenty(self, size: int) -> bool:
        """Tell whether every request that ends can be followed by another for a while: the next claim can be larger."""
        return self._flight.ready(self._carried(size)) >= self._settings.concurrency

    def _room(self, size: int) -> int:
        """Return how many more may be held: what can be sent at once, what comes next, and what waits for its like."""
        most = self._settings.concurrency * (self._carried(size) + AHEAD)
        return most + min(self._flight.blocked, BLOCKED_MOST) - len(self._flight)

    def _carried(self, size: int) -> int:
        """Return how many alerts a request carries at most."""
        return size if self._settings.batch_mode == "events" else 1

    async def _claim(self, most: int, *, block: bool) -> Batch | None:
        # What is in flight now may become a retry while the claim blocks, and would wait for the end of the block.
        seconds = BUSY_BLOCK if len(self._flight) else self._longest_block
        due = await claim_due(self._process.redis, self._worker, most)
        if due.batch is not None or not block:
            return due.batch or await self._worker.claim(most)
        if due.next_in is not None:
            seconds = min(seconds, due.next_in)
        return await self._worker.claim(most, block=seconds if seconds >= SHORTEST_BLOCK else 0)

    async def _take_in(self, batch: Batch, permission: Permission) -> None:
        if batch.recoveries > self._settings.max_retries:
            self._give_up(batch, permission)
            return
        while batch.recoveries and len(self._flight):
            # It may be what kills forwarders: nothing else is to be held beside it.
            await self._flight.wait(self._flight.left, WAKE_SECONDS)
            self._process.health.progressed()
            if self._process.stopping.is_set():
                return
        if await self._breaker.look() != Standing(permission.state, permission.generation):
            log.info("the circuit changed during a claim, handing it back", alerts=len(batch.entries))
            self._hand_back(batch.entries)
            return
        for entry in batch.entries:
            self._admit(entry, permission, exclusive=batch.recoveries > 0)

    def _admit(self, entry: bytes, permission: Permission, *, exclusive: bool) -> None:
        try:
            event = decode_decided(entry)
            if not entry.startswith(OPENING) or entry.count(MEMBER) > 1 or ESCAPE in entry:
                split_entry(entry)  # what cannot be taken apart could not be given a reason once it fails
        except EntryError as error:
            self._settler.put(Ended([_unreadable(entry, error)], _unsent(permission)))
            return
        item = self._flight.admit(entry, event, permission.generation)
        item.is_probe = permission.is_probe
        item.exclusive = exclusive or permission.is_probe
        # Its last attempt is made without company, so that no other alert of a batch can spoil it.
        item.alone = item.exclusive or event.envelope.retry_count >= self._settings.max_retries

    def _hand_back(self, entries: Sequence[bytes]) -> None:
        self._settler.put(Ended([Leaving(entry, Resolution(Move.FRONT, entry), "") for entry in entries]))

    def _give_up(self, batch: Batch, permission: Permission) -> None:
        entry, now = batch.entries[0], datetime.now(UTC)
        try:
            event: DecidedEvent = decode_decided(entry)
            letter = deadly(entry, event.envelope.retry_count, batch.recoveries, now)
            leaving = Leaving(entry, Resolution(Move.DEAD, letter), event.envelope.event_id)
        except EntryError as error:
            leaving = _unreadable(entry, error)
        log.error("forwarders died with this alert, it goes to the dead letters", id=leaving.event_id)
        self._settler.put(Ended([leaving], _unsent(permission)))


def _unsent(permission: Permission) -> tuple[int, Result] | None:
    """Return what gives a probe's lease back."""
    return (permission.generation, Result.UNKNOWN) if permission.is_probe else None


def _unreadable(entry: bytes, error: EntryError) -> Leaving:
    now = datetime.now(UTC)
    event_id = uuid7(int(now.timestamp() * 1000), os.urandom(10))
    log.error("an alert is not readable, it goes to the dead letters", problem=str(error), id=event_id)
    return Leaving(entry, Resolution(Move.DEAD, undecodable(entry, error, event_id, now)), event_id)
