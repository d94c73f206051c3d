import asyncio

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mutt import keys
from services.protocol.actions import Actions
from services.protocol.janitor import Janitor
from services.protocol.lane import FencedError, Lane, SideList
from services.protocol.worker import Worker
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments
from tests.harness.waiting import eventually

QUEUE, ALERTS = "mutt:ingest_queue", "mutt:alert_queue"
LANE = Lane(
    "alerter",
    QUEUE,
    "mutt:processing:alerter",
    "mutt:heartbeat:alerter",
    interval=10,
    timeout=30,
    side=SideList(keys.AUDIT_PROCESSING_PREFIX, keys.AUDIT_PENDING),
)


def new_worker(client: Redis, pod: str = "pod-a") -> Worker:
    instruments = CommonInstruments(CollectorRegistry())
    return Worker(LANE, pod, client, Health("alerter", instruments), instruments)


@pytest.fixture
async def worker(redis_client: Redis) -> Worker:
    made = new_worker(redis_client)
    await made.start()
    return made


async def fill(client: Redis, *entries: bytes) -> None:
    for entry in entries:
        await client.lpush(QUEUE, entry)


async def listed(client: Redis, key: str) -> list[bytes]:
    return [item for item in await client.lrange(key, 0, -1) if isinstance(item, bytes)]


async def milliseconds(client: Redis) -> float:
    seconds, micros = await client.time()
    return seconds * 1000 + micros / 1000


async def expire_heartbeat(client: Redis, pod: str = "pod-a") -> None:
    await client.delete(LANE.heartbeat(pod))


