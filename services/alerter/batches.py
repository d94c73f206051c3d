"""A batch's way through the alerter: claim, judge, audit, settle; each step works on another batch meanwhile."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from mutt import keys
from mutt.audit_row import microseconds
from mutt.backpressure import Level, Pressure, pressure, to_shed
from mutt.errors import EntryError
from mutt.events import amend, failed, iso
from mutt.ids import uuid7
from mutt.judge import Judged, judge, meta_alert, undecodable
from mutt.patterns import Pattern
from mutt.rules import FORWARDED
from mutt.settings import AlerterSettings
from services import tracing_utils
from services.alerter.audit import AuditTrail, part_of
from services.alerter.caches import Caches
from services.audit_logger import Refusal, RefusedError, Written
from services.dynamic_config import DynamicConfig
from services.logging_utils import get_logger
from services.protocol.actions import Actions, PatternGroup, PatternLimits
from services.protocol.lane import FencedError
from services.protocol.worker import Batch, Settled, Worker
from services.runtime.app import BACK_OFF_FIRST, BACK_OFF_MOST, Process
from services.runtime.depths import measure
from services.runtime.instruments import AlerterInstruments

if TYPE_CHECKING:
    from services.tracing_spans import Traced

TOGETHER = 2  # batches that are audited by one commit, where they wait for it
PIECE = 50  # events that are judged at once: between two pieces a commit or a settle that is under way goes on

log = get_logger(__name__)


@dataclass(slots=True)
class Work:
    """A batch with what was made of it; indices are places in the batch.

    `audited` is when its rows were committed, and `written` what came of them: None where they are to wait in Redis.
    """

    batch: Batch
    judged: dict[int, Judged] = field(default_factory=dict)
    dead: dict[int, bytes] = field(default_factory=dict)
    shed: list[int] = field(default_factory=list)
    audited: datetime | None = None
    written: Written | None = None
    traced: "Traced | None" = None

    @property
    def age(self) -> float:
        """Seconds since the batch was claimed."""
        return time.monotonic() - self.batch.claimed_at


class Batches:
    """Claims and judges in one loop, audits in a second, settles in a third; at most six batches are in memory."""

    def __init__(
        self,
        process: Process[AlerterSettings, AlerterInstruments],
        worker: Worker,
        caches: Caches,
        audit: AuditTrail,
        config: DynamicConfig,
    ) -> None:
        self._process = process
        self._settings = process.settings
        self._names = process.settings.names
        self._instruments = process.instruments
        self._worker = worker
        self._caches = caches
        self._audit = audit
        self._config = config
        self._judged: asyncio.Queue[Work | None] = asyncio.Queue(maxsize=1)
        self._audited: asyncio.Queue[Sequence[Work]] = asyncio.Queue(maxsize=1)
        self._pressure_keys = [self._names.alert_queue, keys.RETRY_MOOG, self._names.alerter_dlq]
        self._level = Level.CALM
        self._is_closed = False
        self._tracing = tracing_utils.active()

    async def claim_once(self) -> bool:
        """Claim a batch and judge it; returns False when nothing came (after the blocking wait)."""
        if not self._caches.loaded.is_set():
            # Without rules every event would be audited as unmatched.
            await self._process.pause(0.1)
            return True
        if self._level is not Level.CALM:
            now = self._judge_depths(list((await measure(self._process.redis, self._pressure_keys)).values()))
            if now.level is Level.DEFER:
                self._instruments.shed.labels("defer").inc()
                await self._process.pause(self._config.integer("alerter_defer_sleep_ms") / 1000)
                return True
        # A wait is no progress: one as long as the heartbeat's life would let it expire.
        block = min(self._settings.brpoplpush_timeout, self._settings.janitor_timeout / 3)
        batch = await self._worker.claim(self._settings.batch_size, self._pressure_keys, block=block)
        if batch is None:
            return True
        try:
            if batch.recoveries:
                # It may hold what kills alerters: nothing else is to be held beside it, lest it be counted too.
                await self._judged.join()
            work = await self._judge(batch)
        except BaseException:
            self._worker.give_up(batch.entries, batch.lease)
            raise
        await self._judged.put(work)
        if batch.recoveries:
            await self._judged.join()
        return True

    async def audit_until_closed(self) -> None:
        """Audit what was judged, until `close`."""
        while works := await self._next():
            await self._write(works)
        await self._audited.put(())

    async def settle_until_closed(self) -> None:
        """Settle what was audited, in the same order, until the audit is closed."""
        while works := await self._audited.get():
            for work in works:
                await self._follow(work)
                self._judged.task_done()
                # A claim may wait for several batches, each of which takes its time: the heartbeat is not to expire.
                self._process.health.progressed()
            self._audited.task_done()

    async def _next(self) -> list[Work]:
        """Return the batches that are judged, two at most, for one commit; none at the end."""
        works: list[Work] = []
        while len(works) < TOGETHER and not self._is_closed:
            work = await self._judged.get()
            if work is None:
                self._is_closed = True
                break
            works.append(work)
            await asyncio.sleep(0)  # so that one that waits for room in the queue is in it
            if self._judged.empty():
                break
        return works

    async def close(self) -> None:
        """Let the audit and `settle_until_closed` return once they are done with what is judged already."""
        await self._judged.put(None)

    async def _judge(self, batch: Batch) -> Work:
        work = Work(batch)
        if batch.recoveries > self._settings.max_retries:
            work.dead[0] = self._killer(batch.entries[0], batch.recoveries)
            return work
        depths = batch.depths
        if not depths:
            depths = list((await measure(self._process.redis, self._pressure_keys)).values())
        book, hosts, team = self._caches.book, self._caches.hosts, self._settings.unhandled_default_team
        for index, entry in enumerate(batch.entries):
            if not index % PIECE:
                await asyncio.sleep(0)
            try:
                work.judged[index] = judge(entry, book, hosts, team)
            except EntryError as error:
                now = datetime.now(UTC)
                event_id = uuid7(int(now.timestamp() * 1000), os.urandom(10))
                work.dead[index] = undecodable(entry, error, event_id, now)
                log.warning("an entry is not readable, it goes to the dead letters", problem=str(error), id=event_id)
        level = self._judge_depths(depths)
        if not (batch.recoveries or batch.is_adopted):  # whoever claimed it before may have audited it
            self._shed(work, level)
        if self._tracing is not None:
            traced_events = (
                (judged.traceparent, {"mutt.event_id": judged.event_id}) for judged in work.judged.values()
            )
            work.traced = self._tracing.batch("alerter.batch", "consumer", traced_events, work.age)
            if work.traced is not None:
                work.traced.past_step("alerter.judge", work.age)
        return work

    def _judge_depths(self, depths: Sequence[int]) -> Pressure:
        waiting, retries, dead = depths
        config = self._config
        warn, shed = config.integer("alerter_queue_warn_threshold"), config.integer("alerter_queue_shed_threshold")
        mode = config.text("alerter_shed_mode")
        answer = pressure(waiting + retries, warn, shed, mode=mode, dlq_depth=dead, dlq_max=self._settings.dlq_max)
        if answer.level is not self._level:
            say = log.warning if answer.must_warn else log.info
            say("alert queue", level=str(answer.level), depth=waiting + retries, warn_at=warn, shed_at=shed, mode=mode)
            self._level = answer.level
        return answer

    def _shed(self, work: Work, now: Pressure) -> None:
        handlings = [judged.decision.handling for judged in work.judged.values()]
        if shed := to_shed(handlings, now.room):
            places = list(work.judged)
            work.shed = [places[index] for index in shed]

    async def _write(self, works: Sequence[Work]) -> None:
        for work in works:
            for index in work.shed:
                work.judged.pop(index, None)
        rows = [judged.row for work in works for judged in work.judged.values()]
        try:
            with ExitStack() as steps:
                for work in works:
                    steps.enter_context(_step(work, "alerter.audit"))
                written = await self._audit.write(rows, whole=len(works) > 1) if rows else Written([], {})
        except RefusedError:
            # Each alone, with a time of its own to find what is refused: a batch may be full of it.
            for work in works:
                await self._write([work])
            return
        now, start = datetime.now(UTC), 0
        for work in works:
            end = start + len(work.judged)
            if written is not None:
                work.audited, work.written = now, part_of(written, start, end)
            start = end
        await self._audited.join()  # what is audited and not settled is bounded, too
        await self._audited.put(works)

    async def _follow(self, work: Work) -> None:
        """Settle a batch with what follows from its events and from what came of their rows."""
        kept, written = work.judged, work.written
        places = list(kept)
        refused = {places[refusal.index]: refusal for refusal in written.refusals} if written else {}
        for index, decision in written.standing.items() if written else ():
            # Audited by an alerter that died before it settled, and the rules have changed since: the row stands.
            kept[places[index]] = kept[places[index]].standing(decision)
        actions = self._actions(work, kept, refused, pending=written is None)
        with _step(work, "alerter.settle"):
            settled = await self._settle(work.batch, actions)
        if settled is not None:
            self._count(work, kept, refused, settled)
        if work.traced is not None:
            facts = {
                "mutt.batch_events": len(work.batch.entries),
                "mutt.audit": "written" if work.audited else "pending",
            }
            work.traced.end(facts, "the worker lost its claim" if settled is None else None)

    def _actions(self, work: Work, kept: dict[int, Judged], refused: dict[int, Refusal], *, pending: bool) -> Actions:
        actions = Actions()
        for index, letter in work.dead.items():
            actions.push(index, self._names.alerter_dlq, letter)
        for index in work.shed:
            letter = amend(work.batch.entries[index], shedding_reason="the alert queue is full")
            actions.push(index, self._names.alerter_dlq, letter)
        groups: defaultdict[Pattern, list[int]] = defaultdict(list)
        for index, judged in kept.items():
            decision = judged.decision
            if index in refused:
                self._retry(actions, index, judged, refused[index])
                continue
            is_forwarded = decision.handling in FORWARDED
            if is_forwarded or pending:
                decided = judged.decided()
                if is_forwarded:
                    actions.push(index, self._names.alert_queue, decided)
                if pending:
                    actions.push(index, keys.AUDIT_PENDING, decided)
            if decision.pattern is not None:
                groups[decision.pattern].append(index)
        if groups:
            actions.limits = self._limits()
            actions.groups = [self._group(pattern, places, kept) for pattern, places in groups.items()]
            actions.meta_alert = lambda index: self._meta(kept[index])
        return actions

    def _limits(self) -> PatternLimits:
        counting = self._settings.counting
        return PatternLimits(
            threshold=counting.unhandled_threshold,
            expiry=counting.unhandled_expiry_seconds,
            cap=counting.unhandled_max_patterns,
            overflow_key=f"{self._names.unhandled}:overflow",
            alert_queue=self._names.alert_queue,
        )

    def _group(self, pattern: Pattern, places: list[int], kept: dict[int, Judged]) -> PatternGroup:
        return PatternGroup(
            counter_key=f"{self._names.unhandled}:{pattern.hash}",
            info_key=f"{keys.UNHANDLED_INFO_PREFIX}:{pattern.hash}",
            hours_key=f"{keys.UNHANDLED_HOURS_PREFIX}:{pattern.hash}",
            template=pattern.template,
            sample=kept[places[0]].message[:1024],
            entries=places,
        )

    def _meta(self, judged: Judged) -> bytes:
        return meta_alert(judged, self._settings.counting.unhandled_threshold, datetime.now(UTC), os.urandom(10))

    def _retry(self, actions: Actions, index: int, judged: Judged, refusal: Refusal) -> None:
        retries = judged.envelope.retry_count + 1
        entry = failed(
            judged.entry,
            error_type=refusal.error.sqlstate,
            message=str(refusal.error),
            at=iso(datetime.now(UTC)),
            retry_count=retries,
        )
        event_id = judged.event_id
        if retries > self._settings.max_retries:
            actions.push(index, self._names.alerter_dlq, entry)
            log.error("PostgreSQL refuses an event, it goes to the dead letters", id=event_id, error=str(refusal.error))
        else:
            actions.push_first(index, self._names.ingest_queue, entry)
            log.warning("PostgreSQL refuses an event, trying again", id=event_id, error=str(refusal.error))

    def _killer(self, entry: bytes, recoveries: int) -> bytes:
        message = f"recovered {recoveries} times from workers that died with it"
        log.error("an entry was claimed by workers that died, it goes to the dead letters", recoveries=recoveries)
        now = datetime.now(UTC)
        try:
            return failed(entry, error_type="recovered", message=message, at=iso(now), retry_count=recoveries)
        except EntryError:
            return undecodable(entry, EntryError(message), uuid7(int(now.timestamp() * 1000), os.urandom(10)), now)

    async def _settle(self, batch: Batch, actions: Actions) -> Settled | None:
        """Settle until Redis says what came of it; None when the batch is no longer this worker's."""
        delay = BACK_OFF_FIRST
        while True:
            try:
                return await self._worker.settle(batch.lease, batch.entries, actions)
            except FencedError as error:
                log.warning("a batch was not settled", reason=str(error), events=len(batch.entries))
                await self._beat()
                return None
            except (RedisError, OSError) as error:
                # The reply may have been lost after the script ran: settling again then finds nothing and adds nothing.
                log.warning("settling again", error=str(error), events=len(batch.entries))
                self._worker.doubt()
            self._process.health.progressed()
            await asyncio.sleep(delay)
            delay = min(delay * 2, BACK_OFF_MOST)

    async def _beat(self) -> None:
        try:
            await self._worker.beat()
        except (RedisError, OSError) as error:
            log.warning("the heartbeat was not refreshed", error=str(error))

    def _count(self, work: Work, kept: dict[int, Judged], refused: dict[int, Refusal], settled: Settled) -> None:
        events = self._instruments.events
        gone = settled.missing
        alive = [judged for index, judged in kept.items() if index not in refused and index not in gone]
        unhandled = sum(1 for judged in alive if judged.decision.pattern is not None)
        events.labels("handled").inc(len(alive) - unhandled)
        events.labels("unhandled").inc(unhandled)
        events.labels("error").inc(sum(1 for index in refused if index not in gone))
        events.labels("poison").inc(sum(1 for index in work.dead if index not in gone))
        self._instruments.shed.labels("dlq").inc(sum(1 for index in work.shed if index not in gone))
        self._instruments.meta_alerts.inc(settled.metas)
        self._instruments.latency.observe_alike(work.age, settled.found)
        if (at := work.audited) is not None:
            now = microseconds(at)
            self._instruments.audited.observe_all([(now - judged.received) / 1e6 for judged in alive])


def _step(work: Work, name: str) -> AbstractContextManager[None]:
    return nullcontext() if work.traced is None else work.traced.step(name)
