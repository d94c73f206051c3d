"""The end of each attempt: the circuit learns it, then one script moves the alerts to where they belong."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from mutt import keys
from mutt.circuit import Result
from mutt.forwarding import Move, Resolution
from mutt.settings import MoogForwarderSettings, QueueNames
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.moog_forwarder.breaker import Breaker
from services.moog_forwarder.flight import Flight, Item
from services.protocol.actions import Actions
from services.protocol.lane import FencedError
from services.protocol.retries import member
from services.protocol.worker import Worker
from services.runtime.app import BACK_OFF_FIRST, BACK_OFF_MOST, Process
from services.runtime.instruments import MoogForwarderInstruments

SETTLED_AT_ONCE = 500  # alerts
AGAIN = (Move.RETRY, Move.WAIT)

ForwarderProcess = Process[MoogForwarderSettings, MoogForwarderInstruments]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leaving:
    """One entry on its way out. `item` is None for one that was never in flight; `sent` tells whether it was tried."""

    entry: bytes
    resolution: Resolution
    event_id: str
    item: Item | None = None
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A request's end, or entries that were not sent; `report` is (generation, result) for the circuit."""

    leaving: Sequence[Leaving] = ()
    report: tuple[int, Result] | None = None


@dataclass(slots=True)
class _Group:
    ended: list[Ended] = field(default_factory=list)

    @property
    def leaving(self) -> list[Leaving]:
        return [leaving for ended in self.ended for leaving in ended.leaving]

    @property
    def reports(self) -> list[tuple[int, Result]]:
        return [ended.report for ended in self.ended if ended.report is not None]


class _Plan:
    """What one settle does: entries (each as often as it was claimed) and what follows from the first of each."""

    def __init__(self, leaving: Sequence[Leaving], names: QueueNames) -> None:
        self.entries: list[bytes] = []
        self.actions = Actions()
        self.places: list[tuple[Leaving, int, int]] = []
        fronts: list[tuple[int, bytes]] = []
        for one in leaving:
            place, copies = len(self.entries), 1 if one.item is None else one.item.copies
            self.places.append((one, place, copies))
            self.entries += [one.entry] * copies
            move, payload, delay = one.resolution
            match move:
                case Move.RETRY | Move.WAIT:
                    self.actions.push_delayed(place, keys.RETRY_MOOG, member(one.event_id, payload), delay)
                case Move.DEAD:
                    self.actions.push(place, names.moog_dlq, payload)
                case Move.BEHIND:
                    self.actions.push(place, names.alert_queue, payload)
                case Move.FRONT:
                    fronts.append((place, payload))
        # The newest first, so that the oldest comes to stand at the very end that claims take from.
        for place, payload in reversed(fronts):
            self.actions.push_first(place, names.alert_queue, payload)


class Settler:
    """Settles what has ended, many in one go, until it is closed and nothing is left."""

    def __init__(self, process: ForwarderProcess, worker: Worker, flight: Flight, breaker: Breaker) -> None:
        self._process = process
        self._names = process.settings.names
        self._alerts = process.instruments.alerts
        self._worker = worker
        self._flight = flight
        self._breaker = breaker
        self._queue: asyncio.Queue[Ended | None] = asyncio.Queue()

    def put(self, ended: Ended) -> None:
        """Take over what has ended."""
        self._queue.put_nowait(ended)

    def close(self) -> None:
        """Let `run` return once all that was put is settled."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Settle until closed."""
        closed = False
        while not closed:
            group = _Group()
            waiting = 0
            ended = await self._queue.get()
            while True:
                if ended is None:
                    closed = True
                    break
                group.ended.append(ended)
                waiting += len(ended.leaving)
                if self._queue.empty() or waiting >= SETTLED_AT_ONCE:
                    break
                ended = self._queue.get_nowait()
            await self._finish(group)

    async def _finish(self, group: _Group) -> None:
        # The circuit first: an alert that is settled before would be claimed again under an old permission.
        reports = group.reports
        if reports:
            number = self._breaker.next_report()
            await self._persist("circuit", lambda: self._breaker.report(reports, number))
        if group.leaving:
            plan = _Plan(group.leaving, self._names)
            await self._persist("settle", lambda: self._settle(plan))

    async def _settle(self, plan: "_Plan") -> None:
        # Under the present lease, which may be younger than the claim: only what is still listed is found.
        lease = self._worker.lease
        settled = await self._worker.settle(lease, plan.entries, plan.actions)
        for one, place, copies in plan.places:
            if one.item is not None:
                if one.sent and one.resolution.move in AGAIN:
                    # Counted from now on, since Redis counted from a moment ago: it is due before that.
                    self._flight.defer(one.item, time.monotonic() + one.resolution.delay)
                    self._flight.release(one.item)
                self._flight.leave(one.item)
                # Claimed once more while this was under way: left to be adopted.
                self._worker.forget([one.entry] * (one.item.copies - copies), lease)
            if place not in settled.missing:
                self._count(one)

    def _count(self, one: Leaving) -> None:
        if one.resolution.move is Move.DONE:
            self._alerts.labels("success").inc()
        elif one.resolution.move is Move.DEAD:
            self._alerts.labels("dlq").inc()
        elif one.sent:
            self._alerts.labels("error").inc()

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until Redis has it: repeating either step changes nothing that the first time did."""
        delay = BACK_OFF_FIRST
        while True:
            try:
                await attempt()
            except FencedError:
                await self._beat()
            except (RedisError, OSError) as error:
                log.warning("Redis did not take the result, trying again", step=what, error=str(error))
                self._worker.doubt()
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, BACK_OFF_MOST)

    async def _beat(self) -> None:
        try:
            await self._worker.beat()
        except (RedisError, OSError) as error:
            log.warning("the heartbeat was not refreshed", error=str(error))


@dataclass(frozen=True, slots=True)
class Desk:
    """What claiming and sending share."""

    process: ForwarderProcess
    config: DynamicConfig
    flight: Flight
    breaker: Breaker
    settler: Settler