async def test_a_claim_takes_the_oldest_first_and_leaves_the_rest(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2", b"3")
    batch = await worker.claim(2)
    assert batch is not None
    assert batch.entries == [b"1", b"2"]
    assert await listed(redis_client, QUEUE) == [b"3"]
    assert await listed(redis_client, worker.processing) == [b"2", b"1"]


async def test_a_blocking_claim_takes_what_comes_and_then_more(redis_client: Redis, worker: Worker) -> None:
    claim = asyncio.create_task(worker.claim(10, [ALERTS, keys.RETRY_MOOG], block=60))
    await asyncio.sleep(0)
    await redis_client.rpush(ALERTS, "x", "y")
    await redis_client.zadd(keys.RETRY_MOOG, {"z": 1})
    await fill(redis_client, b"1", b"2")
    batch = await claim
    assert batch is not None
    rest = await worker.claim(10)
    assert batch.entries + (rest.entries if rest else []) == [b"1", b"2"]
    assert batch.depths == [2, 1]


async def test_a_claim_stops_at_its_bytes(redis_client: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.protocol.worker.CLAIM_BYTES", 250)
    await fill(redis_client, b"a" * 100, b"b" * 100, b"c" * 100)
    first = await worker.claim(10)
    assert first is not None
    assert [entry[:1] for entry in first.entries] == [b"a", b"b"]


async def test_a_settle_pushes_what_follows_and_only_once(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2", b"3")
    batch = await worker.claim(10)
    assert batch is not None
    actions = Actions()
    actions.push(0, ALERTS, b"alert")
    actions.push_first(1, QUEUE, b"retry")
    actions.push_delayed(2, keys.RETRY_MOOG, b"later", 1.5)
    before = await milliseconds(redis_client)
    assert (await worker.settle(batch.lease, batch.entries, actions)).found == 3
    after = await milliseconds(redis_client)
    again = await worker.settle(batch.lease, batch.entries, actions)
    assert (again.found, again.missing) == (0, frozenset({0, 1, 2}))
    assert await listed(redis_client, ALERTS) == [b"alert"]
    assert await listed(redis_client, QUEUE) == [b"retry"]
    assert await redis_client.zcard(keys.RETRY_MOOG) == 1
    due = await redis_client.zscore(keys.RETRY_MOOG, b"later")
    assert due is not None
    assert before - 1 <= due - 1500 <= after + 1
    assert await redis_client.exists(worker.processing) == 0


async def test_a_settle_in_the_middle_pushes_only_for_what_it_finds(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2", b"3")
    batch = await worker.claim(10)
    assert batch is not None
    await redis_client.lrem(worker.processing, 1, "2")
    actions = Actions()
    for index in range(3):
        actions.push(index, ALERTS, b"alert %d" % index)
    settled = await worker.settle(batch.lease, batch.entries, actions)
    assert (settled.found, settled.missing) == (2, frozenset({1}))
    assert await listed(redis_client, ALERTS) == [b"alert 2", b"alert 0"]


async def test_two_batches_of_one_worker_settle_in_either_order(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2", b"3", b"4")
    old, new = await worker.claim(2), await worker.claim(2)
    assert old is not None
    assert new is not None
    assert (await worker.settle(new.lease, new.entries, Actions())).found == 2
    assert await listed(redis_client, worker.processing) == [b"2", b"1"]
    assert (await worker.settle(old.lease, old.entries, Actions())).found == 2


async def test_a_stalled_worker_cannot_settle_a_recovered_batch(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    stale = await worker.claim(10)
    assert stale is not None
    successor = new_worker(redis_client)
    assert await successor.start() == 1
    actions = Actions()
    actions.push(0, ALERTS, b"alert")
    with pytest.raises(FencedError):
        await worker.settle(stale.lease, stale.entries, actions)
    with pytest.raises(FencedError):
        await worker.claim(10)
    assert await redis_client.exists(ALERTS) == 0
    fresh = await successor.claim(10)
    assert fresh is not None
    assert (fresh.entries, fresh.recoveries) == ([b"1"], 1)


async def test_a_displaced_worker_goes_on_under_another_name_and_leaves_the_old_one(
    redis_client: Redis, worker: Worker
) -> None:
    successor = new_worker(redis_client)
    await successor.start()
    await worker.beat()
    assert worker.lease.pod.startswith("pod-a.")
    assert await redis_client.get(LANE.heartbeat("pod-a")) == successor.lease.token.encode()
    await fill(redis_client, b"1")
    batch = await worker.claim(10)
    assert batch is not None
    assert await listed(redis_client, LANE.processing(worker.lease.pod)) == [b"1"]


async def test_an_expired_heartbeat_is_taken_again_under_a_new_token(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    batch = await worker.claim(10)
    assert batch is not None
    await expire_heartbeat(redis_client)
    await worker.beat()
    assert worker.lease.pod == "pod-a"
    assert worker.lease.token != batch.lease.token
    with pytest.raises(FencedError):
        await worker.settle(batch.lease, batch.entries, Actions())
    adopted = await worker.claim(10)
    assert adopted is not None
    assert adopted.entries == [b"1"]
    assert (await worker.settle(adopted.lease, adopted.entries, Actions())).found == 1


async def test_two_beats_at_once_do_not_take_each_other_for_strangers(redis_client: Redis, worker: Worker) -> None:
    await expire_heartbeat(redis_client)
    await asyncio.gather(worker.beat(), worker.beat())
    assert worker.lease.pod == "pod-a"
    assert await redis_client.get(LANE.heartbeat("pod-a")) == worker.lease.token.encode()


async def test_a_worker_adopts_what_a_lost_reply_left_in_its_list(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2")
    held = await worker.claim(1)
    assert held is not None
    await redis_client.lmove(QUEUE, worker.processing, "RIGHT", "LEFT")  # its reply never came
    worker.doubt()
    adopted = await worker.claim(10)
    assert adopted is not None
    assert adopted.entries == [b"2"]
    assert await worker.claim(10) is None


async def test_identical_entries_are_adopted_as_often_as_they_are_listed(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"same", b"same", b"same")
    held = await worker.claim(1)
    assert held is not None
    assert held.entries == [b"same"]
    worker.forget_all()
    adopted = await worker.claim(10)
    assert adopted is not None
    assert adopted.entries == [b"same"]
    more = await worker.claim(10)
    assert more is not None
    assert more.entries == [b"same", b"same"]


async def test_a_recovery_keeps_the_order_and_is_claimed_one_by_one(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2", b"3")
    await worker.claim(2)
    successor = new_worker(redis_client)
    await successor.start()
    assert await listed(redis_client, QUEUE) == [b"3", b"2", b"1"]
    claims = [await successor.claim(10) for _ in range(3)]
    assert [(claim.entries, claim.recoveries) for claim in claims if claim] == [([b"1"], 1), ([b"2"], 1), ([b"3"], 0)]


async def test_a_batch_stops_before_a_recovered_entry(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    await worker.claim(1)
    successor = new_worker(redis_client)
    await successor.start()
    await redis_client.rpush(QUEUE, b"before")
    first, second = await successor.claim(10), await successor.claim(10)
    assert first is not None
    assert second is not None
    assert (first.entries, first.recoveries) == ([b"before"], 0)
    assert (second.entries, second.recoveries) == ([b"1"], 1)
    await successor.settle(second.lease, second.entries, Actions())
    assert await redis_client.exists(LANE.recoveries) == 0


async def test_an_orderly_end_hands_back_without_counting(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2")
    await worker.claim(10)
    await worker.finish()
    assert await listed(redis_client, QUEUE) == [b"2", b"1"]
    assert await redis_client.exists(LANE.recoveries, LANE.heartbeat("pod-a"), worker.processing) == 0


async def test_an_end_after_a_take_over_touches_nothing_of_the_successor(redis_client: Redis, worker: Worker) -> None:
    successor = new_worker(redis_client)
    await successor.start()
    await fill(redis_client, b"1")
    await successor.claim(10)
    await worker.finish()
    assert await listed(redis_client, successor.processing) == [b"1"]
    assert await redis_client.get(LANE.heartbeat("pod-a")) == successor.lease.token.encode()


async def test_the_side_list_goes_home_to_the_pending_rows(redis_client: Redis, worker: Worker) -> None:
    await redis_client.lpush(keys.AUDIT_PENDING, b"row 1", b"row 2")
    batch = await worker.side().claim(10)
    assert batch is not None
    assert batch.entries == [b"row 1", b"row 2"]
    successor = new_worker(redis_client)
    await successor.start()
    assert await listed(redis_client, keys.AUDIT_PENDING) == [b"row 2", b"row 1"]
    assert await redis_client.exists(QUEUE, LANE.recoveries) == 0


async def test_the_janitor_recovers_the_dead_and_spares_the_living(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1", b"2")
    dead = new_worker(redis_client, "pod-b")
    await dead.start()
    await dead.claim(1)
    living = await worker.claim(1)
    assert living is not None
    await expire_heartbeat(redis_client, "pod-b")
    lane = Lane(**{**{name: getattr(LANE, name) for name in Lane.__slots__}, "timeout": 0})
    assert await Janitor(lane, redis_client, CommonInstruments(CollectorRegistry())).sweep() == 1
    assert await listed(redis_client, QUEUE) == [b"1"]
    assert await listed(redis_client, worker.processing) == [b"2"]


async def test_the_janitor_waits_after_redis_came_back(redis_client: Redis) -> None:
    dead = new_worker(redis_client, "pod-b")
    await dead.start()
    await fill(redis_client, b"1")
    await dead.claim(1)
    await expire_heartbeat(redis_client, "pod-b")
    lane = Lane(**{**{name: getattr(LANE, name) for name in Lane.__slots__}, "timeout": 10_000_000})
    assert await Janitor(lane, redis_client, CommonInstruments(CollectorRegistry())).sweep() == 0
    assert await listed(redis_client, LANE.processing("pod-b")) == [b"1"]


async def test_a_wrong_type_is_refused_before_anything_is_written(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    batch = await worker.claim(1)
    assert batch is not None
    await redis_client.set(ALERTS, "no list")
    actions = Actions()
    actions.push(0, QUEUE, b"other")
    actions.push(0, ALERTS, b"alert")
    with pytest.raises(ResponseError, match="WRONGTYPE mutt:alert_queue is a string, not a list"):
        await worker.settle(batch.lease, batch.entries, actions)
    assert await listed(redis_client, worker.processing) == [b"1"]
    assert await redis_client.exists(QUEUE) == 0


async def test_scripts_are_loaded_again_when_redis_has_forgotten_them(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, b"1")
    await redis_client.script_flush()
    assert await worker.claim(1) is not None


async def test_a_blocked_claim_ends_at_once_when_the_service_stops(redis_url: str, redis_client: Redis) -> None:
    client = Redis.from_url(redis_url, client_name="mutt-test-blocking")
    worker = new_worker(client)
    await worker.start()
    stopping = asyncio.Event()
    wake = asyncio.create_task(worker.wake_at(stopping))
    claim = asyncio.create_task(worker.claim(1, block=60))

    async def is_blocked() -> bool:
        return any("b" in each["flags"] for each in await redis_client.client_list())

    await eventually(is_blocked, "a blocked client")
    stopping.set()
    assert await asyncio.wait_for(claim, 45) is None
    await wake
    await client.aclose()
