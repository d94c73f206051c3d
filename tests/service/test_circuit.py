"""The circuit breaker's scripts on a real Redis, beside a plain model of the same story."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from mutt import keys
from mutt.circuit import Result, State
from mutt.settings import CircuitSettings, QueueNames
from services.protocol.circuit import Circuit, Idle, close_if_idle, read

NAMES = QueueNames()
SETTINGS = CircuitSettings(threshold=3, open_seconds=60.0)
LEASE = 15.0  # seconds
WELL, FAILED, MISCONFIGURED, UNKNOWN = Result.WELL, Result.FAILED, Result.MISCONFIGURED, Result.UNKNOWN


def circuit(client: Redis, holder: str = "a") -> Circuit:
    return Circuit(client, SETTINGS, NAMES, token=holder, lease=LEASE)


async def open_time_passes(client: Redis) -> None:
    opened = await client.get(keys.CIRCUIT_OPENED_AT)
    if opened is not None:
        await client.set(keys.CIRCUIT_OPENED_AT, float(opened) - SETTINGS.open_seconds - 1)


async def opened_circuit(client: Redis) -> Circuit:
    """Return a circuit that is OPEN, its time over, with an alert that waits."""
    breaker = circuit(client)
    await breaker.report([(0, FAILED)] * SETTINGS.threshold)
    await open_time_passes(client)
    await client.lpush(NAMES.alert_queue, b"an alert")
    return breaker


@dataclass
class Model:
    """What the scripts have to do, on a clock of two marks: the open time is over or not."""

    state: State = State.CLOSED
    generation: int = 0
    failures: int = 0
    over: bool = False
    holder: str | None = None
    waiting: bool = False
    begun: list[int] = field(default_factory=lambda: [0])

    def turn(self, state: State) -> None:
        """Change the state, which ends a generation and any probe."""
        self.state, self.over, self.holder = state, False, None
        self.generation += 1
        if state is State.CLOSED:
            self.failures = 0

    def permission(self, asker: str) -> tuple[State, int, bool]:
        """Return the answer to `asker`."""
        if self.state is State.CLOSED:
            return State.CLOSED, self.generation, True
        if self.state is State.OPEN and not self.over:
            return State.OPEN, self.generation, False
        if self.holder == asker and self.state is State.HALF_OPEN:
            return State.HALF_OPEN, self.generation, True
        if self.holder is not None or not self.waiting:
            return self.state, self.generation, False
        self.turn(State.HALF_OPEN)
        self.holder = asker
        return State.HALF_OPEN, self.generation, True

    def report(self, generation: int, result: Result) -> None:
        """Learn one result."""
        if generation != self.generation:
            return
        if self.state is State.CLOSED:
            if result is WELL:
                self.failures = 0
            elif result is FAILED:
                self.failures += 1
            if result is MISCONFIGURED or (result is FAILED and self.failures >= SETTINGS.threshold):
                self.turn(State.OPEN)
        elif self.state is State.HALF_OPEN:
            if result is UNKNOWN:
                self.holder = None
            else:
                self.turn(State.CLOSED if result is WELL else State.OPEN)


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("report"), st.lists(st.tuples(st.integers(0, 4), st.sampled_from(Result)), max_size=6)),
    st.tuples(st.just("time passes"), st.none()),
    st.tuples(st.just("the lease expires"), st.none()),
    st.tuples(st.just("an alert comes or goes"), st.none()),
)


@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=40))
async def test_the_scripts_and_the_model_tell_the_same_story(redis_client: Redis, steps: Sequence[tuple]) -> None:  # type: ignore[type-arg]
    await redis_client.delete(*_all_keys())
    model = Model()
    holders = {name: circuit(redis_client, name) for name in ("a", "b")}
    for step, argument in steps:
        if step == "ask":
            told = await holders[argument].permission()
            assert (told.state, told.generation, told.may_send) == model.permission(argument)
            assert told.is_probe == (told.may_send and told.state is State.HALF_OPEN)
        elif step == "report":
            # A result begins in the current generation or in one up to four before it.
            results = [(model.generation - age // 2, result) for age, result in argument]
            for generation, result in results:
                model.report(generation, result)
            standing = await holders["a"].report(results)
            assert standing == (model.state, model.generation)
        elif step == "time passes":
            await open_time_passes(redis_client)
            model.over = model.state is State.OPEN
        elif step == "the lease expires":
            await redis_client.delete(keys.CIRCUIT_PROBE)
            model.holder = None
        else:
            model.waiting = not model.waiting
            await redis_client.delete(NAMES.alert_queue)
            if model.waiting:
                await redis_client.lpush(NAMES.alert_queue, b"an alert")
        assert await read(redis_client) == (model.state, model.generation)
        failures = int(await redis_client.get(keys.CIRCUIT_FAILURES) or 0)
        assert failures == model.failures


def _all_keys() -> list[str]:
    return [
        keys.CIRCUIT_TOLD,
        keys.CIRCUIT_STATE,
        keys.CIRCUIT_FAILURES,
        keys.CIRCUIT_OPENED_AT,
        keys.CIRCUIT_GENERATION,
        keys.CIRCUIT_PROBE,
        NAMES.alert_queue,
        keys.RETRY_MOOG,
        NAMES.moog_dlq,
    ]


async def test_failures_in_a_row_open_it_and_the_stamp_is_redis_time(redis_client: Redis) -> None:
    breaker = circuit(redis_client)
    standing = await breaker.report([(0, FAILED), (0, FAILED), (0, WELL), (0, FAILED), (0, FAILED)])
    assert standing.state is State.CLOSED
    standing = await breaker.report([(0, FAILED)])
    assert standing.state is State.OPEN
    assert await redis_client.get(keys.CIRCUIT_STATE) == b"OPEN"
    assert await redis_client.get(keys.CIRCUIT_FAILURES) == b"3"
    seconds, _ = await redis_client.time()
    assert abs(float(await redis_client.get(keys.CIRCUIT_OPENED_AT) or 0) - seconds) < 5
    told = await breaker.permission()
    assert not told.may_send
    assert 50 < told.wait <= 60


async def test_one_of_many_askers_gets_the_probe(redis_client: Redis) -> None:
    await opened_circuit(redis_client)
    askers = [circuit(redis_client, f"asker-{index}") for index in range(8)]
    answers = await asyncio.gather(*(asker.permission() for asker in askers))
    assert sum(answer.may_send for answer in answers) == 1
    assert {answer.state for answer in answers} == {State.HALF_OPEN}
    assert 0 < await redis_client.pttl(keys.CIRCUIT_PROBE) <= LEASE * 1000
    assert all(0 < answer.wait <= LEASE for answer in answers if not answer.may_send)


async def test_a_report_that_is_told_again_counts_once(redis_client: Redis) -> None:
    breaker = circuit(redis_client)
    number = breaker.next_report()
    for _ in range(SETTINGS.threshold):
        assert (await breaker.report([(0, FAILED)], number)).state is State.CLOSED
    assert await redis_client.get(keys.CIRCUIT_FAILURES) == b"1"
    # Somebody else's success does not make it count anew.
    await circuit(redis_client, "b").report([(0, WELL)])
    await breaker.report([(0, FAILED)], number)
    assert await redis_client.get(keys.CIRCUIT_FAILURES) is None
    assert (await breaker.report([(0, FAILED)] * SETTINGS.threshold)).state is State.OPEN
    assert not await redis_client.exists(keys.CIRCUIT_TOLD)


async def test_a_probes_lease_is_renewed_by_its_holder_alone(redis_client: Redis) -> None:
    breaker = await opened_circuit(redis_client)
    assert (await breaker.permission()).is_probe
    await redis_client.pexpire(keys.CIRCUIT_PROBE, 5000)
    assert not await circuit(redis_client, "b").renew_probe()
    assert await redis_client.pttl(keys.CIRCUIT_PROBE) <= 5000
    assert await breaker.renew_probe()
    assert await redis_client.pttl(keys.CIRCUIT_PROBE) > 5000
    await redis_client.delete(keys.CIRCUIT_PROBE)
    assert not await breaker.renew_probe()


async def test_a_dead_probers_lease_goes_to_another_and_its_late_result_changes_nothing(redis_client: Redis) -> None:
    breaker = await opened_circuit(redis_client)
    first = await breaker.permission()
    await redis_client.delete(keys.CIRCUIT_PROBE)
    second = await circuit(redis_client, "b").permission()
    assert second.is_probe
    late = await breaker.report([(first.generation, WELL)])
    assert late.state is State.HALF_OPEN
    assert (await circuit(redis_client, "b").report([(second.generation, WELL)])).state is State.CLOSED


async def test_a_due_retry_can_be_the_probe_and_one_that_is_not_due_cannot(redis_client: Redis) -> None:
    breaker = await opened_circuit(redis_client)
    await redis_client.delete(NAMES.alert_queue)
    seconds, _ = await redis_client.time()
    await redis_client.zadd(keys.RETRY_MOOG, {b"waiting": (seconds + 60) * 1000})
    assert not (await breaker.permission()).may_send
    await redis_client.zadd(keys.RETRY_MOOG, {b"due": (seconds - 60) * 1000})
    assert (await breaker.permission()).is_probe


async def test_a_circuit_opened_by_hand_stays_open_for_its_time(redis_client: Redis) -> None:
    await redis_client.set(keys.CIRCUIT_STATE, "OPEN")
    told = await circuit(redis_client).permission()
    assert (told.state, told.may_send) == (State.OPEN, False)
    assert told.wait > 50


async def test_an_idle_circuit_closes_only_when_nothing_is_left_to_probe_with(redis_client: Redis) -> None:
    await circuit(redis_client).report([(0, FAILED)] * 3)

    async def idle() -> Idle:
        return await close_if_idle(redis_client, SETTINGS, NAMES)

    assert await idle() is Idle.WAIT
    await open_time_passes(redis_client)
    await redis_client.lpush(NAMES.alert_queue, b"an alert")
    assert await idle() is Idle.WAIT
    await redis_client.delete(NAMES.alert_queue)
    await redis_client.lpush(NAMES.moog_dlq, b"a dead letter")
    assert await idle() is Idle.EMPTY
    await redis_client.delete(NAMES.moog_dlq)
    assert await idle() is Idle.CLOSED
    assert (await read(redis_client)).state is State.CLOSED
    assert await redis_client.get(keys.CIRCUIT_FAILURES) is None
    assert await idle() is Idle.WAIT


async def test_a_redis_that_is_full_does_not_keep_the_circuit_from_learning(redis_client: Redis) -> None:
    breaker = circuit(redis_client)
    await redis_client.config_set("maxmemory", "1")
    try:
        assert (await breaker.report([(0, FAILED)] * SETTINGS.threshold)).state is State.OPEN
        # As if it had been opened by hand: its time begins with whoever looks first.
        await redis_client.delete(keys.CIRCUIT_OPENED_AT)
        assert (await breaker.permission()).wait == SETTINGS.open_seconds
        await redis_client.delete(keys.CIRCUIT_OPENED_AT)
        assert await close_if_idle(redis_client, SETTINGS, NAMES) is Idle.WAIT
        await redis_client.config_set("maxmemory", "0")
        await open_time_passes(redis_client)
        await redis_client.lpush(NAMES.alert_queue, b"an alert")
        await redis_client.config_set("maxmemory", "1")
        probe = await breaker.permission()
        assert probe.is_probe
        assert (await breaker.report([(probe.generation, WELL)])).state is State.CLOSED
    finally:
        await redis_client.config_set("maxmemory", "0")


async def test_a_clock_that_was_set_back_does_not_keep_the_circuit_open(redis_client: Redis) -> None:
    breaker = await opened_circuit(redis_client)
    seconds, _ = await redis_client.time()
    await redis_client.set(keys.CIRCUIT_OPENED_AT, seconds + 3600)
    assert not (await breaker.permission()).may_send
    await open_time_passes(redis_client)
    assert (await breaker.permission()).is_probe


async def test_a_clock_that_was_set_back_does_not_keep_an_idle_circuit_open(redis_client: Redis) -> None:
    await opened_circuit(redis_client)
    await redis_client.delete(NAMES.alert_queue)
    seconds, _ = await redis_client.time()
    await redis_client.set(keys.CIRCUIT_OPENED_AT, seconds + 3600)
    assert await close_if_idle(redis_client, SETTINGS, NAMES) is Idle.WAIT
    await open_time_passes(redis_client)
    assert await close_if_idle(redis_client, SETTINGS, NAMES) is Idle.CLOSED
