"""The model's steps, done by the real classes and scripts on a real Redis, and what is seen there in its words."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from mutt import keys
from mutt.answers import Outcome, classify, unanswered
from mutt.circuit import Result
from mutt.forwarding import Move, Resolution, RetryPolicy, circuit_result, resolve
from mutt.remediation import Source, Step, as_probe, judge
from mutt.settings import CircuitSettings, QueueNames, RemediationSettings
from services.moog_forwarder.settler import Leaving, _Plan
from services.protocol import circuit, retries, worker
from services.protocol.circuit import Circuit, Idle, Permission, close_if_idle, read
from services.protocol.lane import FencedError, Lane
from services.protocol.recovery import recover_all
from services.protocol.retries import claim_due
from services.protocol.script import Script
from services.protocol.worker import Worker
from services.remediation.lease import Lease
from services.remediation.scan import Scanner
from services.runtime.health import Health
from services.runtime.instruments import CommonInstruments, RemediationInstruments
from tests.protocol.circuit_model import CircuitModel
from tests.protocol.circuit_state import GONE, LOST, NAMES, NOBODY, NOTHING, Alerts
from tests.protocol.explorer import FAULT
from tests.service.moog_stage import alert

QUEUES = QueueNames()
LANE = Lane("moog", QUEUES.alert_queue, QUEUES.moog_processing, QUEUES.moog_heartbeat, 600, 3600)
LEASE = 3600.0  # seconds: what is to pass is made to pass
LOST_REPLY = ", the reply is lost"


class Losing(Redis):
    """A client that loses the reply to one call of a script, after it ran."""

    loses: Script | None = None

    async def execute_command(self, *arguments: Any, **options: Any) -> Any:
        """Run a command."""
        run: Callable[..., Awaitable[Any]] = super().execute_command
        reply = await run(*arguments, **options)
        if self.loses is not None and {self.loses.digest, self.loses.source} & set(arguments[1:2]):
            self.loses = None
            raise RedisConnectionError("the reply is lost")
        return reply


@dataclass
class Hand:
    """What one real forwarder has in hand."""

    worker: Worker
    circuit: Circuit
    permission: Permission | None = None
    entry: bytes = b""
    outcome: Outcome | None = None
    number: int | None = None
    token: str = ""


@dataclass
class Seen:
    """What lies in Redis, in the model's words."""

    queue: Alerts
    waiting: Alerts
    due: Alerts
    letters: Alerts
    poison: Alerts
    mode: str
    failures: int
    lease: int
    listed: Alerts
    beats: tuple[bool, ...]
    spent: dict[int, int] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)


