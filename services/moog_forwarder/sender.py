"""Sends alerts: as many at once as is allowed, none before its turn, and what each answer means."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from mutt.answers import Verdict
from mutt.circuit import Result, State
from mutt.forwarding import Move, Resolution, circuit_result
from mutt.moogsoft import joined
from services import tracing_utils
from services.logging_utils import get_logger
from services.moog_forwarder.deliveries import DeliveryLog
from services.moog_forwarder.ends import Answer, Ends, leaving
from services.moog_forwarder.flight import GATHER, Item
from services.moog_forwarder.settler import Desk, Ended
from services.moog_forwarder.slo import SloCounter
from services.moog_forwarder.webhook import Sent, Webhook
from services.rate_limiter import Grant, RateLimiter

if TYPE_CHECKING:
    from services.tracing_spans import Traced

WAKE_SECONDS = 0.5
STANDING_SECONDS = 0.5  # age past which the circuit's standing is read again before sending
BEHIND_SECONDS = 0.05  # by which a held alert comes after the one that it must not overtake

log = get_logger(__name__)


class Request(Sent):
    """A request with its alerts."""

    __slots__ = ("group", "traced")

    def __init__(self, group: Sequence[Item], then: "Callable[[Request], object]") -> None:
        super().__init__(then)
        self.group = group
        self.traced: Traced | None = None


class Sender:
    """Takes alerts from the flight and puts their ends to the settler."""

    def __init__(
        self, desk: Desk, *, webhook: Webhook, limiter: RateLimiter, deliveries: DeliveryLog, slo: SloCounter
    ) -> None:
        settings = desk.process.settings
        self._process = desk.process
        self._settings = settings
        self._instruments = desk.process.instruments
        self._config = desk.config
        self._flight = desk.flight
        self._breaker = desk.breaker
        self._settler = desk.settler
        self._webhook = webhook
        self._limiter = limiter
        self._ends = Ends(desk, deliveries)
        self._slo = slo
        self._tracing = tracing_utils.active()
        self._is_batched = settings.batch_mode == "events"
        self._under_way = 0  # requests, and what follows from their answers
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard: list[Request] = []  # of this round of the loop
        self._failure: BaseException | None = None

    async def dispatch_once(self) -> bool:
        """Start every request that may start now; a wake-up or half a second later it is called again."""
        await self._flight.wait(self._flight.arrived, WAKE_SECONDS)
        if self._under_way:
            await asyncio.sleep(GATHER)
        while not self._process.stopping.is_set():
            self._check()
            if self._breaker.throttle_left:
                await self._process.pause(min(self._breaker.throttle_left, WAKE_SECONDS))
                continue
            size = self._size()
            wanted = min(self._settings.concurrency - self._under_way, self._flight.ready(size))
            if wanted <= 0:
                break
            if not await self._breaker.told(WAKE_SECONDS):
                continue
            await self._return_unsent()
            if self._flight.holds_probe:
                # It may wait for the limiter for longer than the lease lasts, and would lose it each time.
                await self._breaker.renew_probe()
            grant = await self._acquire(wanted)
            if self._process.stopping.is_set() or not self._breaker.has_told:
                continue  # nobody would wait for the end of a request begun while the process stops
            for group in self._flight.take(grant.tokens, size):
                self._start(group)
            if grant.tokens < wanted:
                # Not for the whole wait, since the limit may be raised meanwhile.
                await self._process.pause(min(grant.wait_ms / 1000, WAKE_SECONDS))
        return True

    async def finish(self) -> None:
        """Wait for the requests under way."""
        while self._under_way:
            await self._flight.wait(self._flight.arrived, WAKE_SECONDS)
            self._check()

    def _size(self) -> int:
        return self._config.integer("moog_batch_size") if self._is_batched else 1

    async def _acquire(self, wanted: int) -> Grant:
        limit = self._config.integer("moog_rate_limit")
        grant = await self._limiter.acquire(wanted, limit=limit, period=self._settings.rate_period)
        if grant.tokens < wanted:
            self._instruments.rate_limit_hits.inc()
        return grant

    async def _return_unsent(self) -> None:
        """Take back what must not be sent now: an older generation's, and what would overtake its problem."""
        standing = await self._breaker.look(older_than=STANDING_SECONDS)
        stale = self._flight.take_stale(None if standing.state is State.OPEN else standing.generation)
        if stale:
            log.info("the circuit changed, handing back what was not sent", alerts=len(stale), state=standing.state)
        moves = [(item, Resolution(Move.FRONT, item.entry)) for item in stale]
        for item, seconds in self._flight.take_overtaking(time.monotonic()):
            moves.append((item, Resolution(Move.WAIT, item.entry, seconds + BEHIND_SECONDS)))
        for item, resolution in moves:
            report = (item.generation, Result.UNKNOWN) if item.is_probe else None
            self._settler.put(Ended([leaving(item, resolution, sent=False)], report))

    def _may_send(self, item: Item) -> bool:
        standing = self._breaker.standing
        return standing.state is not State.OPEN and item.generation == standing.generation

    def _start(self, group: Sequence[Item]) -> None:
        self._under_way += 1
        if group[0].is_probe:
            self._go_on(self._deliver(group))
            return
        self._send(Request(group, self._hear))

    def _hear(self, request: Request) -> None:
        """Keep an answer until all that come in this round of the loop are there: they are ended together."""
        if not self._heard:
            asyncio.get_running_loop().call_soon(self._answered)
        self._heard.append(request)

    def _answered(self) -> None:
        """End what Moogsoft took; whatever else was answered may take longer."""
        requests, self._heard = self._heard, []
        taken: list[tuple[Sequence[Item], Answer]] = []
        try:
            for request, answer in zip(requests, self._answers(requests), strict=True):
                if answer.outcome.is_success:
                    taken.append((request.group, answer))
                else:
                    self._go_on(self._conclude(request.group, answer))
            if taken:
                self._breaker.learn(taken[-1][1].outcome)
                self._ends.taken(taken)
        except Exception as error:  # noqa: BLE001  (the loop raises it)
            self._failure = error
        self._under_way -= len(taken)
        self._flight.arrived.set()

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._under_way -= 1
            self._flight.arrived.set()
            if not task.cancelled():
                self._failure = task.exception() or self._failure

        task = asyncio.create_task(work, name="deliver")
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _check(self) -> None:
        """Let the failure of a delivery be that of the process: it would have kept its alerts for ever."""
        if self._failure is not None:
            raise RuntimeError("a delivery failed") from self._failure  # no error after which the loop tries again

    async def _deliver(self, group: Sequence[Item]) -> None:
        if not await self._holds_lease(group):
            log.info("the probe's lease is no longer held, handing the alert back")
            self._ends.hand_back(group)
            return
        await self._conclude(group, await self._post(group))

    async def _conclude(self, group: Sequence[Item], answer: Answer) -> None:
        if answer.outcome.verdict is Verdict.MISCONFIGURED and await self._webhook.has_new_key(answer.auth):
            log.info("the secrets hold a new key, sending once more with it")
            if await self._wait_for_turn(group[0]) and await self._holds_lease(group):
                answer = await self._post(group)
        self._breaker.learn(answer.outcome)
        if answer.outcome.verdict is Verdict.REJECTED and len(group) > 1:
            self._settler.put(Ended(report=(group[0].generation, circuit_result(answer.outcome))))
            await self._split(group, answer.outcome.message)
        else:
            self._ends.resolved(group, answer)

    async def _split(self, group: Sequence[Item], answer: str) -> None:
        """Send the halves of a refused batch: one alert is at fault, and only that one is to pay for it."""
        log.info("a batch was refused, splitting it", alerts=len(group), answer=answer)
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            if await self._wait_for_turn(half[0]):
                await self._deliver(half)
            else:
                self._ends.hand_back(half)

    def _send(self, request: Request) -> None:
        group, traceparent = request.group, None
        if self._tracing is not None:
            envelopes = (item.event.envelope for item in group)
            events = ((one.traceparent, {"mutt.event_id": one.event_id}) for one in envelopes)
            request.traced = traced = self._tracing.batch("moog.post", "client", events)
            traceparent = None if traced is None else traced.traceparent
        body = joined([item.payload for item in group], batch=self._is_batched)
        self._webhook.post(request, body, traceparent=traceparent)

    async def _post(self, group: Sequence[Item]) -> Answer:
        ended = asyncio.Event()
        request = Request(group, lambda _: ended.set())
        self._send(request)
        await ended.wait()
        return self._answers([request])[0]

    def _answers(self, requests: Sequence[Request]) -> list[Answer]:
        """Return what came of requests that have ended, and count it."""
        answers = []
        for request in requests:
            outcome, status = self._webhook.outcome(request)
            answers.append(Answer(outcome, status, request.auth))
            if request.traced is not None:
                facts = {"mutt.alerts": len(request.group), "http.response.status_code": status or 0}
                # The message may hold what Moogsoft answered, and that what it was sent.
                request.traced.end(facts, None if outcome.is_success else outcome.reason)
        self._instruments.latency.observe_all(request.seconds for request in requests)
        for (outcome, status), some in groupby(answers, lambda one: (one.outcome, one.status)):
            number = len(list(some))
            labels = ("success", "") if outcome.is_success else ("fail", outcome.reason)
            self._instruments.requests.labels(*labels).inc(number)
            self._slo.count(number, success=outcome.is_success, status=status, words=outcome.message)
        return answers

    async def _holds_lease(self, group: Sequence[Item]) -> bool:
        """Begin a probe's lease anew for the request, or learn that it has gone; whatever is no probe needs none."""
        if not group[0].is_probe:
            return True
        try:
            return await self._breaker.renew_probe()
        except (RedisError, OSError):
            return False

    async def _wait_for_turn(self, item: Item) -> bool:
        """Wait for one more token of the limiter; False when the alert must not be sent any more."""
        while not self._process.stopping.is_set() and self._may_send(item):
            try:
                grant = await self._acquire(1)
            except (RedisError, OSError):
                await self._process.pause(WAKE_SECONDS)
                continue
            if grant.tokens:
                return True
            await self._process.pause(min(grant.wait_ms / 1000, WAKE_SECONDS))
        return False
