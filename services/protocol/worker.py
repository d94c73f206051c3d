"""A worker of a lane: holds a name by its heartbeat, claims batches, settles them, adopts what it lost sight of.

The promise behind every method: an entry is at any instant in the queue, in a processing list, or in what followed from
it, and whoever dies leaves it where a janitor, a successor of the same name or the worker itself finds it.
"""

import asyncio
import secrets as random_source
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from mutt import keys
from services.logging_utils import get_logger
from services.protocol.actions import Actions
from services.protocol.lane import CLAIM_BYTES, CLAIM_MOST, FencedError, Lane, Lease, SideList
from services.protocol.recovery import recover_all
from services.protocol.script import beside
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments

ADOPT_SECONDS = 10.0
WANTS_METAS = 2  # a settle's status: nothing is done yet, and the entries told are those by which patterns would cross
FULL_SECONDS = 1.0  # between two claims from a queue that is empty while Redis is full

_adopt = beside(__file__, "adopt")
_beat = beside(__file__, "beat")
_claim = beside(__file__, "claim")
_release = beside(__file__, "release")
_settle = beside(__file__, "settle")
_take = beside(__file__, "take")

log = get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """Claimed entries, the oldest first; each of them was recovered `recoveries` times, a lone one if more than once.

    `depths` are those of the queues that the claim asked for; `claimed_at` is on the monotonic clock. Adopted ones were
    in this worker's own list.
    """

    lease: Lease
    entries: list[bytes]
    recoveries: int
    depths: list[int]
    claimed_at: float
    is_adopted: bool = False


class Settled(NamedTuple):
    """What a settle found: `found` entries, `metas` meta-alerts pushed, and the indices of entries that were gone."""

    found: int
    metas: int
    missing: frozenset[int]


