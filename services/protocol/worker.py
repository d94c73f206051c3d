"""A worker of a lane: holds a name by its heartbeat, claims batches, settles them, adopts what it lost sight of.

The promise behind every method: an entry is at any instant in the queue, in a processing list, or in what followed from
it, and whoever dies leaves it where a janitor, a successor of the same name or the worker itself finds it.
"""

import asyncio
import secrets as random_source
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.logging_utils import get_logger
from services.protocol.actions import Actions
from services.protocol.lane import CLAIM_BYTES, CLAIM_MOST, FencedError, Lane, Lease
from services.protocol.script import beside
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments

ADOPT_SECONDS = 10.0
RECOVERY_COUNT_SECONDS = 86_400
RECOVER_MOST = 1000

_beat = beside(__file__, "beat")
_claim = beside(__file__, "claim")
_recover = beside(__file__, "recover")
_release = beside(__file__, "release")
_settle = beside(__file__, "settle")

log = get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """Claimed entries, the oldest first; `recoveries` > 0 marks a lone entry that was recovered so often.

    `depths` are those of the queues that the claim asked for; `claimed_at` is on the monotonic clock.
    """

    lease: Lease
    entries: list[bytes]
    recoveries: int
    depths: list[int]
    claimed_at: float


class Settled(NamedTuple):
    """What a settle found: `found` entries, `metas` meta-alerts pushed, and the indices of entries that were gone."""

    found: int
    metas: int
    missing: frozenset[int]


