"""The shared limiter on a real Redis, beside a plain model of a sliding window."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mutt.settings import QueueNames
from services.rate_limiter import Grant, RateLimiter

KEY = QueueNames().rate_limit


class Window:
    """The model: the times (µs) at which tokens were taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def expect(self, wanted: int, limit: int, period_us: int, now: int) -> tuple[int, int]:
        """Return the tokens that must be granted at `now`, and the wait in ms for one more."""
        self.taken = [at for at in self.taken if now - period_us < at <= now]
        granted = max(0, min(wanted, limit - len(self.taken)))
        self.taken += [now] * granted
        if granted == wanted:
            return granted, 0
        leaving = self.taken[len(self.taken) - limit]
        return granted, max(1, -(-(leaving + period_us - now) // 1000))


@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=40),
    period=st.sampled_from([0.0004, 0.002, 0.01, 60.0]),
)
async def test_every_grant_is_the_models(
    redis_client: Redis, steps: Sequence[tuple[int, int, int]], period: float
) -> None:
    await redis_client.delete(KEY)
    holders = [RateLimiter(redis_client, KEY, name) for name in ("a", "b")]
    model = Window()
    for holder, wanted, limit in steps:
        grant = await holders[holder].acquire(wanted, limit=limit, period=period)
        expected = model.expect(wanted, limit, round(period * 1_000_000), grant.at_us)
        assert (grant.tokens, grant.wait_ms) == expected
        # The key lives for a second longer than its period, which a busy machine may let pass.
        assert await redis_client.zcard(KEY) == len(model.taken) or not await redis_client.exists(KEY)


async def test_more_tokens_than_one_command_takes_are_granted_at_once(redis_client: Redis) -> None:
    grant = await RateLimiter(redis_client, KEY, "a").acquire(1300, limit=1250, period=60.0)
    assert (grant.tokens, await redis_client.zcard(KEY)) == (1250, 1250)


async def test_two_holders_share_one_limit(redis_client: Redis) -> None:
    limiters = [RateLimiter(redis_client, KEY, name) for name in ("a", "b", "c")]
    grants: list[Grant] = await asyncio.gather(
        *(limiter.acquire(1, limit=50, period=60.0) for limiter in limiters for _ in range(25))
    )
    assert sum(grant.tokens for grant in grants) == 50


async def test_the_wait_is_long_enough_and_no_longer(redis_client: Redis) -> None:
    limiter = RateLimiter(redis_client, KEY, "a")
    first = await limiter.acquire(2, limit=2, period=2.0)
    free = first.at_us + 2_000_000
    grant = await limiter.acquire(1, limit=2, period=2.0)
    assert grant.tokens == 0
    while grant.tokens == 0:
        assert free <= grant.at_us + grant.wait_ms * 1000 < free + 1000
        grant = await limiter.acquire(1, limit=2, period=2.0)
    assert grant.at_us >= free


async def test_the_key_goes_with_the_last_token(redis_client: Redis) -> None:
    await RateLimiter(redis_client, KEY, "a").acquire(3, limit=50, period=60.0)
    assert 0 < await redis_client.pttl(KEY) <= 61_000
    assert await redis_client.type(KEY) == b"zset"


async def test_tokens_of_a_clock_that_was_ahead_do_not_block(redis_client: Redis) -> None:
    seconds, _ = await redis_client.time()
    await redis_client.zadd(KEY, {f"future:{index}": (seconds + 3600) * 1_000_000 for index in range(50)})
    grant = await RateLimiter(redis_client, KEY, "a").acquire(1, limit=50, period=1.0)
    assert grant.tokens == 1


async def test_a_key_of_another_type_is_left_alone(redis_client: Redis) -> None:
    await redis_client.set(KEY, "not a window")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await RateLimiter(redis_client, KEY, "a").acquire(1, limit=50, period=1.0)
    assert await redis_client.get(KEY) == b"not a window"
