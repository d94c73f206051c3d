"""Real workers on a real Redis beside the model's state: their calls, held at gates, and the comparison of the two."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from services.protocol.lane import SideList
from services.protocol.worker import Batch, SideClaims, Worker
from tests.protocol.lane_model import LaneModel
from tests.protocol.lane_names import RUNS
from tests.protocol.lane_state import NOBODY, STRANGER, word
from tests.protocol.lane_state import Batch as Planned
from tests.protocol.real_lane import ALERTS, DEAD, LANE, QUEUE, FaultyRedis, new_worker, recoveries_of


class Gate:
    """Where a call waits until the model comes to it."""

    def __init__(self) -> None:
        self.reached, self._opened = asyncio.Event(), asyncio.Event()
        self._is_empty = False

    async def __call__(self) -> None:
        self.reached.set()
        await self._opened.wait()
        if self._is_empty:
            raise TimeoutError

    def open(self, *, is_empty: bool = False) -> None:
        self._is_empty = is_empty
        self._opened.set()


@dataclass
class Actor:
    """A run: its worker, its clients, what it holds, and a call that is under way."""

    worker: Worker
    side: SideClaims
    client: FaultyRedis
    side_client: FaultyRedis
    held: dict[str, Batch] = field(default_factory=dict)
    task: "asyncio.Task[Any] | None" = None
    gate: Gate | None = None


class Bench:
    """The real lane beside the model's state; `rows` stands for the table that a commit is idempotent on."""

    def __init__(self, url: str, model: LaneModel) -> None:
        self.url = url
        self.model = model
        self.redis = Redis.from_url(url)
        self.state = model.initial()[0]
        self.actors: dict[int, Actor] = {}
        self.pods: dict[str, str] = {}
        self.rows: Collection[str] = ()

    async def begin(self) -> None:
        """Fill the queue and start the runs that are up."""
        await self.redis.flushall()
        if self.state.queue:
            await self.redis.rpush(QUEUE, *self.state.queue)
        for who, run in enumerate(self.state.runs):
            if self.state.slot(run.name).holder == RUNS[who]:
                self.actors[who] = self._actor(run.name)
                await self.actors[who].worker.start()
        await self.compare()

    async def close(self) -> None:
        """End every call and connection."""
        for who in list(self.actors):
            await self._die(who)
        await self.redis.aclose()

    def find(self, label: str) -> str:
        """Return the one step that may be taken now whose label begins with these words."""
        may = [each for each, _ in self.model.steps(self.state) if each.startswith(label)]
        if not may:
            raise AssertionError(f"{label!r} is none of {[each for each, _ in self.model.steps(self.state)]}")
        return min(may, key=len)

    async def compare(self) -> None:
        """Compare all that Redis has with the model's state."""
        assert await self._seen() == self._expected()

    def _expected(self) -> dict[str, Any]:
        state, lists = self.state, {}
        for slot in state.slots:
            pod = self.pods.get(slot.name, slot.name)
            for key, entries in ((LANE.processing(pod), slot.main), (side_list(pod), slot.side)):
                if entries:
                    lists[key] = list(entries)
        return {
            QUEUE: list(state.queue),
            keys.AUDIT_PENDING: list(state.pending),
            ALERTS: sorted(state.alerts),
            DEAD: sorted(state.dead),
            keys.POISON: sorted(state.poison),
            "counts": {recoveries_of(entry.encode()): str(count) for entry, count in state.counts},
            "hits": state.hits,
            "rows": state.rows,
            "lists": lists,
            "holders": {slot.name: slot.holder for slot in state.slots},
        }

    async def _seen(self) -> dict[str, Any]:
        names = [slot.name for slot in self.state.slots]
        pipe = self.redis.pipeline()
        for key in (QUEUE, keys.AUDIT_PENDING, ALERTS, DEAD, keys.POISON):
            pipe.lrange(key, 0, -1)
        pipe.hgetall(LANE.recoveries)
        pipe.mget([counter(event) for event in self.model.events])
        pipe.mget(["none", *(LANE.heartbeat(self.pods.get(name, name)) for name in names)])
        pipe.keys("mutt:processing:*")
        *queues, counts, hits, holders, lists = await pipe.execute()
        queue, pending, *others = (words_of(entries) for entries in queues)
        for key in lists:
            pipe.lrange(key, 0, -1)
        listed = zip(lists, await pipe.execute(), strict=True)
        return {
            QUEUE: queue,
            keys.AUDIT_PENDING: pending,
            **{key: sorted(entries) for key, entries in zip((ALERTS, DEAD, keys.POISON), others, strict=True)},
            "counts": {field.decode(): count.decode() for field, count in counts.items()},
            "hits": word(event * int(hit or 0) for event, hit in zip(self.model.events, hits, strict=True)),
            "rows": word(self.rows),
            "lists": {key.decode(): words_of(entries) for key, entries in listed},
            "holders": {name: self._holder(token) for name, token in zip(names, holders[1:], strict=True)},
        }

    def _holder(self, token: bytes | None) -> str:
        if token is None:
            return NOBODY
        tokens = {actor.worker.lease.token.encode(): RUNS[who] for who, actor in self.actors.items()}
        return tokens.get(token, STRANGER)

    def _actor(self, name: str) -> Actor:
        clients = [FaultyRedis.from_url(self.url) for _ in range(2)]
        first, second = (client for client in clients if isinstance(client, FaultyRedis))
        worker = new_worker(first, name)
        assert isinstance(LANE.side, SideList)
        side = SideClaims(worker, second, LANE.side)
        worker._side.append(side)
        return Actor(worker, side, first, second)

    async def _begin(self, actor: Actor, call: Any, at: str) -> None:
        """Begin a call and let it come to a gate."""
        actor.gate = Gate()
        actor.client.before = (at, actor.gate)
        actor.task = asyncio.create_task(call)
        reached = asyncio.create_task(actor.gate.reached.wait())
        await asyncio.wait({actor.task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        assert not actor.task.done(), f"the call ended before {at}: {actor.task}"

    async def _end(self, actor: Actor, *, is_empty: bool = False) -> Any:
        """Let a call go on to its end."""
        assert actor.gate is not None
        assert actor.task is not None
        actor.gate.open(is_empty=is_empty)
        task, actor.task = actor.task, None
        return await task

    async def _stop(self, actor: Actor) -> None:
        if actor.task is not None:
            actor.task.cancel()
            with suppress(asyncio.CancelledError, RedisError):
                await actor.task
            actor.task = None
        actor.client.before = None

    async def _die(self, who: int) -> None:
        actor = self.actors.pop(who)
        await self._stop(actor)
        await actor.client.aclose()
        await actor.side_client.aclose()

    def _planned(self, who: int, kind: str) -> Planned:
        planned: Planned | None = getattr(self.state.runs[who], kind)
        assert planned is not None
        return planned

    def _take_in(self, who: int, kind: str, batch: Batch | None) -> None:
        planned = self._planned(who, kind)
        assert batch is not None
        assert (tuple(words_of(batch.entries)), batch.recoveries) == (planned.entries, planned.recoveries)
        self.actors[who].held[kind] = batch


def words_of(entries: list[bytes]) -> list[str]:
    return [entry.decode() for entry in entries]


def side_list(pod: str) -> str:
    return f"{keys.AUDIT_PROCESSING_PREFIX}:{pod}"


def counter(event: str) -> str:
    return f"mutt:unhandled:{event}"