class Claims(ABC):
    """Claims and settles entries of one queue through one processing list: a worker's own, or one beside it."""

    def __init__(self, lane: Lane, redis: Redis, source: str, prefix: str, recoveries: str) -> None:
        self.lane = lane
        self.source = source
        self._redis = redis
        self._prefix = prefix
        self._recoveries = recoveries
        self._held: Counter[bytes] = Counter()
        self._adopt_at = 0.0

    @property
    @abstractmethod
    def lease(self) -> Lease:
        """Return the lease under which entries are claimed now."""

    @property
    def processing(self) -> str:
        """Return the processing list."""
        return self._list(self.lease)

    async def claim(self, most: int, depth_keys: Sequence[str] = (), *, block: float = 0) -> Batch | None:
        """Claim up to `most` entries; waits up to `block` seconds for the first. None means that nothing came.

        Entries of the own list that are not in flight come first, every 10 s and after `doubt`. Raises FencedError when
        the heartbeat is lost, RedisError as the client does (then call `doubt`, and `beat`).
        """
        try:
            if time.monotonic() >= self._adopt_at:
                adopted = await self._adopt(most)
                if adopted is not None:
                    return adopted
            lease = self.lease
            batch = await self._take(lease, most, depth_keys)
            if batch is not None or block <= 0:
                return batch
            first: Any = await self._redis.blmove(self.source, self._list(lease), block, "RIGHT", "LEFT")  # type: ignore[arg-type]
        except OutOfMemoryError:
            # There is nothing to claim, and no reason for doubt: all that a full Redis refuses is to let it wait.
            await asyncio.sleep(min(block, FULL_SECONDS))
            return None
        except BaseException:
            self.doubt()
            raise
        if first is None:
            return None
        # Held before anything else can fail, so that an adoption does not see it as lost. It lies in the list of the
        # lease before the wait: where that is lost since, the script says so, and whoever reads that list adopts it.
        self.hold([first], lease)
        try:
            return await self._take(lease, most - 1, depth_keys, first)
        except BaseException:
            self.give_up([first], lease)
            raise

    async def settle(self, lease: Lease, entries: list[bytes], actions: Actions) -> Settled:
        """Settle entries claimed under `lease`; raises FencedError when they are no longer this worker's."""
        fixed = [self.lane.heartbeat(lease.pod), self._list(lease), self._recoveries]
        while True:
            names, args = actions.encode(entries, fixed)
            status, found, metas, missing = await _settle(self._redis, names, [lease.token, *args])
            if status != WANTS_METAS:
                break
            actions.make_metas(index - 1 for index in missing)
        self.forget(entries, lease)
        if not status:
            self.doubt()
            raise FencedError(f"{lease.pod} lost its heartbeat: what it claimed is left to be claimed again")
        return Settled(found, metas, frozenset(index - 1 for index in missing))

    def hold(self, entries: Sequence[bytes], lease: Lease) -> None:
        """Note entries as in flight; where their lease was lost meanwhile they are to be adopted under the new one."""
        if lease == self.lease:
            self._held.update(entries)

    def forget(self, entries: Sequence[bytes], lease: Lease) -> None:
        """Note entries as no longer in flight; an older lease's are not, and may be in flight again under this one."""
        if lease != self.lease:
            return
        held = self._held
        for entry in entries:
            left = held.pop(entry, 1) - 1
            if left:
                held[entry] = left

    def give_up(self, entries: Sequence[bytes], lease: Lease) -> None:
        """Let entries that could not be worked on be adopted by the next claim: nobody else looks after them."""
        self.forget(entries, lease)
        self.doubt()

    def forget_all(self) -> None:
        """Give up everything in flight: the own list is read again before the next claim."""
        self._held.clear()
        self.doubt()

    def doubt(self) -> None:
        """Read the own list before the next claim: a reply may have been lost after its command ran."""
        self._adopt_at = 0.0

    async def depth(self) -> int:
        """Return the length of the processing list."""
        return int(await self._redis.llen(self.processing))

    def _list(self, lease: Lease) -> str:
        return keys.per_pod(self._prefix, lease.pod)

    async def _take(
        self, lease: Lease, most: int, depth_keys: Sequence[str], first: bytes | None = None
    ) -> Batch | None:
        names = [self.lane.heartbeat(lease.pod), self._list(lease), self.source, self._recoveries, *depth_keys]
        digest = "" if first is None else _digest(first)
        most = min(most, CLAIM_MOST)
        args: list[str | int] = [lease.token, most, CLAIM_BYTES, digest, self.lane.together]
        status, recoveries, depths, taken = await _claim(self._redis, names, args)
        if not status:
            raise FencedError(f"{lease.pod} lost its heartbeat")
        self.hold(taken, lease)
        entries: list[bytes] = taken if first is None else [first, *taken]
        return Batch(lease, entries, recoveries, depths, time.monotonic()) if entries else None

    async def _adopt(self, most: int) -> Batch | None:
        lease, before = self.lease, self._held.copy()
        # Before the look: a doubt that arises during it asks for another.
        self._adopt_at = time.monotonic() + ADOPT_SECONDS
        names = [self.lane.heartbeat(lease.pod), self._list(lease), self._recoveries]
        status, listed, counts = await _adopt(self._redis, names, [lease.token])
        if not status:
            raise FencedError(f"{lease.pod} lost its heartbeat")
        # What was in flight when the list was read may have been settled since: it is not lost either.
        wanted = Counter(listed) - (before | self._held)
        entries: list[bytes] = []
        recoveries = 0
        for place in reversed(range(len(listed))):
            entry, count = listed[place], counts[place] if counts else 0
            if not wanted[entry]:
                continue
            if len(entries) >= min(most, CLAIM_MOST):
                break
            # By the rule of claims.
            is_full = count > 1 or (count == 1 and len(entries) >= self.lane.together)
            if entries and (count != recoveries or is_full):
                break
            wanted[entry] -= 1
            entries.append(entry)
            recoveries = count
        if not entries:
            return None
        self.doubt()  # there may be more
        log.info("adopted entries of the own list that were not in flight", entries=len(entries))
        self.hold(entries, lease)
        return Batch(lease, entries, recoveries, [], time.monotonic(), is_adopted=True)


