"""Entries that wait for their retry in a sorted set, and the claim of those that are due."""

import time
from typing import NamedTuple

from redis.asyncio import Redis

from mutt import keys
from services.protocol.lane import CLAIM_BYTES, CLAIM_MOST, FencedError
from services.protocol.script import beside
from services.protocol.worker import Batch, Worker

_claim_due = beside(__file__, "claim_due")


class Due(NamedTuple):
    """What was due (None: nothing), and the seconds until more is (None: nothing waits)."""

    batch: Batch | None
    next_in: float | None


def member(event_id: str, entry: bytes) -> bytes:
    """Return an entry as the set holds it: two entries with the same bytes but for their ids stay two."""
    return event_id.encode() + entry


async def claim_due(redis: Redis, worker: Worker, most: int) -> Due:
    """Claim up to `most` due entries for the worker, the longest due first; raises FencedError or RedisError."""
    lease = worker.lease
    names = [worker.lane.heartbeat(lease.pod), worker.lane.processing(lease.pod), keys.RETRY_MOOG]
    status, next_ms, entries = await _claim_due(redis, names, [lease.token, min(most, CLAIM_MOST), CLAIM_BYTES])
    if not status:
        raise FencedError(f"{lease.pod} lost its heartbeat")
    worker.hold(entries, lease)
    batch = Batch(lease, entries, 0, [], time.monotonic()) if entries else None
    return Due(batch, None if next_ms < 0 else next_ms / 1000)
