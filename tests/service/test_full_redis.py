"""A Redis at its maxmemory: it refuses what takes memory, and must not refuse what would free it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from mutt import keys
from services.protocol.actions import Actions
from services.protocol.retries import claim_due
from services.protocol.worker import Worker
from tests.service.test_protocol import ALERTS, LANE, QUEUE, fill, listed, new_worker


@pytest.fixture
async def worker(redis_client: Redis) -> Worker:
    made = new_worker(redis_client)
    await made.start()
    return made


@pytest.fixture
async def full(redis_client: Redis) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Return what makes Redis refuse every command that may take memory."""

    async def fill_up() -> None:
        await redis_client.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await redis_client.set("a key", "more")

    yield fill_up
    await redis_client.config_set("maxmemory", "0")


async def test_a_redis_that_is_full_can_still_be_emptied(
    redis_client: Redis, worker: Worker, full: Callable[[], Awaitable[None]]
) -> None:
    await fill(redis_client, b"1", b"2", b"3")
    await redis_client.lpush(keys.AUDIT_PENDING, b"row")
    await redis_client.zadd(keys.RETRY_MOOG, {b"i" * 36 + b"{}": 1})
    await full()
    batch, row = await worker.claim(1), await worker.side().claim(1)
    due = (await claim_due(redis_client, worker, 1)).batch
    assert [found and found.entries for found in (batch, row, due)] == [[b"1"], [b"row"], [b"{}"]]
    actions = Actions()
    actions.push(0, ALERTS, b"alert")
    assert batch is not None
    assert (await worker.settle(batch.lease, batch.entries, actions)).found == 1
    assert await listed(redis_client, ALERTS) == [b"alert"]
    successor = new_worker(redis_client)
    assert await successor.start() == 2
    last = await successor.claim(1)
    assert last is not None
    assert (last.entries, last.recoveries) == ([b"{}"], 1)
    await successor.finish()
    assert await listed(redis_client, QUEUE) == [b"3", b"2", b"{}"]
    await redis_client.delete(LANE.heartbeat("pod-b"))
    expired = new_worker(redis_client, "pod-b")
    await expired.beat()
    assert await redis_client.get(LANE.heartbeat("pod-b")) == expired.lease.token.encode()


async def test_a_claim_into_a_list_of_the_wrong_type_takes_nothing_out(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    await redis_client.zadd(keys.RETRY_MOOG, {b"i" * 36 + b"{}": 1})
    await redis_client.set(worker.processing, "no list")
    worker._adopt_at = float("inf")
    with pytest.raises(ResponseError, match="WRONGTYPE mutt:processing:alerter:pod-a is a string, not a list"):
        await worker.claim(1)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await claim_due(redis_client, worker, 1)
    assert (await redis_client.llen(QUEUE), await redis_client.zcard(keys.RETRY_MOOG)) == (1, 1)
