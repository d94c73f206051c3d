"""What the settler tells the circuit on the real script: no more than it has to, and the same."""

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from mutt.circuit import Result
from mutt.settings import CircuitSettings, QueueNames
from services.moog_forwarder.settler import Ended, _Group
from services.protocol.circuit import KEYS, Circuit

Report = tuple[int, Result]


async def after(client: Redis, reports: list[Report], state: str) -> tuple[object, ...]:
    """Return the circuit after these reports, told at once to one of generation 1 that had failed once."""
    await client.flushall()
    await client.mset(dict(zip(KEYS, [state, "1", "1", "1", "me"], strict=True)))
    circuit = Circuit(client, CircuitSettings(threshold=3, open_seconds=60), QueueNames(), token="me", lease=10)
    standing = await circuit.report(reports)
    kept = await client.mget(KEYS[0], KEYS[1], KEYS[3], KEYS[4])
    return standing, kept, await client.exists(KEYS[2])


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Result)), max_size=12),
    st.sampled_from(["CLOSED", "HALF_OPEN", "OPEN"]),
)
async def test_a_circuit_that_is_told_once_that_moogsoft_is_well_is_as_one_told_each_time(
    redis_client: Redis, reports: list[Report], state: str
) -> None:
    told = _Group([Ended(report=report) for report in reports]).reports
    assert len(told) <= len(reports)
    assert await after(redis_client, told, state) == await after(redis_client, reports, state)


def test_what_is_well_is_told_once() -> None:
    well, failed = (1, Result.WELL), (1, Result.FAILED)
    reports = [well, well, failed, failed, well, well, (2, Result.WELL)]
    assert _Group([Ended(report=report) for report in reports]).reports == [
        well,
        failed,
        failed,
        well,
        (2, Result.WELL),
    ]
