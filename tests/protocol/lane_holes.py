"""Holes put back into the lane's protocol, one a class, each with the faults under which it must be found.

A class says in its docstring what it gets wrong; `given` makes the model that must find it.
"""

# ruff: noqa: ARG002  (a hole takes what the method takes that it replaces)

from collections.abc import Iterator

from tests.protocol.lane_model import MOST, LaneModel
from tests.protocol.lane_names import RUNS, Step
from tests.protocol.lane_state import (
    CLAIMED,
    COMMITTED,
    JUDGED,
    NOBODY,
    Batch,
    Entries,
    Run,
    Slot,
    State,
    word,
)

SAME = ("x", "x")
ALONE = ("x",)


class PushesWithoutFinding(LaneModel):
    """Settle that pushes without "still found"."""

    def settled(self, state: State, who: int, batch: Batch) -> State:
        after, _ = self.removed(state, batch)
        for entry in batch.entries:
            after = self.followed(after, batch, entry)
        return after


class TrimsByCount(LaneModel):
    """LTRIM by count: the batch was taken for the list's old end without a look."""

    def removed(self, state: State, batch: Batch) -> tuple[State, list[str]]:
        slot, most = state.slot(batch.name), len(batch.entries)
        return state.with_slot(slot._replace(main=slot.main[:-most])), list(batch.entries)


class AuditsAfterSettle(LaneModel):
    """Audit after settle."""

    def audits(self, state: State, who: int, batch: Batch) -> Iterator[Step]:
        run = state.runs[who]._replace(settling=batch._replace(stage=COMMITTED))
        yield f"{RUNS[who]} leaves the audit of {batch.entries} for later", state.with_run(who, run)

    def settles(self, state: State, who: int, run: Run, batch: Batch) -> Iterator[Step]:
        for label, after in super().settles(state, who, run, batch):
            mine = after.runs[who]
            yield label, after.with_run(who, mine._replace(memory=() if mine.settling else batch.entries))

    def steps_in_memory(self, state: State, who: int) -> Iterator[Step]:
        yield from super().steps_in_memory(state, who)
        if late := state.runs[who].memory:
            after = self.written(state, late).with_run(who, state.runs[who]._replace(memory=()))
            yield f"{RUNS[who]} commits the rows of {late}", after


class AuditsTwice(LaneModel):
    """Audit by a plain INSERT: a second one is a second row."""

    def written(self, state: State, entries: Entries) -> State:
        return state._replace(rows=word([*state.rows, *(entry[0] for entry in entries)]))


class LetsPagesWait(LaneModel):
    """Alert that waits for the audit for as long as PostgreSQL is away."""

    def audits(self, state: State, who: int, batch: Batch) -> Iterator[Step]:
        if state.database or self.is_dead(batch):
            yield from super().audits(state, who, batch)


class NeverAdopts(LaneModel):
    """Own list not adopted."""

    def not_in_flight(self, state: State, run: Run) -> Entries:
        return ()


class AdoptsWhatIsInFlight(LaneModel):
    """Adoption that sees what is in flight as lost."""

    def not_in_flight(self, state: State, run: Run) -> Entries:
        return state.slot(run.name).main[::-1]


class AdoptsRecoveredWithOthers(LaneModel):
    """Adoption that takes a recovered entry together with others, and without its count."""

    def adopted(self, state: State, name: str, entries: Entries) -> Batch:
        return Batch(entries[:MOST], name, CLAIMED)


class TakesTheSameToken(LaneModel):
    """Same token re-taken after the heartbeat's expiry."""

    def taken_again(self, state: State, who: int, run: Run) -> State:
        return state


class TakesOverWithoutRecovery(LaneModel):
    """Take-over of a name that is no recovery: what was left is adopted, uncounted."""

    def handed_back_at_start(self, state: State, who: int, name: str) -> State:
        return state


class TakesItsNameBack(LaneModel):
    """Name taken back by a run that was displaced."""

    def displaced(self, state: State, who: int, run: Run) -> State:
        return state.with_slot(state.slot(run.name)._replace(holder=RUNS[who])).with_run(who, self.aged(run))


class DrainsWithoutAClaim(LaneModel):
    """Waiting audit rows that are drained without a claim: popped, then written."""

    def drains(self, state: State, who: int, run: Run) -> Iterator[Step]:
        if run.draining and run.draining.stage == COMMITTED:
            yield f"{RUNS[who]} is done with {run.draining.entries}", state.with_run(who, run._replace(draining=None))
        elif state.pending and state.database and not run.draining:
            batch = Batch(state.pending[-1:], run.name, CLAIMED)
            popped = state._replace(pending=state.pending[:-1])
            yield f"{RUNS[who]} pops the row {batch.entries}", popped.with_run(who, run._replace(draining=batch))


