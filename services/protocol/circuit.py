"""The circuit breaker in front of Moogsoft, shared by the fleet: its state lives in Redis, on Redis's clock."""

import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from redis.asyncio import Redis

from mutt import keys
from mutt.circuit import Result, State
from mutt.settings import CircuitSettings, QueueNames
from services.protocol.script import beside

_beat = beside(__file__, "beat")
_permit = beside(__file__, "circuit_permit")
_report = beside(__file__, "circuit_report")
_close_idle = beside(__file__, "circuit_close_idle")

KEYS = [
    keys.CIRCUIT_STATE,
    keys.CIRCUIT_FAILURES,
    keys.CIRCUIT_OPENED_AT,
    keys.CIRCUIT_GENERATION,
    keys.CIRCUIT_PROBE,
]


class Permission(NamedTuple):
    """Whether to send now; HALF_OPEN and `may_send` is the fleet's one probe. `wait` is in seconds."""

    state: State
    generation: int
    may_send: bool
    wait: float

    @property
    def is_probe(self) -> bool:
        """Tell whether one request only is allowed, and the lease is the asker's."""
        return self.may_send and self.state is State.HALF_OPEN


class Standing(NamedTuple):
    """The circuit as it is; every change of its state begins another generation."""

    state: State
    generation: int


class Idle(StrEnum):
    """What `close_if_idle` found."""

    CLOSED = "closed"
    EMPTY = "empty"
    WAIT = "wait"


class Circuit:
    """One holder's view of the shared circuit; `token` names it as the holder of the probe's lease."""

    def __init__(
        self, client: Redis, settings: CircuitSettings, names: QueueNames, *, token: str, lease: float
    ) -> None:
        self._client = client
        self._threshold = settings.threshold
        self._open_ms = round(settings.open_seconds * 1000)
        self._lease_ms = round(lease * 1000)
        self._names = names
        self._token = token
        self._reports = itertools.count(1)

    async def permission(self) -> Permission:
        """Ask whether a request may be sent; where a probe is due and an alert waits, take its lease."""
        waiting = [self._names.alert_queue, keys.RETRY_MOOG]
        state, generation, may_send, wait_ms = await _permit(
            self._client, KEYS + waiting, [self._open_ms, self._lease_ms, self._token]
        )
        return Permission(State(state.decode()), generation, bool(may_send), wait_ms / 1000)

    async def renew_probe(self) -> bool:
        """Hold the probe's lease for its whole time from now on; False when it is no longer this holder's."""
        return bool(await _beat(self._client, [keys.CIRCUIT_PROBE], [self._token, self._lease_ms]) == 1)

    def next_report(self) -> int:
        """Return the number of a report that is to be told until Redis has it, and counts once."""
        return next(self._reports)

    async def report(self, results: Sequence[tuple[int, Result]], number: int | None = None) -> Standing:
        """Tell how requests ended: (generation they began in, result), in the order in which they ended."""
        pairs = [part for generation, result in results for part in (generation, result.value)]
        number = self.next_report() if number is None else number
        names = [*KEYS, keys.CIRCUIT_TOLD]
        state, generation = await _report(self._client, names, [self._threshold, self._token, number, *pairs])
        return Standing(State(state.decode()), generation)


async def read(client: Redis) -> Standing:
    """Return the circuit as Redis holds it, changing nothing; CLOSED where nothing was ever recorded."""
    state, generation = await client.mget([keys.CIRCUIT_STATE, keys.CIRCUIT_GENERATION])
    known = State(state.decode()) if state in (b"OPEN", b"HALF_OPEN") else State.CLOSED
    return Standing(known, int(generation or 0))


async def close_if_idle(client: Redis, settings: CircuitSettings, names: QueueNames) -> Idle:
    """Close a circuit whose time is over and that has nothing left to probe with; for remediation.

    EMPTY means that a dead letter has to be released as the probe first.
    """
    waiting = [names.alert_queue, keys.RETRY_MOOG, names.moog_dlq]
    answer = await _close_idle(client, KEYS + waiting, [round(settings.open_seconds * 1000)])
    return Idle(answer.decode())