class Worker(Claims):
    """One name in a lane; `redis` must be a client whose socket timeout is above a blocking claim's."""

    def __init__(self, lane: Lane, pod: str, redis: Redis, health: Health, instruments: CommonInstruments) -> None:
        super().__init__(lane, redis, lane.source, lane.processing_prefix, lane.recoveries)
        self._lease = Lease(pod, _new_token())
        self._health = health
        self._instruments = instruments
        self._ttl_ms = int(lane.timeout * 1000)
        self._side: list[SideClaims] = []
        self._beating = asyncio.Lock()

    @property
    def lease(self) -> Lease:
        """Return the name and token that this worker holds now."""
        return self._lease

    def side(self) -> "SideClaims":
        """Return claims through the lane's side list, under this worker's heartbeat."""
        if self.lane.side is None:
            raise ValueError(f"lane {self.lane.service} has no side list")
        self._side.append(SideClaims(self, self._redis, self.lane.side))
        return self._side[-1]

    async def start(self) -> int:
        """Take the name at once, even from a run that still lives, and hand back its leftovers; returns how many."""
        lease = self.lease
        await self._take_name(lease)
        recovered = await recover_all(self._redis, self.lane, lease.pod, lease.token)
        if recovered:
            self._instruments.recovered.inc(recovered)
            log.warning("handed back what an earlier run of this worker left", entries=recovered, pod=lease.pod)
        return recovered

    async def beat(self) -> None:
        """Refresh the heartbeat; where it expired or was taken, give up what is held and go on under a new token."""
        # One at a time: two that found it expired would take each other for strangers.
        async with self._beating:
            await self._beat_once()

    async def _beat_once(self) -> None:
        lease = self.lease
        answer = await _beat(self._redis, [self.lane.heartbeat(lease.pod)], [lease.token, self._ttl_ms])
        if answer == 1:
            self._instruments.heartbeat.set_to_current_time()
            return
        if answer == 0:
            fresh = Lease(lease.pod, _new_token())
            if await self._take_name(fresh, only_free=True):
                log.warning("the heartbeat had expired, going on under a new token", pod=fresh.pod)
                self._go_on(fresh)
                return
        self._instruments.displaced.inc()
        fresh = Lease(f"{lease.pod[:54]}.{random_source.token_hex(4)}", _new_token())
        log.error("another worker has taken this name, going on under another", name=lease.pod, new_name=fresh.pod)
        await self._take_name(fresh)
        self._go_on(fresh)

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

    async def wake_at(self, event: asyncio.Event) -> None:
        """End a blocking claim when `event` is set: it returns None, where a cut connection could lose a reply."""
        await event.wait()
        with suppress(RedisError, OSError):
            own = self._redis.connection_pool.connection_kwargs["client_name"]
            for client in await self._redis.client_list():
                if client.get("name") == own and "b" in client.get("flags", ""):
                    await self._redis.client_unblock(int(client["id"]))

    async def finish(self) -> None:
        """Hand back what is not settled, uncounted, and release the name; for an orderly end."""
        lease = self.lease
        await recover_all(self._redis, self.lane, lease.pod, lease.token, orderly=True)
        if await _release(self._redis, [self.lane.heartbeat(lease.pod)], [lease.token]):
            # No claim is possible any more: one that was under way since the hand-back is found now.
            await recover_all(self._redis, self.lane, lease.pod, "", orderly=True)

    async def _take_name(self, lease: Lease, *, only_free: bool = False) -> bool:
        taken = await _take(self._redis, [self.lane.heartbeat(lease.pod)], [lease.token, self._ttl_ms, int(only_free)])
        if taken:
            self._instruments.heartbeat.set_to_current_time()
        return bool(taken)

    def _go_on(self, lease: Lease) -> None:
        self._lease = lease
        for claims in (self, *self._side):
            claims.forget_all()


class SideClaims(Claims):
    """The lane's side list: claimed, settled and fenced under the worker's heartbeat, recovered with its list."""

    def __init__(self, worker: Worker, redis: Redis, side: SideList) -> None:
        super().__init__(worker.lane, redis, side.home, side.prefix, keys.recoveries("side"))
        self._worker = worker

    @property
    def lease(self) -> Lease:
        """Return the worker's lease."""
        return self._worker.lease


def _digest(entry: bytes) -> str:
    return sha1(entry, usedforsecurity=False).hexdigest()


def _new_token() -> str:
    return random_source.token_hex(16)
