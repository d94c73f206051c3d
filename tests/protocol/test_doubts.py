"""What a worker holds when its heartbeat, its lease or Redis was lost in the middle of a step."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from services.protocol.actions import Actions
from services.protocol.lane import FencedError
from tests.harness.proxy import Proxy
from tests.harness.waiting import eventually
from tests.protocol.real_lane import LANE, QUEUE, FaultyRedis, listed, new_janitor, new_lane, new_worker, recoveries_of


@pytest.fixture
async def faulty(redis_url: str) -> AsyncIterator[FaultyRedis]:
    client = FaultyRedis.from_url(redis_url)
    assert isinstance(client, FaultyRedis)
    yield client
    await client.aclose()


async def wait_until_blocked(client: Redis) -> None:
    async def is_blocked() -> bool:
        return any("b" in each["flags"] for each in await client.client_list())

    await eventually(is_blocked, "a blocked client")


async def test_a_refused_settle_takes_nothing_out_of_flight_that_was_adopted_since(redis_client: Redis) -> None:
    worker = new_worker(redis_client, "x")
    await worker.start()
    await redis_client.lpush(QUEUE, b"1")
    old = await worker.claim(10)
    assert old is not None
    await redis_client.delete(LANE.heartbeat("x"))
    await worker.beat()
    adopted = await worker.claim(10)
    assert adopted is not None
    with pytest.raises(FencedError):
        await worker.settle(old.lease, old.entries, Actions())
    assert await worker.claim(10) is None
    assert (await worker.settle(adopted.lease, adopted.entries, Actions())).found == 1


async def test_what_a_blocked_claim_brings_under_a_lost_lease_is_adopted_once(redis_client: Redis) -> None:
    worker = new_worker(redis_client, "x")
    await worker.start()
    claim = asyncio.create_task(worker.claim(10, block=60))
    await wait_until_blocked(redis_client)
    await redis_client.delete(LANE.heartbeat("x"))
    await worker.beat()
    await redis_client.lpush(QUEUE, b"1")
    with pytest.raises(FencedError):
        await claim
    adopted = await worker.claim(10)
    assert adopted is not None
    assert adopted.entries == [b"1"]
    assert await worker.claim(10) is None


async def test_what_a_blocked_claim_brings_to_a_name_that_was_taken_stays_with_that_name(redis_client: Redis) -> None:
    worker, successor = new_worker(redis_client, "x"), new_worker(redis_client, "x")
    await worker.start()
    claim = asyncio.create_task(worker.claim(10, block=60))
    await wait_until_blocked(redis_client)
    await successor.start()
    await worker.beat()
    await redis_client.lpush(QUEUE, b"1")
    with pytest.raises(FencedError):
        await claim
    assert await worker.claim(10) is None
    adopted = await successor.claim(10)
    assert adopted is not None
    assert (await successor.settle(adopted.lease, adopted.entries, Actions())).found == 1


async def test_a_full_redis_that_lets_no_claim_wait_is_no_redis_that_was_away(redis_client: Redis) -> None:
    worker = new_worker(redis_client, "x")
    await worker.start()
    await redis_client.config_set("maxmemory", "1")
    try:
        assert await worker.claim(10, block=0.1) is None
    finally:
        await redis_client.config_set("maxmemory", "0")


async def test_a_displaced_worker_adopts_nothing_of_its_successor(redis_client: Redis) -> None:
    worker, successor = new_worker(redis_client, "x"), new_worker(redis_client, "x")
    await worker.start()
    await successor.start()
    await redis_client.lpush(QUEUE, b"1")
    assert await successor.claim(10) is not None
    worker.doubt()
    with pytest.raises(FencedError):
        await worker.claim(10)


async def test_a_doubt_that_arises_while_the_own_list_is_read_asks_for_another_look(faulty: FaultyRedis) -> None:
    worker = new_worker(faulty, "x")
    await worker.start()
    await faulty.lpush(QUEUE, b"1")
    held = await worker.claim(10)
    assert held is not None

    async def give_up() -> None:
        worker.give_up(held.entries, held.lease)

    worker.doubt()
    faulty.before = ("adopt", give_up)
    assert await worker.claim(10) is None
    adopted = await worker.claim(10)
    assert adopted is not None
    assert adopted.entries == [b"1"]


async def test_a_recovered_entry_is_adopted_alone_with_its_count(redis_client: Redis) -> None:
    worker = new_worker(redis_client, "x")
    await worker.start()
    await redis_client.hset(LANE.recoveries, recoveries_of(b"2"), 3)
    await redis_client.lpush(worker.processing, b"1", b"2", b"3")
    adopted = [await worker.claim(10) for _ in range(4)]
    assert [(each.entries, each.recoveries) for each in adopted if each] == [([b"1"], 0), ([b"2"], 3), ([b"3"], 0)]


async def test_an_orderly_end_leaves_nothing_that_was_claimed_beside_it(faulty: FaultyRedis) -> None:
    worker = new_worker(faulty, "x")
    side = worker.side()
    await worker.start()
    await faulty.lpush(keys.AUDIT_PENDING, b"row")
    faulty.before = ("release", lambda: side.claim(10))
    await worker.finish()
    assert await listed(faulty, keys.AUDIT_PENDING) == [b"row"]


async def test_the_janitor_that_alone_found_redis_away_waits(
    redis_client: Redis, redis_url: str, proxy: Callable[[str], Proxy]
) -> None:
    await redis_client.lpush(LANE.processing("dead"), b"1")
    between = proxy(redis_url)
    async with Redis.from_url(between.url, single_connection_client=True) as client:
        janitor = new_janitor(client, timeout=3600)
        between.cut()
        with pytest.raises((RedisError, OSError)):
            await janitor.sweep_once()
        between.mend()
        # Whatever the age of the server, which would keep it from sweeping too.
        janitor._lane = new_lane(timeout=0)
        assert await janitor.sweep() == 0
        janitor._trusted_since = 0
        assert await janitor.sweep() == 1
