"""The end of each attempt: the circuit learns it, then one script moves the alerts to where they belong."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from redis.exceptions import RedisError

from mutt import keys
from mutt.circuit import Result
from mutt.forwarding import Move, Resolution
from mutt.settings import MoogForwarderSettings, QueueNames
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.moog_forwarder.breaker import Breaker
from services.moog_forwarder.flight import SETTLE_GATHER, Flight, Item
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


class Leaving(NamedTuple):
    """One entry on its way out. `item` is None for one that was never in flight; `sent` tells whether it was tried."""

    entry: bytes
    resolution: Resolution
    event_id: str
    item: Item | None = None
    sent: bool = False


class Ended(NamedTuple):
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
        """What the circuit is told; that Moogsoft is well is the same once as several times in a row."""
        found: list[tuple[int, Result]] = []
        for ended in self.ended:
            report = ended.report
            if report is not None and not (found and report == found[-1] and report[1] is Result.WELL):
                found.append(report)
        return found


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
            if move is Move.DONE:
                continue
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
        self._ended: deque[Ended] = deque()
        self._woken = asyncio.Event()
        self._is_closed = False

    def put(self, ended: Ended) -> None:
        """Take over what has ended."""
        self._ended.append(ended)
        self._woken.set()

    def close(self) -> None:
        """Let `run` return once all that was put is settled."""
        self._is_closed = True
        self._woken.set()

    async def run(self) -> None:
        """Settle until closed."""
        while not (self._is_closed and not self._ended):
            await self._woken.wait()
            self._woken.clear()
            if len(self._flight) > 1:
                await asyncio.sleep(SETTLE_GATHER)
            while self._ended:
                await self._finish(self._take())

    def _take(self) -> _Group:
        group, alerts = _Group(), 0
        while self._ended and alerts < SETTLED_AT_ONCE:
            group.ended.append(self._ended.popleft())
            alerts += len(group.ended[-1].leaving)
        return group

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
        for one, _, copies in plan.places:
            if one.item is not None:
                if one.sent and one.resolution.move in AGAIN:
                    # Counted from now on, since Redis counted from a moment ago: it is due before that.
                    self._flight.defer(one.item, time.monotonic() + one.resolution.delay)
                    self._flight.release(one.item)
                self._flight.leave(one.item)
                if one.item.copies > copies:
                    # Claimed once more while this was under way: left to be adopted.
                    self._worker.forget([one.entry] * (one.item.copies - copies), lease)
        statuses = Counter(_status(one) for one, place, _ in plan.places if place not in settled.missing)
        for status, number in statuses.items():
            if status is not None:
                self._alerts.labels(status).inc(number)

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


def _status(one: Leaving) -> str | None:
    """Return what an alert counts as; None for one that was handed back unsent."""
    match one.resolution.move:
        case Move.DONE:
            return "success"
        case Move.DEAD:
            return "dlq"
    return "error" if one.sent else None


@dataclass(frozen=True, slots=True)
class Desk:
    """What claiming and sending share."""

    process: ForwarderProcess
    config: DynamicConfig
    flight: Flight
    breaker: Breaker
    settler: Settler
