"""Unmatched patterns: counted by the settle, one meta-alert a window, made when the settle asks for it."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mutt import keys
from services.protocol import worker as worker_module
from services.protocol.actions import Actions, PatternGroup, PatternLimits
from services.protocol.worker import Worker
from tests.protocol.mutating import mutate
from tests.protocol.real_lane import ALERTS, QUEUE, FaultyRedis, listed, new_worker

THRESHOLD = 3


@pytest.fixture
async def worker(redis_client: Redis) -> Worker:
    made = new_worker(redis_client, "pod-a")
    await made.start()
    return made


_numbers = itertools.count()


async def fill(client: Redis, count: int) -> None:
    for number in itertools.islice(_numbers, count):
        await client.lpush(QUEUE, b"%d" % number)


async def everything(client: Redis) -> dict[bytes, bytes | None]:
    return {key: await client.dump(key) async for key in client.scan_iter()}


def group(pattern: str, entries: Iterable[int]) -> PatternGroup:
    counter, info = f"mutt:unhandled:{pattern}", f"mutt:unhandled-info:{pattern}"
    return PatternGroup(counter, info, f"mutt:unhandled-hours:{pattern}", "link <num>", "link 7", list(entries))


def pattern_actions(*groups: PatternGroup, cap: int = 10) -> Actions:
    limits = PatternLimits(threshold=3, expiry=60, cap=cap, overflow_key="mutt:unhandled:overflow", alert_queue=ALERTS)
    return Actions(groups=list(groups), limits=limits, meta_alert=lambda entry: b"meta %d" % entry)


async def settle_patterns(client: Redis, worker: Worker, count: int, actions: Actions) -> int:
    await fill(client, count)
    batch = await worker.claim(count)
    assert batch is not None
    return (await worker.settle(batch.lease, batch.entries, actions)).metas


async def test_a_pattern_brings_exactly_one_meta_alert_a_window(redis_client: Redis, worker: Worker) -> None:
    assert await settle_patterns(redis_client, worker, 2, pattern_actions(group("p", (0, 1)))) == 0
    assert await settle_patterns(redis_client, worker, 4, pattern_actions(group("p", (0, 1, 2, 3)))) == 1
    assert await settle_patterns(redis_client, worker, 9, pattern_actions(group("p", range(9)))) == 0
    assert await listed(redis_client, ALERTS) == [b"meta 0"]
    assert await listed(redis_client, keys.AUDIT_PENDING) == [b"meta 0"]
    assert await redis_client.get("mutt:unhandled:p") == b"15"
    assert await redis_client.hgetall("mutt:unhandled-info:p") == {b"template": b"link <num>", b"sample": b"link 7"}
    assert 0 < await redis_client.ttl("mutt:unhandled:p") <= 60


async def test_a_repeated_settle_counts_no_pattern_twice(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, 2)
    batch = await worker.claim(2)
    assert batch is not None
    for _ in range(3):
        await worker.settle(batch.lease, batch.entries, pattern_actions(group("p", (0, 1))))
    assert await redis_client.get("mutt:unhandled:p") == b"2"
    assert sum(map(int, await redis_client.hvals("mutt:unhandled-hours:p"))) == 2


async def test_a_pattern_is_counted_by_hour_for_a_day(redis_client: Redis, worker: Worker) -> None:
    hour = int((await redis_client.time())[0]) // 3600
    hours = "mutt:unhandled-hours:p"
    await redis_client.hset(hours, mapping={str(hour - back): 7 for back in (1, 22, 26, 900)})
    await settle_patterns(redis_client, worker, 3, pattern_actions(group("p", (0, 1, 2))))
    left = {int(field) - hour: int(count) for field, count in (await redis_client.hgetall(hours)).items()}
    # The hour may turn while this runs: then what is counted belongs to the next.
    assert sum(count for place, count in left.items() if place >= 0) == 3
    assert {place: count for place, count in left.items() if place < 0} == {-1: 7, -22: 7}
    assert 0 < await redis_client.ttl(hours) <= 60
    await settle_patterns(redis_client, worker, 2, pattern_actions(group("p", (0,)), group("q", (1,)), cap=1))
    assert not await redis_client.exists("mutt:unhandled-hours:q")


async def test_patterns_past_the_cap_count_as_overflow(redis_client: Redis, worker: Worker) -> None:
    actions = pattern_actions(group("p", (0,)), group("q", (1,)), group("r", (2,)), cap=2)
    await settle_patterns(redis_client, worker, 3, actions)
    assert await redis_client.exists("mutt:unhandled:p", "mutt:unhandled:q", "mutt:unhandled:r") == 2
    assert await redis_client.get("mutt:unhandled:overflow") == b"1"


async def test_a_settle_that_asks_for_a_meta_alert_has_done_nothing_yet(redis_client: Redis, worker: Worker) -> None:
    await settle_patterns(redis_client, worker, 2, pattern_actions(group("p", (0, 1))))
    await fill(redis_client, 6)
    batch = await worker.claim(6)
    assert batch is not None
    before = await everything(redis_client)
    actions = pattern_actions(group("q", (0, 1)), group("p", (2, 3)), group("r", (5, 4)))
    actions.push(0, ALERTS, b"alert")
    actions.meta_alert = None
    with pytest.raises(ValueError, match="nothing makes the meta-alert"):
        await worker.settle(batch.lease, batch.entries, actions)
    assert await everything(redis_client) == before
    actions.meta_alert = lambda entry: b"meta %d" % entry
    assert (await worker.settle(batch.lease, batch.entries, actions)).metas == 1
    assert await listed(redis_client, ALERTS) == [b"meta 2", b"alert"]
    assert await redis_client.mget("mutt:unhandled:p", "mutt:unhandled:q", "mutt:unhandled:r") == [b"4", b"2", b"2"]


@pytest.mark.parametrize("counted", range(4))
async def test_the_meta_alert_is_of_the_event_that_reaches_the_threshold(
    redis_client: Redis, worker: Worker, counted: int
) -> None:
    if counted:
        await settle_patterns(redis_client, worker, counted, pattern_actions(group("p", range(counted))))
    await redis_client.delete(ALERTS)
    await settle_patterns(redis_client, worker, 5, pattern_actions(group("q", (1, 3)), group("p", (4, 2, 0))))
    by = [b"meta %d" % entry for entry in (4, 2, 0)[THRESHOLD - counted - 1 :][:1]] if counted < THRESHOLD else []
    assert await listed(redis_client, ALERTS) == by


async def test_a_meta_alert_is_made_anew_where_others_have_counted_meanwhile(redis_url: str) -> None:
    client = FaultyRedis.from_url(redis_url)
    assert isinstance(client, FaultyRedis)
    mine, other = new_worker(client, "pod-a"), new_worker(client, "pod-b")
    await mine.start()
    await other.start()
    await fill(client, 5)
    batch, theirs = await mine.claim(3), await other.claim(2)
    assert batch is not None
    assert theirs is not None
    actions = pattern_actions(group("p", (0, 1, 2)))

    async def settles() -> None:
        await other.settle(theirs.lease, theirs.entries, pattern_actions(group("p", (0, 1))))

    def made(entry: int) -> bytes:
        if entry == 2:
            client.before = ("settle", settles)
        return b"meta %d" % entry

    actions.meta_alert = made
    assert (await mine.settle(batch.lease, batch.entries, actions)).metas == 1
    assert await client.get("mutt:unhandled:p") == b"5"
    assert await listed(client, ALERTS) == [b"meta 0"]
    await client.aclose()


async def test_a_counter_that_is_no_counter_leaves_the_batch_where_it_is(redis_client: Redis, worker: Worker) -> None:
    await fill(redis_client, 1)
    batch = await worker.claim(1)
    assert batch is not None
    await redis_client.lpush("mutt:unhandled:p", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE mutt:unhandled:p is a list, not a string"):
        await worker.settle(batch.lease, batch.entries, pattern_actions(group("p", (0,))))
    await redis_client.delete("mutt:unhandled:p")
    for value in ("x", "5.5", "1e3", " 7", "", "0x10"):
        await redis_client.set("mutt:unhandled:p", value)
        with pytest.raises(ResponseError, match="mutt:unhandled:p holds no number: delete it"):
            await worker.settle(batch.lease, batch.entries, pattern_actions(group("p", (0,))))
    assert await redis_client.llen(worker.processing) == 1


async def histories(client: Redis) -> None:
    for seed in range(4):
        await history(client, seed)
        await client.flushall()


async def history(client: Redis, seed: int) -> None:
    """Settle random batches, some of them twice; what is counted and pushed has to be what was settled."""
    chance = random.Random(seed)
    worker, counts, metas = new_worker(client, f"pod-{seed}"), Counter[str](), 0
    await worker.start()
    for _ in range(12):
        size = chance.randint(1, 6)
        names = [chance.choice("abcdefgh") for _ in range(size)]
        await fill(client, size)
        batch = await worker.claim(size)
        assert batch is not None
        actions = pattern_actions(
            *(group(name, [place for place in range(size) if names[place] == name]) for name in dict.fromkeys(names))
        )
        lost = set(chance.sample(range(size), chance.randint(0, size) // 3))
        for place in lost:
            await client.lrem(worker.processing, 1, batch.entries[place])  # type: ignore[arg-type]  # bytes will do
        for _ in range(chance.randint(1, 2)):
            metas += (await worker.settle(batch.lease, batch.entries, actions)).metas
        counts.update(name for place, name in enumerate(names) if place not in lost)
    for name, count in counts.items():
        assert await client.get(f"mutt:unhandled:{name}") == b"%d" % count
    crossed = sum(count >= THRESHOLD for count in counts.values())
    alerts = await listed(client, ALERTS)
    assert metas == len(alerts) == crossed
    assert await listed(client, keys.AUDIT_PENDING) == alerts
    assert all(alert.startswith(b"meta ") for alert in alerts)


async def test_each_pattern_is_counted_once_and_has_one_meta_alert(redis_client: Redis) -> None:
    await histories(redis_client)


HOLES = {
    "asked one event too late": ("missed <= size", "missed < size"),
    "not asked by the first event": ("if missed > 0 and", "if missed > 1 and"),
    "pushed again by each event past the threshold": (" and reached - hits < threshold", ""),
    "counted whole though some were gone": ("if not same then\n    hits = 0", "if false then\n    hits = 0"),
}


@pytest.mark.parametrize("hole", HOLES)
async def test_a_hole_in_the_count_of_patterns_is_found(
    hole: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, worker_module._settle, *HOLES[hole])
    with pytest.raises(AssertionError) as found:
        await histories(redis_client)
    assert "no longer there" not in str(found.value)