class RealCircuit:
    """Two real forwarders and a remediation, driven step by step."""

    def __init__(self, client: Losing, model: CircuitModel) -> None:
        self.client = client
        self.model = model
        self.entries = [alert(f"alert {number}")[1] for number in range(len(model.kinds))]
        self.ids = [msgspec.json.decode(entry)["_mutt"]["event_id"] for entry in self.entries]
        self.settings = CircuitSettings(threshold=model.threshold, open_seconds=3600.0)
        self.policy = RetryPolicy(model.max_retries, 3600.0, 3600.0)
        self.hands: list[Hand] = []
        self.runs = 0
        self.due = 0
        instruments = RemediationInstruments(CollectorRegistry())
        self.lease = Lease(client, "remediation", 120, Health("remediation", instruments))
        settings = RemediationSettings(circuit=self.settings, max_retries=model.max_attempts)
        self.scanner = Scanner(client, settings, self.lease, instruments)

    async def begin(self) -> None:
        """Fill an empty Redis."""
        await self.client.flushall()
        if self.entries:
            await self.client.lpush(QUEUES.alert_queue, *self.entries)
        if self.model.mode != "CLOSED":
            seconds, _ = await self.client.time()
            await self.client.mset({keys.CIRCUIT_STATE: self.model.mode, keys.CIRCUIT_OPENED_AT: seconds})
        await self.lease.keep()
        self.scanner._token = self.lease.token
        self.hands = [await self._new_hand(who) for who in range(self.model.forwarders)]

    async def _new_hand(self, who: int) -> Hand:
        self.runs += 1
        instruments = CommonInstruments(CollectorRegistry())
        run = Worker(LANE, NAMES[who], self.client, Health("moog-forwarder", instruments), instruments)
        await run.start()
        token = f"{who}:{self.runs}"
        return Hand(run, Circuit(self.client, self.settings, QUEUES, token=token, lease=LEASE), token=token)

    async def do(self, label: str) -> None:
        """Do one of the model's steps."""
        who, what = label.removeprefix(FAULT).split(": ", 1)
        if who == "time":
            await self._pass(what)
        elif who == "remediation":
            await self._remediate(what)
        else:
            loses = what.endswith(LOST_REPLY)
            await self._forward(NAMES.index(who), what.removesuffix(LOST_REPLY), loses=loses)

    async def _forward(self, who: int, what: str, *, loses: bool) -> None:
        hand = self.hands[who]
        if what == "asks":
            await self._ask(hand, loses=loses)
        elif what == "claims":
            await self._claim(hand, loses=loses)
        elif what == "sends":
            assert hand.permission is not None
            assert not hand.permission.is_probe or await hand.circuit.renew_probe()
        elif what.startswith("is answered"):
            hand.outcome = _outcome(what.removeprefix("is answered "))
        elif what == "tells the circuit":
            await self._tell(hand, loses=loses)
        elif what == "settles":
            await self._settle(hand, loses=loses)
        else:
            await self._suffer(who, what)

    async def _suffer(self, who: int, what: str) -> None:
        if what == "starts again":
            self.hands[who] = await self._new_hand(who)
        elif what == "its list is handed back":
            await recover_all(self.client, LANE, NAMES[who], "")
        elif what in ("is killed", "stalls past its heartbeat"):
            self.hands[who].token = "gone" if what == "is killed" else self.hands[who].token
            await self.client.delete(LANE.heartbeat(NAMES[who]))
        else:
            # Decided by the generation, which is compared after every step.
            assert what in ("looks again", "takes it back unsent")

    async def _ask(self, hand: Hand, *, loses: bool) -> None:
        hand.entry, hand.outcome, hand.number = b"", None, None
        self.client.loses = circuit._permit if loses else None
        with suppress(RedisError):
            hand.permission = await hand.circuit.permission()
            assert hand.permission.may_send, f"no permission: {hand.permission}"

    async def _claim(self, hand: Hand, *, loses: bool) -> None:
        permission = hand.permission
        assert permission is not None
        waits = await self.client.zcount(keys.RETRY_MOOG, "-inf", 1e6)
        listed = await self.client.llen(hand.worker.processing)
        try:
            batch = None
            if not listed:
                self.client.loses = retries._claim_due if loses and waits else None
                batch = (await claim_due(self.client, hand.worker, 1)).batch
            if batch is None:
                self.client.loses = worker._claim if loses else None
                batch = await hand.worker.claim(1)
        except (RedisError, FencedError):
            hand.worker.doubt()
            await hand.worker.beat()
            return
        if batch is not None:
            hand.entry = batch.entries[0]
        elif permission.is_probe:
            await hand.circuit.report([(permission.generation, Result.UNKNOWN)])

    async def _tell(self, hand: Hand, *, loses: bool) -> None:
        assert hand.permission is not None
        assert hand.outcome is not None
        hand.number = hand.circuit.next_report() if hand.number is None else hand.number
        self.client.loses = circuit._report if loses else None
        with suppress(RedisError):
            await hand.circuit.report([(hand.permission.generation, circuit_result(hand.outcome))], hand.number)

    async def _settle(self, hand: Hand, *, loses: bool) -> None:
        assert hand.permission is not None
        event = msgspec.json.decode(hand.entry)["_mutt"]
        if hand.outcome is None:
            resolution = Resolution(Move.FRONT, hand.entry)
        else:
            resolution = resolve(
                hand.entry,
                event.get("retry_count", 0),
                hand.outcome,
                self.policy,
                is_probe=hand.permission.is_probe,
                jitter=0,
                now=datetime.now(UTC),
            )
        plan = _Plan([Leaving(hand.entry, resolution, event["event_id"])], QUEUES)
        self.client.loses = worker._settle if loses else None
        try:
            await hand.worker.settle(hand.worker.lease, plan.entries, plan.actions)
        except FencedError:
            await hand.worker.beat()
        except RedisError:
            hand.worker.doubt()

    async def _pass(self, what: str) -> None:
        if what == "the open time is over":
            await self.client.set(keys.CIRCUIT_OPENED_AT, 1)
        elif what == "the probe's lease ends":
            await self.client.delete(keys.CIRCUIT_PROBE)
        else:
            number = int(what.split(" ")[1])
            members: list[Any] = await self.client.zrange(keys.RETRY_MOOG, 0, -1)
            (member,) = (each for each in members if each.startswith(self.ids[number].encode()))
            self.due += 1
            await self.client.zadd(keys.RETRY_MOOG, {member: self.due})

    async def _remediate(self, what: str) -> None:
        if what == "closes the idle circuit":
            assert await self._help() is Idle.CLOSED
            return
        letter: Any = await self.client.lindex(QUEUES.moog_dlq, -1)
        if what == "releases a letter as the probe":
            assert await self._help() is Idle.EMPTY
            assert await self.scanner._send(Source.MOOG, [(letter, as_probe(letter))], only_closed=False) == 1
            return
        assert await self.move(letter, Step.POISON if what == "gives a letter up" else Step.REPLAY) == 1

    async def move(self, letter: bytes, step: Step | None) -> int:
        """Move a letter as a scan does, long after its death."""
        now = datetime.now(UTC) + timedelta(days=365)
        verdict = judge(letter, Source.MOOG, now, 60, self.model.max_attempts)
        assert verdict is not None
        assert step in (verdict.step, None)
        return await self.scanner._send(Source.MOOG, [(letter, verdict)], only_closed=True)

    async def _help(self) -> Idle:
        return await close_if_idle(self.client, self.settings, QUEUES)

    async def in_vain(self, label: str) -> None:
        """Try what the model does not allow now."""
        who, what = label.split(": ")
        if what == "asks":
            permission = await self.hands[NAMES.index(who)].circuit.permission()
            assert not permission.may_send, f"a permission that must not be: {permission}"
        elif what == "helps":
            assert await self._help() is Idle.WAIT
        else:
            letter: Any = await self.client.lindex(QUEUES.moog_dlq, -1)
            assert await self.move(letter, None) < 0

    async def seen(self) -> Seen:
        """Return what lies in Redis."""
        retries: list[Any] = await self.client.zrange(keys.RETRY_MOOG, 0, -1, withscores=True)
        standing = await read(self.client)
        holder: Any = await self.client.get(keys.CIRCUIT_PROBE)
        tokens = [hand.token.encode() for hand in self.hands]
        lease = NOBODY if holder is None else tokens.index(holder) if holder in tokens else GONE
        if holder is not None:
            assert await self.client.pttl(keys.CIRCUIT_PROBE) > 0, "the probe's lease has no lifetime"
        listed = []
        for who in range(len(self.hands)):
            entries = await self._list(LANE.processing(NAMES[who]))
            assert len(entries) < 2
            listed.append(entries[0] if entries else b"")
        found = Seen(
            queue=self._numbers(await self._list(QUEUES.alert_queue)),
            waiting=tuple(sorted(self._numbers([each[36:] for each, score in retries if score > 1e6]))),
            due=self._numbers([each[36:] for each, score in retries if score <= 1e6]),
            letters=self._numbers(await self._list(QUEUES.moog_dlq)),
            poison=self._numbers(await self._list(keys.POISON)),
            mode=standing.state.value,
            failures=int(await self.client.get(keys.CIRCUIT_FAILURES) or 0),
            lease=lease,
            listed=tuple(self._numbers([entry])[0] if entry else NOTHING for entry in listed),
            beats=tuple([bool(await self.client.exists(LANE.heartbeat(NAMES[who]))) for who in range(len(self.hands))]),
        )
        everywhere = [each[36:] for each, _ in retries] + [entry for entry in listed if entry]
        for key in (QUEUES.alert_queue, QUEUES.moog_dlq, keys.POISON):
            everywhere += await self._list(key)
        for entry in everywhere:
            mutt = msgspec.json.decode(entry)["_mutt"]
            (number,) = self._numbers([entry])
            found.spent[number] = mutt.get("retry_count", 0)
            found.attempts[number] = mutt.get("remediation_attempts", 0)
        return found

    async def generation(self) -> int:
        """Return the circuit's generation."""
        return (await read(self.client)).generation

    def _numbers(self, entries: list[bytes]) -> Alerts:
        return tuple(self.ids.index(msgspec.json.decode(entry)["_mutt"]["event_id"]) for entry in entries)

    async def _list(self, key: str) -> list[bytes]:
        entries: Any = await self.client.lrange(key, 0, -1)
        return list(reversed(entries))


def _outcome(answer: str) -> Outcome:
    if answer == LOST:
        return unanswered("timeout", "no answer")
    return classify(int(answer), now=datetime.now(UTC))