class DrainsIntoTheEvents(LaneModel):
    """Waiting audit rows that are claimed into the list of events."""

    def drains(self, state: State, who: int, run: Run) -> Iterator[Step]:
        for label, after in super().drains(state, who, run):
            slot = after.slot(run.name)
            yield label, after.with_slot(slot._replace(main=slot.side + slot.main, side=()))


class ReturnsRefusedRows(LaneModel):
    """Waiting audit row that PostgreSQL refuses and that goes back as an event."""

    def drained(self, state: State, batch: Batch) -> State:
        after = super().drained(state, batch)
        return after._replace(poison="", queue=(*after.queue, *after.poison))


class CountsOutsideSettle(LaneModel):
    """Counting of patterns outside settle: at the judgement."""

    def judged(self, state: State, who: int, batch: Batch) -> State:
        return super().judged(state, who, batch)._replace(hits=word([*state.hits, *(e[0] for e in batch.entries)]))

    def followed(self, state: State, batch: Batch, entry: str) -> State:
        return super().followed(state, batch, entry)._replace(hits=state.hits)


class RetriesInMemory(LaneModel):
    """Retry in memory: what PostgreSQL refused is kept by the process until it is due."""

    def settled(self, state: State, who: int, batch: Batch) -> State:
        after = super().settled(state, who, batch)
        again = tuple(entry for entry in after.queue if entry[1:] and entry not in state.queue)
        kept = after.runs[who]._replace(memory=again)
        return after._replace(queue=tuple(entry for entry in after.queue if entry not in again)).with_run(who, kept)

    def settles(self, state: State, who: int, run: Run, batch: Batch) -> Iterator[Step]:
        for label, after in super().settles(state, who, run, batch):
            kept = self.settled(state, who, batch).runs[who].memory
            yield label, after.with_run(who, after.runs[who]._replace(memory=kept))


class ActsAtOnceAfterRedis(LaneModel):
    """No embargo after Redis returns."""

    def has_embargo(self, state: State) -> bool:
        return False


class SweepsTheLiving(LaneModel):
    """Janitor that does not look at the heartbeat in the same step."""

    def looks_dead(self, slot: Slot) -> bool:
        return True


class RecoversInTwoCalls(LaneModel):
    """Recovery in two calls: pushed home by one, removed by the next."""

    def sweeps(self, state: State, who: int) -> Iterator[Step]:
        for label, after in super().sweeps(state, who):
            yield label, after
            half = self.died(after._replace(slots=state.slots), who)
            yield from self.fault("crash", f"{RUNS[who]} is killed in the middle of a recovery", half, 1)


class RecoversToTheWrongEnd(LaneModel):
    """Wrong end at recovery: behind the whole queue."""

    def recovered(self, state: State, name: str, *, is_counted: bool, side: bool = True) -> State:
        main, queue = state.slot(name).main, state.queue
        return super().recovered(state, name, is_counted=is_counted, side=side)._replace(queue=main + queue)


class CountsNoRecovery(LaneModel):
    """Recoveries that nobody counts."""

    def recovered(self, state: State, name: str, *, is_counted: bool, side: bool = True) -> State:
        return super().recovered(state, name, is_counted=False, side=side)


class ClaimsRecoveredWithOthers(LaneModel):
    """Recovered entry that is claimed together with others."""

    def taken(self, state: State, name: str, most: int = MOST, *, is_first: bool = True) -> tuple[State, Batch]:
        after, batch = super().taken(state._replace(counts=()), name, most, is_first=is_first)
        return after._replace(counts=state.counts), batch._replace(recoveries=max(map(state.count, batch.entries)))

    def is_dead(self, batch: Batch) -> bool:
        return super().is_dead(batch) and len(batch.entries) == 1


class GroupsAtAnyCount(LaneModel):
    """Recovered entries that are claimed in groups however often they were recovered."""

    def goes_along(self, count: int, recoveries: int, size: int) -> bool:
        return bool(count) == bool(recoveries) and (count == 0 or size < self.together)


class GroupsUnderASmallLimit(LaneModel):
    """Recovered entries that are claimed in groups although two recoveries make a dead letter."""

    limit = 1


class KeepsRecoveredBesideOthers(LaneModel):
    """Recovered entries that are claimed for themselves, but judged while another batch is on its way."""

    def may_claim_beside(self, settling: Batch) -> bool:
        return self.pipelined

    def is_at_work(self, run: Run, batch: Batch) -> bool:
        return batch.stage in {CLAIMED, JUDGED} and not self.is_dead(batch)