class Worker:
    """One name in a lane; `redis` must be a client whose socket timeout is above a blocking claim's."""

    def __init__(self, lane: Lane, pod: str, redis: Redis, health: Health, instruments: CommonInstruments) -> None:
        self.lane = lane
        self.lease = Lease(pod, _new_token())
        self._redis = redis
        self._health = health
        self._instruments = instruments
        self._held: Counter[bytes] = Counter()
        self._adopt_at = 0.0
        self._ttl_ms = int(lane.timeout * 1000)

    @property
    def processing(self) -> str:
        """Return this worker's processing list."""
        return self.lane.processing(self.lease.pod)

    async def start(self) -> int:
        """Take the name at once, even from a run that still lives, and hand back its leftovers; returns how many."""
        await self._redis.set(self.lane.heartbeat(self.lease.pod), self.lease.token, px=self._ttl_ms)
        recovered = await recover_all(self._redis, self.lane, self.lease.pod, self.lease.token)
        if recovered:
            self._instruments.recovered.inc(recovered)
            log.warning("handed back what an earlier run of this worker left", entries=recovered, pod=self.lease.pod)
        return recovered

    async def beat(self) -> None:
        """Refresh the heartbeat; where it expired or was taken, give up what is held and go on under a new token."""
        lease = self.lease
        answer = await _beat(self._redis, [self.lane.heartbeat(lease.pod)], [lease.token, self._ttl_ms])
        if answer == 1 or lease is not self.lease:
            return
        self.forget_all()
        if answer == 0:
            fresh = Lease(lease.pod, _new_token())
            key = self.lane.heartbeat(fresh.pod)
            if await self._redis.set(key, fresh.token, px=self._ttl_ms, nx=True):
                log.warning("the heartbeat had expired, going on under a new token", pod=fresh.pod)
                self.lease = fresh
                return
        self._instruments.displaced.inc()
        fresh = Lease(f"{lease.pod[:54]}.{random_source.token_hex(4)}", _new_token())
        log.error("another worker has taken this name, going on under another", name=lease.pod, new_name=fresh.pod)
        await self._redis.set(self.lane.heartbeat(fresh.pod), fresh.token, px=self._ttl_ms)
        self.lease = fresh

    async def beat_for_ever(self) -> None:
        """Refresh the heartbeat at the lane's interval, as long as the service's loop passes its checkpoints."""
        while True:
            await asyncio.sleep(self.lane.interval)
            if self._health.idle_seconds >= self.lane.timeout:
                # A stuck loop must lose its claims to others, not keep them for ever.
                log.error("no progress within the heartbeat's lifetime, letting it expire", pod=self.lease.pod)
                continue
            try:
                await self.beat()
            except (RedisError, OSError) as error:
                self.doubt()
                log.warning("the heartbeat was not refreshed", error=str(error))

    async def claim(self, most: int, depth_keys: Sequence[str] = (), *, block: float = 0) -> Batch | None:
        """Claim up to `most` entries; waits up to `block` seconds for the first. None means that nothing came.

        Entries of the own list that are not in flight come first, every 10 s and after `doubt`. Raises FencedError when
        the heartbeat is lost, RedisError as the client does (then call `doubt`, and `beat`).
        """
        if time.monotonic() >= self._adopt_at:
            adopted = await self._adopt(most)
            if adopted is not None:
                return adopted
        batch = await self._take(most, depth_keys)
        if batch is not None or block <= 0:
            return batch
        first: Any = await self._redis.blmove(self.lane.source, self.processing, block, "RIGHT", "LEFT")  # type: ignore[arg-type]
        if first is None:
            return None
        # Held before anything else can fail, so that an adoption does not see it as lost.
        self.hold([first])
        try:
            return await self._take(most - 1, depth_keys, first)
        except BaseException:
            self.forget([first])
            self.doubt()
            raise

    async def settle(self, lease: Lease, entries: list[bytes], actions: Actions) -> Settled:
        """Settle entries claimed under `lease`; raises FencedError when they are no longer this worker's."""
        fixed = [self.lane.heartbeat(lease.pod), self.lane.processing(lease.pod), self.lane.recoveries]
        names, args = actions.encode(entries, fixed)
        status, found, metas, missing = await _settle(self._redis, names, [lease.token, *args])
        self.forget(entries)
        if not status:
            self.doubt()
            raise FencedError(f"{lease.pod} lost its heartbeat: what it claimed is left to be claimed again")
        return Settled(found, metas, frozenset(index - 1 for index in missing))

    async def finish(self) -> None:
        """Hand back what is not settled, uncounted, and release the name; for an orderly end."""
        await recover_all(self._redis, self.lane, self.lease.pod, self.lease.token, orderly=True)
        await _release(self._redis, [self.lane.heartbeat(self.lease.pod)], [self.lease.token])

    def hold(self, entries: Sequence[bytes]) -> None:
        """Note entries as in flight; for claims that are made by other scripts than this class's."""
        self._held.update(entries)

    def forget(self, entries: Sequence[bytes]) -> None:
        """Note entries as no longer in flight: settled, or given up for a later adoption."""
        self._held.subtract(entries)
        for entry in entries:
            if self._held[entry] <= 0:
                del self._held[entry]

    def forget_all(self) -> None:
        """Give up everything in flight: the own list is read again before the next claim."""
        self._held.clear()
        self.doubt()

    def doubt(self) -> None:
        """Read the own list before the next claim: a reply may have been lost after its command ran."""
        self._adopt_at = 0.0

    async def depth(self) -> int:
        """Return the length of the own processing list."""
        return int(await self._redis.llen(self.processing))

    async def _take(self, most: int, depth_keys: Sequence[str], first: bytes | None = None) -> Batch | None:
        lease = self.lease
        names = [self.lane.heartbeat(lease.pod), self.lane.processing(lease.pod), self.lane.source]
        names += [self.lane.recoveries, *depth_keys]
        digest = "" if first is None else sha1(first, usedforsecurity=False).hexdigest()
        most = min(most, CLAIM_MOST)
        status, recoveries, depths, taken = await _claim(self._redis, names, [lease.token, most, CLAIM_BYTES, digest])
        if not status:
            raise FencedError(f"{lease.pod} lost its heartbeat")
        self.hold(taken)
        entries: list[bytes] = taken if first is None else [first, *taken]
        return Batch(lease, entries, recoveries, depths, time.monotonic()) if entries else None

    async def _adopt(self, most: int) -> Batch | None:
        lease, before = self.lease, self._held.copy()
        listed: list[Any] = await self._redis.lrange(self.lane.processing(lease.pod), 0, -1)
        # What was in flight when the list was read may have been settled since: it is not lost either.
        lost = list((Counter(listed) - (before | self._held)).elements())
        if not lost:
            self._adopt_at = time.monotonic() + ADOPT_SECONDS
            return None
        wanted = Counter(lost)
        entries: list[bytes] = []
        for entry in reversed(listed):
            if wanted[entry] > 0 and len(entries) < most:
                wanted[entry] -= 1
                entries.append(entry)
        log.info("adopted entries of the own list that were not in flight", entries=len(entries))
        self.hold(entries)
        return Batch(lease, entries, 0, [], time.monotonic())


async def recover_all(redis: Redis, lane: Lane, pod: str, heartbeat: str, *, orderly: bool = False) -> int:
    """Hand back every list of `pod` while its heartbeat holds `heartbeat` ('' = is absent); returns the entries moved.

    Recoveries are counted unless the end was `orderly`, or the list is not one of events.
    """
    moved = 0
    for prefix, home, counts in lane.lists():
        names = [lane.heartbeat(pod), f"{prefix}:{pod}", home, lane.recoveries]
        counted = "1" if counts and not orderly else "0"
        while True:
            part = await _recover(redis, names, [heartbeat, RECOVER_MOST, counted, RECOVERY_COUNT_SECONDS])
            moved += max(part, 0)
            if part < RECOVER_MOST:
                break
    return moved


def _new_token() -> str:
    return random_source.token_hex(16)
