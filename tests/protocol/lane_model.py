"""The protocol of the worker lane as a model: claim, audit, settle, heartbeat, take-over, janitor, pending rows.

Each method is one call of Redis or PostgreSQL, or one step in memory, as services/protocol and services/alerter make
them; between any two the other runs, the clocks and the faults go on. Methods are small so that a hole can be put into
one (lane_holes.py). A run that reads its own list every 10 s may do so at any time here: safety must not lean on when.
"""

from collections.abc import Iterator

from tests.protocol.lane_names import RUNS, LaneNames, Step
from tests.protocol.lane_state import (
    BLOCKED,
    CLAIMED,
    COMMITTED,
    DOWN,
    FIRST,
    JUDGED,
    KILLER,
    LEAVING,
    REFUSED,
    STARTING,
    STOPPING,
    UP,
    WAITS,
    Batch,
    Entries,
    Run,
    State,
    not_among,
    without,
    word,
)

MOST = 2  # entries in a claim
TOGETHER = 2  # entries in a claim of those that were recovered once
RETRIES = 1


class LaneModel(LaneNames):
    """The whole lane: claims, audit, settle and the rows that wait, over the names."""

    limit = 2  # more recoveries make a dead letter
    together = TOGETHER

    def steps(self, state: State) -> Iterator[Step]:
        """Yield each thing that may happen next."""
        for who in range(len(state.runs)):
            yield from self.steps_in_memory(state, who)
            if state.redis:
                yield from self.steps_of_run(state, who)
        if state.redis and state.coming:
            event = state.coming[0]
            yield f"{event} comes", state._replace(queue=(event, *state.queue), coming=state.coming[1:])
        yield from self.steps_of_servers(state)

    def steps_in_memory(self, state: State, who: int) -> Iterator[Step]:
        """Yield what a run does without Redis: judge, audit, be killed."""
        run, me = state.runs[who], RUNS[who]
        if run.mode == DOWN:
            return
        if self.may(state, "crash"):
            yield from self.fault("crash", f"{me} is killed", self.died(state, who), 1)
        for batch in (run.claimed, run.settling):
            if batch and KILLER in batch.entries and self.is_at_work(run, batch):
                yield f"K kills {me}", self.died(state, who)._replace(kills=state.kills + 1)
        if run.claimed and run.claimed.stage == CLAIMED and run.settling is None:
            yield f"{me} judges {run.claimed.entries}", self.judged(state, who, run.claimed)
        if run.settling and run.settling.stage == JUDGED:
            yield from self.audits(state, who, run.settling)
        if run.draining and run.draining.stage == CLAIMED:
            yield from self.writes(state, who, run.draining)

    def steps_of_run(self, state: State, who: int) -> Iterator[Step]:
        """Yield what a run does with Redis."""
        run, me = state.runs[who], RUNS[who]
        if run.mode == DOWN:
            yield from self.tell(f"{me} takes the name {self.names[who]}", self.started(state, who))
            return
        if run.mode == STARTING:
            after = self.handed_back_at_start(state, who, run.name)
            up = after.with_run(who, run._replace(mode=UP))
            yield from self.tell(f"{me} hands back what was left", up, self.died(after, who), 1)
            return
        if run.mode != LEAVING:
            yield from self.beats(state, who, run)
        if run.settling and run.settling.stage in {COMMITTED, WAITS}:
            yield from self.settles(state, who, run, run.settling)
        yield from self.drains(state, who, run)
        if run.mode == UP:
            yield from self.claims(state, who, run)
            yield from self.sweeps(state, who)
            yield from self.fault("stop", f"{me} is asked to stop", state.with_run(who, run._replace(mode=STOPPING)))
        else:
            yield from self.ends(state, who, run)

    # Claims.

    def claims(self, state: State, who: int, run: Run) -> Iterator[Step]:
        """Claim by the script, by BLMOVE and the script, or from the own list."""
        me = RUNS[who]
        if run.claimed and run.claimed.stage == FIRST:
            yield from self.claims_more(state, who, run, run.claimed)
        elif run.claimed and run.claimed.stage == BLOCKED:
            yield from self.waits(state, who, run)
        if run.claimed or (run.settling and not self.may_claim_beside(run.settling)):
            return
        if not self.is_holder(state, who, run.name):
            return
        if entries := self.not_in_flight(state, run):
            batch = self.adopted(state, run.name, entries)
            yield f"{me} adopts {batch.entries}", state.with_run(who, run._replace(claimed=batch))
        elif state.queue:
            after, batch = self.taken(state, run.name)
            claimed = after.with_run(who, run._replace(claimed=batch))
            yield from self.tell(f"{me} claims {batch.entries}", claimed, after)
        elif self.blocking:
            yield f"{me} waits in BLMOVE", state.with_run(who, run._replace(claimed=Batch((), run.name, BLOCKED)))

    def waits(self, state: State, who: int, run: Run) -> Iterator[Step]:
        """Be given the first entry that comes: BLMOVE asks nobody who holds the heartbeat."""
        me, slot = RUNS[who], state.slot(run.name)
        yield f"{me}'s BLMOVE ends with nothing", state.with_run(who, run._replace(claimed=None))
        if state.queue and run.claimed:
            slot, entry = state.slot(run.claimed.name), state.queue[-1]
            after = state._replace(queue=state.queue[:-1]).with_slot(slot._replace(main=(entry, *slot.main)))
            # So an entry may be recovered twice for one stall.
            after = after.touching([entry])._replace(
                blame=state.blame + (not self.is_fenced_in(state, who, run.claimed))
            )
            claimed = after.with_run(who, run._replace(claimed=run.claimed._replace(entries=(entry,), stage=FIRST)))
            lost = after.with_run(who, run._replace(claimed=None))
            yield from self.tell(f"{me}'s BLMOVE brings {entry}", claimed, lost)

    def claims_more(self, state: State, who: int, run: Run, first: Batch) -> Iterator[Step]:
        """Add to what BLMOVE brought, and learn its count; refused when the heartbeat is lost."""
        if not self.is_fenced_in(state, who, first):
            yield f"{RUNS[who]}'s claim is refused", state.with_run(who, run._replace(claimed=None))
            return
        entry = first.entries[0]
        if state.count(entry):
            after, batch = state, first._replace(stage=CLAIMED, recoveries=state.count(entry))
        else:
            after, more = self.taken(state, run.name, MOST - 1, is_first=False)
            batch = first._replace(stage=CLAIMED, entries=first.entries + more.entries)
        given_up = after.with_run(who, run._replace(claimed=None))
        claimed = after.with_run(who, run._replace(claimed=batch))
        yield from self.tell(f"{RUNS[who]} claims {batch.entries} in all", claimed, given_up)

    def taken(self, state: State, name: str, most: int = MOST, *, is_first: bool = True) -> tuple[State, Batch]:
        """Move entries from the queue that go together; behind what BLMOVE brought none that was recovered."""
        count, recoveries = 0, 0
        for entry in reversed(state.queue[-most:]):
            if count == 0 and is_first:
                recoveries = state.count(entry)
            elif not self.goes_along(state.count(entry), recoveries, count):
                break
            count += 1
        queue, moved = state.queue[: len(state.queue) - count], state.queue[len(state.queue) - count :]
        slot = state.slot(name)
        after = state._replace(queue=queue).with_slot(slot._replace(main=moved + slot.main)).touching(moved)
        return after, Batch(moved[::-1], name, CLAIMED, recoveries)

    def goes_along(self, count: int, recoveries: int, size: int) -> bool:
        """Tell whether an entry joins a batch: those that were never recovered do, and few that were once."""
        return count == recoveries and (count == 0 or (count == 1 and size < self.together))

    def not_in_flight(self, state: State, run: Run) -> Entries:
        """Return what the own list has and no batch of this token."""
        held = [entry for batch in (run.claimed, run.settling) if batch and batch.is_current for entry in batch.entries]
        return not_among(state.slot(run.name).main, held)

    def adopted(self, state: State, name: str, entries: Entries) -> Batch:
        """Make a batch of what is not in flight, by the rule of claims."""
        recoveries = state.count(entries[0])
        size = 1
        while size < min(MOST, len(entries)) and self.goes_along(state.count(entries[size]), recoveries, size):
            size += 1
        return Batch(entries[:size], name, CLAIMED, recoveries)

    # From the claim to the settle.

    def is_dead(self, batch: Batch) -> bool:
        """Tell whether a batch is one entry that was recovered too often: it goes to the dead letters unread."""
        return batch.recoveries > self.limit

    def may_claim_beside(self, settling: Batch) -> bool:
        """Tell whether more may be claimed while a batch is on its way: never beside what was recovered."""
        return self.pipelined and not settling.recoveries

    def is_at_work(self, run: Run, batch: Batch) -> bool:
        """Tell whether a run works on a batch: one that was recovered waits until it is alone."""
        if self.is_dead(batch):
            return False
        return batch.stage == JUDGED or (batch.stage == CLAIMED and not (batch.recoveries and run.settling))

    def judged(self, state: State, who: int, batch: Batch) -> State:
        """Pass a batch on to audit and settle."""
        run = state.runs[who]._replace(claimed=None, settling=batch._replace(stage=JUDGED))
        return state.with_run(who, run)

    def audits(self, state: State, who: int, batch: Batch) -> Iterator[Step]:
        """Commit the rows; where PostgreSQL is away for the grace period, or says nothing, let them wait in Redis."""
        me, run = RUNS[who], state.runs[who]
        committed = run._replace(settling=batch._replace(stage=COMMITTED))
        waiting = run._replace(settling=batch._replace(stage=WAITS))
        if self.is_dead(batch):
            yield f"{me} gives up {batch.entries}", state.with_run(who, committed)
        elif state.database:
            after = self.written(state, batch.entries)
            yield f"{me} commits the rows of {batch.entries}", after.with_run(who, committed)
            yield from self.fault("commit", f"{me} hears nothing of its commit", after.with_run(who, waiting))
        else:
            yield f"{me} lets the rows of {batch.entries} wait", state.with_run(who, waiting)

    def written(self, state: State, entries: Entries) -> State:
        """Return the state with rows, those that are there left as they are."""
        fresh = {entry[0] for entry in entries} - {REFUSED} - set(state.rows)
        return state._replace(rows=word([*state.rows, *fresh]))

    def settles(self, state: State, who: int, run: Run, batch: Batch) -> Iterator[Step]:
        """Settle a batch, again and again until an answer comes."""
        me, done = RUNS[who], run._replace(settling=None)
        if not self.is_fenced_in(state, who, batch):
            yield f"{me}'s settle of {batch.entries} is refused", state.with_run(who, done)
            return
        after = self.settled(state, who, batch)
        yield from self.tell(f"{me} settles {batch.entries}", after.with_run(who, done), after)

    def settled(self, state: State, who: int, batch: Batch) -> State:
        """Take entries from the list and push what follows from those that were still there."""
        after, found = self.removed(state, batch)
        if found and not (batch.is_current and state.slot(batch.name).holder == RUNS[who]):
            after = after._replace(wrong="a batch was settled that belongs to others")
        for entry in found:
            after = self.followed(after, batch, entry)
        return after

    def removed(self, state: State, batch: Batch) -> tuple[State, list[str]]:
        """Take entries from the processing list, with their counts; returns those found."""
        slot, found, counts = state.slot(batch.name), [], dict(state.counts)
        for entry in batch.entries:
            if entry in slot.main:
                slot = slot._replace(main=without(slot.main, entry))
                found.append(entry)
                counts.pop(entry, None)
        return state.with_slot(slot).with_counts(counts), found

    def followed(self, state: State, batch: Batch, entry: str) -> State:
        """Push one entry's alert, retry or dead letter; count its pattern."""
        event = entry[0]
        if self.is_dead(batch):
            return state._replace(dead=state.dead + event)
        if event == REFUSED and batch.stage == COMMITTED:
            retries = int(entry[1:] or 0) + 1
            if retries > RETRIES:
                return state._replace(dead=word(state.dead + event))
            return self.retried(state, f"{event}{retries}")
        state = state._replace(alerts=word(state.alerts + event), hits=word(state.hits + event))
        return state._replace(pending=(event, *state.pending)) if batch.stage == WAITS else state

    def retried(self, state: State, entry: str) -> State:
        """Put an entry that PostgreSQL refused in front of the queue."""
        return state._replace(queue=(*state.queue, entry)).touching([entry])

    # Rows that waited for PostgreSQL.

    def drains(self, state: State, who: int, run: Run) -> Iterator[Step]:
        """Claim rows into the side list, write them, settle them."""
        me, slot, batch = RUNS[who], state.slot(run.name), run.draining
        if batch and batch.stage == COMMITTED:
            done = run._replace(draining=None)
            if not self.is_fenced_in(state, who, batch):
                yield f"{me}'s settle of waiting rows is refused", state.with_run(who, done)
                return
            after = self.drained(state, batch).with_run(who, done)
            yield from self.tell(f"{me} settles the waiting rows {batch.entries}", after, after)
        if batch or not state.database or not self.is_holder(state, who, run.name):
            return
        if slot.side:
            claimed = run._replace(draining=Batch(slot.side[::-1][:MOST], run.name, CLAIMED))
            yield f"{me} adopts the waiting rows {slot.side[::-1][:MOST]}", state.with_run(who, claimed)
        elif state.pending:
            moved = state.pending[-MOST:]
            after = state._replace(pending=state.pending[: -len(moved)])
            after = after.with_slot(slot._replace(side=moved + slot.side))
            claimed = run._replace(draining=Batch(moved[::-1], run.name, CLAIMED))
            yield from self.tell(f"{me} claims the waiting rows {moved[::-1]}", after.with_run(who, claimed), after)

    def writes(self, state: State, who: int, batch: Batch) -> Iterator[Step]:
        """Commit rows that waited; where PostgreSQL is away again, give them up to the next adoption."""
        run = state.runs[who]
        if state.database:
            after = self.written(state, batch.entries)
            committed = run._replace(draining=batch._replace(stage=COMMITTED))
            yield f"{RUNS[who]} commits the waiting rows {batch.entries}", after.with_run(who, committed)
        else:
            yield f"{RUNS[who]} gives up the waiting rows", state.with_run(who, run._replace(draining=None))

    def drained(self, state: State, batch: Batch) -> State:
        """Take rows from the side list; one that PostgreSQL refuses goes to poison."""
        slot = state.slot(batch.name)
        for row in batch.entries:
            if row in slot.side:
                slot = slot._replace(side=without(slot.side, row))
                if row[0] == REFUSED:
                    state = state._replace(poison=state.poison + row[0])
        return state.with_slot(slot)
