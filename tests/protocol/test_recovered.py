"""How recovered entries are claimed: those that were recovered once in small groups, others alone."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from mutt.settings import AlerterSettings, MoogForwarderSettings, load
from services.protocol.actions import Actions
from services.protocol.lane import CLAIM_MOST, RECOVERED_TOGETHER, alerter_lane, moog_lane
from services.protocol.worker import Worker
from tests.protocol.real_lane import LANE, QUEUE, new_worker, recoveries_of

# Entries with their counts in the order of their claim, and the batches that they make where three go together.
COUNTS = {b"1": 1, b"2": 1, b"3": 1, b"4": 1, b"5": 2, b"6": 2, b"7": 1, b"8": 0, b"9": 0, b"10": 1, b"11": 0}
BATCHES = [
    ([b"1", b"2", b"3"], 1),
    ([b"4"], 1),
    ([b"5"], 2),
    ([b"6"], 2),
    ([b"7"], 1),
    ([b"8", b"9"], 0),
    ([b"10"], 1),
    ([b"11"], 0),
]


async def started(client: Redis, together: int) -> Worker:
    worker = new_worker(client, "x", replace(LANE, together=together))
    await worker.start()
    return worker


async def fill(client: Redis, key: str, counts: Mapping[bytes, int]) -> None:
    await client.lpush(key, *counts)
    await client.hset(
        LANE.recoveries, mapping={recoveries_of(entry): count for entry, count in counts.items() if count}
    )


async def claims(worker: Worker, most: int = CLAIM_MOST) -> list[tuple[list[bytes], int]]:
    seen = []
    while (batch := await worker.claim(most)) is not None:
        seen.append((batch.entries, batch.recoveries))
    return seen


async def test_entries_that_were_recovered_once_are_claimed_in_groups_and_others_alone(redis_client: Redis) -> None:
    worker = await started(redis_client, together=3)
    await fill(redis_client, QUEUE, COUNTS)
    assert await claims(worker) == BATCHES


async def test_what_is_adopted_makes_the_same_groups(redis_client: Redis) -> None:
    worker = await started(redis_client, together=3)
    await fill(redis_client, worker.processing, COUNTS)
    assert await claims(worker) == BATCHES


async def test_a_group_is_never_larger_than_a_batch(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await started(redis_client, together=32)
    await fill(redis_client, QUEUE, dict.fromkeys((b"1", b"2", b"3"), 1))
    assert await claims(worker, most=2) == [([b"1", b"2"], 1), ([b"3"], 1)]
    monkeypatch.setattr("services.protocol.worker.CLAIM_BYTES", 250)
    entries = [letter * 100 for letter in (b"a", b"b", b"c")]
    await fill(redis_client, QUEUE, dict.fromkeys(entries, 1))
    assert await claims(worker) == [(entries[:2], 1), (entries[2:], 1)]


async def test_only_what_was_in_the_group_that_died_is_alone_from_then_on(redis_client: Redis) -> None:
    await redis_client.lpush(QUEUE, b"1", b"2", b"3", b"4")
    for recoveries in (0, 1):
        batch = await (await started(redis_client, together=2)).claim(10)
        assert batch is not None
        assert batch.recoveries == recoveries
    worker, seen = await started(redis_client, together=2), []
    while (batch := await worker.claim(10)) is not None:
        seen.append((batch.entries, batch.recoveries))
        await worker.settle(batch.lease, batch.entries, Actions())
    assert seen == [([b"1"], 2), ([b"2"], 2), ([b"3", b"4"], 1)]
    assert not await redis_client.exists(LANE.recoveries, worker.processing)


@pytest.mark.parametrize(("retries", "together"), [(0, 1), (1, 1), (2, RECOVERED_TOGETHER), (3, RECOVERED_TOGETHER)])
def test_an_alerter_forms_groups_only_where_two_recoveries_make_no_dead_letter(retries: int, together: int) -> None:
    assert alerter_lane(load(AlerterSettings, {"ALERTER_MAX_RETRIES": str(retries)})).together == together


def test_a_forwarder_forms_no_groups() -> None:
    assert moog_lane(load(MoogForwarderSettings, {"MOOG_WEBHOOK_URL": "https://moog.example"})).together == 1
