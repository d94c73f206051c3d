"""Every state of the shared limiter over few ticks, each hole put back, and the real script with one."""

import pytest
from redis.asyncio import Redis

from services import rate_limiter
from services.rate_limiter import RateLimiter
from tests.protocol.limiter_model import HOLES, LIMIT, LimiterModel
from tests.protocol.mutating import mutate


def test_no_window_holds_more_than_the_limit_and_everybody_has_a_turn() -> None:
    seen = LimiterModel().explored()
    print(f"\nthe limiter: {seen.states} states, {seen.steps} steps, {seen.ends} good ends")  # noqa: T201  (with -s)
    assert seen.counterexample is None, f"\n{seen.counterexample}"
    assert seen.ends


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: type(hole).__name__)
def test_a_hole_that_is_put_back_is_found(hole: LimiterModel) -> None:
    seen = hole.explored()
    print(f"\n{type(hole).__doc__}\n{seen.counterexample}")  # noqa: T201
    assert seen.counterexample is not None, f"in none of {seen.states} states: {type(hole).__doc__}"


async def granted(client: Redis) -> int:
    """Return how many tokens two forwarders get who ask three times each within a period."""
    holders = [RateLimiter(client, "mutt:rate_limit:moog", name) for name in "ab"]
    grants = [await holder.acquire(1, limit=LIMIT, period=3600) for holder in holders * 3]
    return sum(grant.tokens for grant in grants)


async def test_the_real_script_grants_no_more_and_one_with_tokens_alike_does(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await granted(redis_client) == LIMIT
    await redis_client.flushall()
    mutate(monkeypatch, rate_limiter._script, "ARGV[4] .. ':' .. index", "index")
    assert await granted(redis_client) > LIMIT