class ClaimsInTwoCalls(LaneModel):
    """Claim in two calls: popped by one, put into the processing list by the next."""

    def claims(self, state: State, who: int, run: Run) -> Iterator[Step]:
        for label, after in super().claims(state, who, run):
            yield label, after
            popped = self.died(after.with_slot(state.slot(run.name)), who)
            if len(after.queue) < len(state.queue):
                yield from self.fault("crash", f"{RUNS[who]} is killed in the middle of a claim", popped, 1)


class SettlesWithoutTheFence(LaneModel):
    """Settle without the fence."""

    def is_fenced_in(self, state: State, who: int, batch: Batch) -> bool:
        return True


class HandsBackBlindly(LaneModel):
    """Blind hand-back at SIGTERM: from the list of whoever has the name now."""

    def handed_back(self, state: State, who: int, run: Run) -> State:
        return self.recovered(state, run.name, is_counted=False)


class ReleasesBlindly(LaneModel):
    """Release without compare: of a heartbeat that is another's."""

    def released(self, state: State, who: int, run: Run) -> State:
        return state.with_slot(state.slot(run.name)._replace(holder=NOBODY))


class ReleasesWithoutAnotherLook(LaneModel):
    """Release after which nobody looks for rows that were claimed since the hand-back."""

    def released(self, state: State, who: int, run: Run) -> State:
        slot = state.slot(run.name)
        return state.with_slot(slot._replace(holder=NOBODY)) if self.is_holder(state, who, run.name) else state


ONE = {"any": 1, "crash": 1, "stall": 1, "lost": 1}
TWO = {"any": 2, "crash": 1, "lost": 1, "database": 1, "stop": 1}
HOLES: dict[type[LaneModel], LaneModel] = {
    PushesWithoutFinding: PushesWithoutFinding("ab", ONE),
    TrimsByCount: TrimsByCount("abc", ONE, pipelined=True),
    AuditsAfterSettle: AuditsAfterSettle("ab", ONE),
    AuditsTwice: AuditsTwice("ab", ONE),
    LetsPagesWait: LetsPagesWait("ab", {"any": 1, "database": 1}, database_returns=False),
    NeverAdopts: NeverAdopts("ab", ONE),
    AdoptsWhatIsInFlight: AdoptsWhatIsInFlight("ab", ONE, pipelined=True),
    AdoptsRecoveredWithOthers: AdoptsRecoveredWithOthers("aK", ONE, pipelined=True, blocking=True),
    TakesTheSameToken: TakesTheSameToken("ab", ONE, pipelined=True),
    TakesOverWithoutRecovery: TakesOverWithoutRecovery("aK", ONE, names=ALONE),
    TakesItsNameBack: TakesItsNameBack("ab", ONE, names=SAME),
    DrainsWithoutAClaim: DrainsWithoutAClaim("a", TWO),
    DrainsIntoTheEvents: DrainsIntoTheEvents("a", TWO),
    ReturnsRefusedRows: ReturnsRefusedRows("R", TWO),
    CountsOutsideSettle: CountsOutsideSettle("ab", ONE),
    RetriesInMemory: RetriesInMemory("R", ONE),
    ActsAtOnceAfterRedis: ActsAtOnceAfterRedis("ab", {"any": 1, "redis": 1}),
    SweepsTheLiving: SweepsTheLiving("ab", ONE),
    RecoversInTwoCalls: RecoversInTwoCalls("ab", {"any": 2, "crash": 2}),
    RecoversToTheWrongEnd: RecoversToTheWrongEnd("abc", ONE, names=ALONE),
    CountsNoRecovery: CountsNoRecovery("aK", ONE, names=ALONE),
    ClaimsRecoveredWithOthers: ClaimsRecoveredWithOthers("aK", ONE),
    KeepsRecoveredBesideOthers: KeepsRecoveredBesideOthers("aKb", {"any": 0}, names=ALONE, pipelined=True),
    GroupsAtAnyCount: GroupsAtAnyCount("aK", {"any": 0}, names=ALONE),
    GroupsUnderASmallLimit: GroupsUnderASmallLimit("aK", {"any": 0}, names=ALONE),
    ClaimsInTwoCalls: ClaimsInTwoCalls("ab", ONE),
    SettlesWithoutTheFence: SettlesWithoutTheFence("ab", ONE),
    HandsBackBlindly: HandsBackBlindly("ab", {"any": 1, "stop": 1}, names=SAME, pipelined=True),
    ReleasesBlindly: ReleasesBlindly("ab", {"any": 1, "stop": 1}, names=SAME),
    ReleasesWithoutAnotherLook: ReleasesWithoutAnotherLook("a", TWO),
}
