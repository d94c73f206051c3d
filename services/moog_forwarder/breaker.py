"""The circuit as this forwarder sees it: what it may send, what it tells operators, how long Moogsoft throttles it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt.answers import Outcome, Verdict
from mutt.circuit import Result, State
from mutt.forwarding import circuit_result
from services.logging_utils import get_logger
from services.protocol.circuit import Circuit, Permission, Standing, read
from services.runtime.health import Health
from services.runtime.instruments import MoogForwarderInstruments

WATCH_SECONDS = 1.0
LONGEST_THROTTLE = 60.0  # seconds that one answer 429 holds all others back; its own alert waits as long as it says

FAILURES = frozenset({Result.FAILED, Result.MISCONFIGURED})

log = get_logger(__name__)


class Breaker:
    """Asks and tells the shared circuit; shows its state in the metrics and in health."""

    def __init__(self, circuit: Circuit, redis: Redis, health: Health, instruments: MoogForwarderInstruments) -> None:
        self._circuit = circuit
        self._redis = redis
        self._health = health
        self._gauge = instruments.circuit_state
        self._last_failure = ""
        self._throttled_until = 0.0
        self._read_at = 0.0
        self._unreported = 0
        self._notes = 0
        self._told = asyncio.Event()
        self._told.set()
        self.standing = Standing(State.CLOSED, 0)

    async def ask(self) -> Permission:
        """Ask for permission to claim and send; raises RedisError."""
        notes = self._notes
        permission = await self._circuit.permission()
        self._note(Standing(permission.state, permission.generation), notes)
        return permission

    async def look(self, *, older_than: float = 0.0) -> Standing:
        """Return the standing, read again when what is known is older than so many seconds; raises RedisError."""
        if time.monotonic() - self._read_at >= older_than:
            await self._read()
        return self.standing

    async def renew_probe(self) -> bool:
        """Hold the probe's lease for as long as a request may take; False when it has gone. Raises RedisError."""
        return await self._circuit.renew_probe()

    def next_report(self) -> int:
        """Return the number of a report that is told until Redis has it."""
        return self._circuit.next_report()

    async def report(self, results: Sequence[tuple[int, Result]], number: int | None = None) -> None:
        """Tell the circuit how requests ended; raises RedisError, after which the same number may be told again."""
        notes = self._notes
        self._note(await self._circuit.report(results, number), notes)
        self._unreported -= sum(result in FAILURES for _, result in results)
        if self._unreported <= 0:
            self._told.set()

    async def told(self, seconds: float) -> bool:
        """Wait for up to so long until the circuit knows of every failure: the next request may not be allowed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        return self._told.is_set()

    @property
    def has_told(self) -> bool:
        """Tell whether the circuit knows of every failure."""
        return self._told.is_set()

    async def watch(self) -> None:
        """Follow what other forwarders learn, for ever."""
        while True:
            try:
                await self._read()
            except (RedisError, OSError):
                self._read_at = 0.0
            await asyncio.sleep(WATCH_SECONDS)

    def learn(self, outcome: Outcome) -> None:
        """Keep what health has to name, and for how long Moogsoft asks to be left alone."""
        if outcome.verdict is Verdict.SUCCESS:
            if self._health.problems.pop("moogsoft", None) is not None:
                log.info("Moogsoft takes alerts again")
            return
        if outcome.verdict is Verdict.THROTTLED:
            seconds = min(outcome.after or 0.0, LONGEST_THROTTLE)
            self._throttled_until = max(self._throttled_until, time.monotonic() + seconds)
        elif outcome.verdict is Verdict.MISCONFIGURED:
            problem = f"misconfigured: {outcome.message}: check MOOG_WEBHOOK_URL, MOOG_API_KEY and MOOG_AUTH_*"
            if self._health.problems.get("moogsoft") != problem:
                log.error("Moogsoft refuses this forwarder, no alert is at fault", problem=problem)
            self._health.problems["moogsoft"] = problem
        if circuit_result(outcome) in FAILURES:
            self._last_failure = outcome.message
            self._unreported += 1
            self._told.clear()

    @property
    def throttle_left(self) -> float:
        """Return the seconds that Moogsoft still asks to be left alone."""
        return max(0.0, self._throttled_until - time.monotonic())

    async def _read(self) -> None:
        notes = self._notes
        self._note(await read(self._redis), notes)

    def _note(self, standing: Standing, notes: int) -> None:
        """Keep what was answered to one who asked when so many answers had been noted.

        Answers overtake each other on their connections: one of an older generation does not count if another was noted
        since.
        """
        if standing.generation < self.standing.generation and notes != self._notes:
            return
        self._notes += 1
        self._read_at = time.monotonic()
        self._gauge.set(standing.state.gauge)
        if standing.state is not self.standing.state:
            say = log.info if standing.state is State.CLOSED else log.warning
            say("the circuit changed", state=standing.state.value, was=self.standing.state.value)
        self.standing = standing
        if standing.state is State.OPEN:
            why = self._last_failure or "opened by another forwarder or before this one started"
            self._health.problems["circuit"] = f"OPEN: nothing is sent to Moogsoft until a probe succeeds ({why})"
        else:
            self._health.problems.pop("circuit", None)
        if standing.state is State.CLOSED:
            self._health.problems.pop("moogsoft", None)
