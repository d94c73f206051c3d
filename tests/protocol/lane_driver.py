"""Does with real workers on a real Redis what a step of the model says, and compares what Redis has with the model.

A step is known by its label. What a run keeps in memory between two calls is kept by the real Worker; calls that the
model makes one by one and the code in one go (a start, a blocking claim, an orderly end) are held at a gate in between.
"""

# ruff: noqa: ARG002  (every step takes the same)

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

import pytest
from redis.exceptions import RedisError

from mutt import keys
from services.protocol.actions import Actions, PatternGroup, PatternLimits
from services.protocol.lane import FencedError
from services.protocol.recovery import recover_all
from services.protocol.worker import Batch, SideClaims, Worker
from tests.protocol.lane_bench import Bench, Gate, counter
from tests.protocol.lane_model import MOST, RETRIES
from tests.protocol.lane_names import RUNS
from tests.protocol.lane_state import COMMITTED, REFUSED, WAITS, State
from tests.protocol.lane_state import Batch as Planned
from tests.protocol.real_lane import ALERTS, DEAD, LANE, QUEUE, FaultyRedis

LOST = "; the reply is lost"


class Driver(Bench):
    """The lane of the model, done."""

    async def follow(self, label: str) -> None:
        """Take one step of the model, do it, and compare."""
        after = dict(self.model.steps(self.state))[label]
        words = label.removeprefix("! ")
        method = next(method for pattern, method in STEPS if re.match(pattern, words))
        before, self.state = self.state, after
        await method(self, RUNS.find(words[0]), words, before)
        await self.compare()

    # Steps, in the order of STEPS.

    async def dies(self, who: int, label: str, before: State) -> None:
        if label.startswith("K kills "):
            who = RUNS.index(label[-1])
        await self._die(who)

    async def expires(self, _who: int, label: str, before: State) -> None:
        name = label.split()[3]
        await self.redis.delete(LANE.heartbeat(self.pods.get(name, name)))

    async def comes(self, _who: int, label: str, before: State) -> None:
        await self.redis.lpush(QUEUE, label[0])

    async def nothing(self, _who: int, label: str, before: State) -> None:
        pass

    async def takes_the_name(self, who: int, label: str, before: State) -> None:
        name = self.state.runs[who].name
        self.pods.pop(name, None)
        self.actors[who] = actor = self._actor(name)
        await self._begin(actor, actor.worker.start(), "recover")

    async def hands_back_at_start(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        if label.endswith(LOST):
            await self._loses_a_hand_back(who, self._end(actor), orderly=False)
        else:
            await self._end(actor)

    async def _loses_a_hand_back(self, who: int, call: Awaitable[Any], *, orderly: bool) -> None:
        actor = self.actors[who]
        actor.client.losing = "recover"
        with pytest.raises(RedisError):
            await call
        # The client loses the first list's reply, the model the last one's.
        lease = actor.worker.lease
        await recover_all(self.redis, LANE, lease.pod, lease.token, orderly=orderly)
        await self._die(who)

    async def beats(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        if label.endswith(LOST):
            actor.client.losing = "take"
            with pytest.raises(RedisError):
                await actor.worker.beat()
        else:
            await actor.worker.beat()
            self.pods[self.state.runs[who].name] = actor.worker.lease.pod

    async def waits(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        await self._begin(actor, actor.worker.claim(MOST, block=60), "BLMOVE")

    async def waits_in_vain(self, who: int, label: str, before: State) -> None:
        assert await self._end(self.actors[who], is_empty=True) is None

    async def is_brought(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        assert actor.gate is not None
        blocked = before.runs[who].claimed
        assert blocked is not None
        holder = before.slot(blocked.name).holder
        if holder in set(RUNS) - {RUNS[who]}:
            self.actors[RUNS.index(holder)].worker.doubt()  # it looks at its list every 10 s
        if label.endswith(LOST):
            actor.client.losing = "BLMOVE"
            with pytest.raises(RedisError):
                await self._end(actor)
            return
        following = Gate()
        actor.client.before = ("claim", following)
        actor.gate.open()
        await asyncio.wait_for(following.reached.wait(), 30)
        actor.gate = following

    async def claims_in_all(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        if label.endswith(LOST):
            actor.client.losing = "claim"
            with pytest.raises(RedisError):
                await self._end(actor)
        else:
            self._take_in(who, "claimed", await self._end(actor))

    async def is_refused(self, who: int, label: str, before: State) -> None:
        with pytest.raises(FencedError):
            await self._end(self.actors[who])

    async def claims(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        kind, claims, client = "claimed", actor.worker.claim, actor.client
        if "waiting rows" in label:
            kind, claims, client = "draining", actor.side.claim, actor.side_client
        if label.endswith(LOST):
            client.losing = "claim"
            with pytest.raises(RedisError):
                await claims(MOST)
        else:
            self._take_in(who, kind, await claims(MOST))

    async def judges(self, who: int, label: str, before: State) -> None:
        held = self.actors[who].held
        held["settling"] = held.pop("claimed")

    async def writes(self, who: int, label: str, before: State) -> None:
        self.rows = {*self.rows, *(entry[0] for entry in self.planned(who, label).entries)} - {REFUSED}

    def planned(self, who: int, label: str) -> Planned:
        """Return the batch whose rows are committed now, as the model has it."""
        return self._planned(who, "draining" if "waiting rows" in label else "settling")

    async def gives_up(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        batch = actor.held.pop("draining")
        actor.side.give_up(batch.entries, batch.lease)

    async def settles(self, who: int, label: str, before: State) -> None:
        planned, actor = before.runs[who].settling, self.actors[who]
        assert planned is not None
        batch = actor.held["settling"]
        await self._settle(actor.worker, actor.client, batch, self._actions(planned), label)
        if label.endswith(LOST):
            actor.worker.doubt()
        else:
            del actor.held["settling"]

    async def settles_rows(self, who: int, label: str, before: State) -> None:
        actor, actions = self.actors[who], Actions()
        batch = actor.held.pop("draining")
        for place, entry in enumerate(batch.entries):
            if entry.decode() == REFUSED:
                actions.push(place, keys.POISON, entry)
        await self._settle(actor.side, actor.side_client, batch, actions, label)
        if label.endswith(LOST):
            actor.side.give_up(batch.entries, batch.lease)

    async def _settle(
        self, claims: Worker | SideClaims, client: FaultyRedis, batch: Batch, actions: Actions, label: str
    ) -> None:
        if label.endswith(LOST):
            client.losing = "settle"
            with pytest.raises(RedisError):
                await claims.settle(batch.lease, batch.entries, actions)
        elif label.endswith("is refused"):
            with pytest.raises(FencedError):
                await claims.settle(batch.lease, batch.entries, actions)
        else:
            await claims.settle(batch.lease, batch.entries, actions)

    def _actions(self, batch: Planned) -> Actions:
        actions = Actions(limits=PatternLimits(1000, 3600, 1000, "mutt:unhandled:overflow", ALERTS))
        for place, entry in enumerate(batch.entries):
            event, retries = entry[0], int(entry[1:] or 0) + 1
            is_refused = event == REFUSED and batch.stage == COMMITTED and not self.model.is_dead(batch)
            if self.model.is_dead(batch) or (is_refused and retries > RETRIES):
                actions.push(place, DEAD, event.encode())
            elif is_refused:
                actions.push_first(place, QUEUE, f"{event}{retries}".encode())
            else:
                actions.push(place, ALERTS, event.encode())
                if batch.stage == WAITS:
                    actions.push(place, keys.AUDIT_PENDING, event.encode())
                names = (counter(event), f"mutt:unhandled-info:{event}", f"mutt:unhandled-hours:{event}")
                actions.groups.append(PatternGroup(*names, "template", "sample", [place]))
        return actions

    async def sweeps(self, who: int, label: str, before: State) -> None:
        name = label.split()[-2]
        await recover_all(self.redis, LANE, self.pods.get(name, name), "")

    async def hands_back(self, who: int, label: str, before: State) -> None:
        actor = self.actors[who]
        await self._stop(actor)
        actor.held.pop("claimed", None)
        actor.held.pop("settling", None)
        if label.endswith(LOST):
            await self._loses_a_hand_back(who, actor.worker.finish(), orderly=True)
        else:
            await self._begin(actor, actor.worker.finish(), "release")

    async def releases(self, who: int, label: str, before: State) -> None:
        await self._end(self.actors[who])
        await self._die(who)


STEPS = (
    (r"K kills|\w is killed", Driver.dies),
    (r"the heartbeat of", Driver.expires),
    (r"\w comes", Driver.comes),
    (r"the janitor of", Driver.sweeps),
    (r"PostgreSQL|\w is asked to stop|\w lets the rows|\w gives up \(", Driver.nothing),
    (r"\w takes the name", Driver.takes_the_name),
    (r"\w hands back what was left", Driver.hands_back_at_start),
    (r"\w finds its", Driver.beats),
    (r"\w waits in BLMOVE", Driver.waits),
    (r"\w's BLMOVE ends", Driver.waits_in_vain),
    (r"\w's BLMOVE brings", Driver.is_brought),
    (r"\w claims .* in all", Driver.claims_in_all),
    (r"\w's claim is refused", Driver.is_refused),
    (r"\w claims|\w adopts", Driver.claims),
    (r"\w judges", Driver.judges),
    (r"\w commits|\w hears nothing", Driver.writes),
    (r"\w gives up the waiting rows", Driver.gives_up),
    (r"\w settles the waiting rows|\w's settle of waiting rows", Driver.settles_rows),
    (r"\w settles|\w's settle of", Driver.settles),
    (r"\w hands back what it holds", Driver.hands_back),
    (r"\w releases", Driver.releases),
)
