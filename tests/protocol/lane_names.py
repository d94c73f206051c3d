"""The names of a lane's runs: heartbeats, take-over, displacement, recovery, the janitor and the orderly end."""

from collections.abc import Iterator, Mapping

from tests.protocol.explorer import FAULT
from tests.protocol.lane_state import (
    DOWN,
    LEAVING,
    NOBODY,
    STARTING,
    STOPPING,
    STRANGER,
    UP,
    Batch,
    Run,
    Slot,
    State,
)

RUNS = "ABC"

Step = tuple[str, State]


class LaneNames:
    """Two runs, A and B (or one, or three), on `events` (the first is the oldest), more of which may come `later`.

    `faults` says how often each kind may happen.

    Kinds: crash, stall (a living run's heartbeat expires), lost (a reply), stop (SIGTERM), database, redis (away and
    back), commit (acknowledged to nobody); `any` bounds their sum. `names` are the pod names, B starts late where A has
    its name. `blocking` claims by BLMOVE and then the script; `pipelined` claims the next batch while one is audited.
    """

    def __init__(
        self,
        events: str,
        faults: Mapping[str, int],
        *,
        names: tuple[str, ...] = ("x", "y"),
        later: str = "",
        blocking: bool = False,
        pipelined: bool = False,
        database_returns: bool = True,
    ) -> None:
        self.events = events + later
        self.later = later
        self.names = names
        self.faults = tuple(sorted(faults.items()))
        self.blocking = blocking
        self.pipelined = pipelined
        self.database_returns = database_returns

    # States and what servers do.

    def initial(self) -> list[State]:
        """Return the state in which all events are queued and the runs are up."""
        events = self.events.removesuffix(self.later)
        state = State(tuple(reversed(events)), (), faults=self.faults, coming=self.later)
        for who, name in enumerate(self.names):
            is_free = state.slot(name) == Slot(name)
            state = state._replace(runs=(*state.runs, Run(UP if is_free else DOWN, name)))
            if is_free:
                state = state.with_slot(Slot(name, RUNS[who]))
        return [state]

    def steps_of_servers(self, state: State) -> Iterator[Step]:
        """Yield what heartbeats and servers do."""
        for slot in state.slots:
            if slot.holder != NOBODY:
                gone = state.with_slot(slot._replace(holder=NOBODY))
                if slot.holder == STRANGER or not state.redis:
                    yield f"the heartbeat of {slot.name} expires", gone
                elif self.may(state, "stall"):
                    yield from self.fault("stall", f"the heartbeat of {slot.name} expires under a living run", gone, 1)
        if state.redis:
            yield from self.fault("redis", "Redis goes away", state._replace(redis=False))
        else:
            living = "".join(RUNS[who] for who, run in enumerate(state.runs) if run.mode != DOWN)
            yield "Redis comes back", state._replace(redis=True, unseen=living)
        if state.database:
            yield from self.fault("database", "PostgreSQL goes away", state._replace(database=False))
        elif self.database_returns:
            yield "PostgreSQL comes back", state._replace(database=True)

    def may(self, state: State, kind: str) -> bool:
        """Tell whether there may be another fault of a kind."""
        left = dict(state.faults)
        return left["any"] > 0 and left.get(kind, 0) > 0

    def fault(self, kind: str, label: str, after: State, blame: int = 0) -> Iterator[Step]:
        """Yield a fault where there may be another of its kind."""
        if self.may(after, kind):
            left = dict(after.faults)
            left[kind] -= 1
            left["any"] -= 1
            yield FAULT + label, after._replace(faults=tuple(left.items()), blame=after.blame + blame)

    def tell(self, label: str, after: State, lost: State | None = None, blame: int = 0) -> Iterator[Step]:
        """Yield a step, and likewise the one after which the caller does not know that it was taken."""
        yield label, after
        if lost is not None:
            yield from self.fault("lost", f"{label}; the reply is lost", lost, blame)

    # Names and heartbeats.

    def died(self, state: State, who: int) -> State:
        """Return the state without a run's memory; the tokens that it knew are nobody's now."""
        for slot in state.slots:
            if slot.holder == RUNS[who]:
                state = state.with_slot(slot._replace(holder=STRANGER))
        state = state._replace(unseen=state.unseen.replace(RUNS[who], ""))
        return state.with_run(who, Run(DOWN, self.names[who]))

    def started(self, state: State, who: int) -> State:
        """Take the name at once, whoever has it."""
        slot = state.slot(self.names[who])
        state = state._replace(blame=state.blame + (slot.holder in set(RUNS) - {RUNS[who]}))
        return state.with_slot(slot._replace(holder=RUNS[who])).with_run(who, Run(STARTING, slot.name))

    def handed_back_at_start(self, state: State, who: int, name: str) -> State:
        """Recover what was left under the name, while it is held."""
        if not self.is_holder(state, who, name):
            return state
        return self.recovered(state, name, is_counted=True)

    def is_holder(self, state: State, who: int, name: str) -> bool:
        """Tell what each script asks first."""
        return state.slot(name).holder == RUNS[who]

    def is_fenced_in(self, state: State, who: int, batch: Batch) -> bool:
        """Tell whether the heartbeat still holds the token under which a batch was claimed."""
        return batch.is_current and self.is_holder(state, who, batch.name)

    def beats(self, state: State, who: int, run: Run) -> Iterator[Step]:
        """Refresh; where absent, go on under a new token; where foreign, under a new name."""
        me, slot = RUNS[who], state.slot(run.name)
        seen = state._replace(unseen=state.unseen.replace(me, ""))
        if slot.holder == me:
            if me in state.unseen:
                yield f"{me} beats", seen
            return
        if slot.holder == NOBODY:
            after = self.taken_again(seen.with_slot(slot._replace(holder=me)), who, run)
            lost = state.with_slot(slot._replace(holder=STRANGER))
            yield from self.tell(f"{me} finds its heartbeat absent and takes it again", after, lost, 1)
        else:
            after = self.displaced(seen, who, run)
            if after.slot(run.name).holder != slot.holder:
                after = after._replace(wrong="a displaced run took its name back")
            yield f"{me} finds itself displaced", after

    def taken_again(self, state: State, who: int, run: Run) -> State:
        """Go on under a new token: what was in flight is no longer this run's."""
        return state.with_run(who, self.aged(run))

    def displaced(self, state: State, who: int, run: Run) -> State:
        """Go on under another name and leave the old one to whoever has it."""
        used = {slot.name for slot in state.slots} | {batch.name for batch in run.batches()}
        name = next(name for number in range(9) if (name := f"{RUNS[who]}{number}") not in used)
        return state.with_slot(Slot(name, RUNS[who])).with_run(who, self.aged(run)._replace(name=name))

    def aged(self, run: Run) -> Run:
        """Return the run with all of its batches claimed under an older token."""
        olds = [each and each._replace(is_current=False) for each in (run.claimed, run.settling, run.draining)]
        return run._replace(claimed=olds[0], settling=olds[1], draining=olds[2])

    def recovered(self, state: State, name: str, *, is_counted: bool, side: bool = True) -> State:
        """Hand back the lists of a name, in their order, to the end that claims take from."""
        slot = state.slot(name)
        if is_counted:
            counts = dict(state.counts)
            for entry in slot.main:
                counts[entry] = counts.get(entry, 0) + 1
            state = state.with_counts(counts)
        state = state._replace(queue=state.queue + slot.main)
        if side:
            state = state._replace(pending=state.pending + slot.side)
        return state.with_slot(slot._replace(main=(), side=() if side else slot.side))

    def sweeps(self, state: State, who: int) -> Iterator[Step]:
        """Be the janitor: never before everybody could beat after Redis was away."""
        if self.has_embargo(state):
            return
        for slot in state.slots:
            if slot.main + slot.side and self.looks_dead(slot):
                after = self.recovered(state, slot.name, is_counted=True)
                yield f"the janitor of {RUNS[who]} hands back what {slot.name} left", after

    def has_embargo(self, state: State) -> bool:
        """Tell whether heartbeats may be absent only because Redis was."""
        return bool(state.unseen)

    def looks_dead(self, slot: Slot) -> bool:
        """Tell whether the janitor may take a list."""
        return slot.holder == NOBODY

    # The orderly end.

    def ends(self, state: State, who: int, run: Run) -> Iterator[Step]:
        """Hand back what is not settled, uncounted, then release the name and look once more."""
        me, holder = RUNS[who], self.is_holder(state, who, run.name)
        if run.mode == STOPPING:
            after = self.handed_back(state, who, run)
            left = run._replace(mode=LEAVING, claimed=None, settling=None)
            lost = self.died(after, who)
            yield from self.tell(f"{me} hands back what it holds", after.with_run(who, left), lost, 1)
        else:
            after = self.released(state, who, run)
            slot = after.slot(run.name)
            if holder and slot.holder == NOBODY and slot.main + slot.side:
                after = after._replace(wrong="an orderly end left something behind")
            yield f"{me} releases its name and ends", self.died(after, who)

    def handed_back(self, state: State, who: int, run: Run) -> State:
        """Hand back while the name is held."""
        return self.recovered(state, run.name, is_counted=False) if self.is_holder(state, who, run.name) else state

    def released(self, state: State, who: int, run: Run) -> State:
        """Remove the heartbeat, then hand back what was claimed meanwhile: after this no claim can be."""
        if not self.is_holder(state, who, run.name):
            return state
        after = state.with_slot(state.slot(run.name)._replace(holder=NOBODY))
        return self.recovered(after, run.name, is_counted=False)
