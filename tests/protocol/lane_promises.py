"""What the lane promises in every state, and what its good end is."""

from collections.abc import Iterator

from tests.protocol.explorer import Exploration, explore
from tests.protocol.lane_model import LaneModel
from tests.protocol.lane_names import RUNS
from tests.protocol.lane_state import KILLER, Entries, State

SHARED = 2  # counts of a killer that another entry may gather


def explored(model: LaneModel) -> Exploration[State]:
    """Explore a model."""
    return explore(
        model.initial(),
        model.steps,
        lambda state: list(problems(model, state)),
        lambda state: is_done(model, state),
    )


def problems(model: LaneModel, state: State) -> Iterator[str]:
    """Yield each promise that a state breaks."""
    events, stalls = model.events, dict(model.faults).get("stall", 0) - dict(state.faults).get("stall", 0)
    here = "".join(entry[0] for entry in listed(state))
    waiting = {row[0] for row in waiting_rows(state)}
    for event in events.removesuffix(state.coming):
        yield from problems_of(event, here.count(event), state, is_waiting=event in waiting)
    for entry, count in state.counts:
        # Of K's deaths the first may count it, and one in a group: never so many that they alone make it a dead letter.
        if entry[0] != KILLER and count > state.blame + min(state.kills, SHARED, model.limit):
            yield f"{entry} was counted {count} times, and is not at fault"
    # A run that stalls while it starts takes over what the last one left without a count.
    if state.kills > model.limit + 1 + stalls:
        yield f"K has killed {state.kills} runs"
    places = [entry[0] in state.touched for entry in state.queue]
    if places != sorted(places):
        yield "a claimed entry went behind one that never was"
    for run, who in zip(state.runs, RUNS, strict=False):
        held = [batch for batch in (run.claimed, run.settling) if batch and batch.is_current]
        flying = [entry for batch in held if state.slot(batch.name).holder == who for entry in batch.entries]
        if len(flying) > len(set(flying)):
            yield "an entry is in flight twice in one run"
    if state.wrong:
        yield state.wrong


def problems_of(event: str, copies: int, state: State, *, is_waiting: bool) -> Iterator[str]:
    """Yield what is wrong with one event."""
    alerts, rows, dead = state.alerts.count(event), state.rows.count(event), state.dead.count(event)
    if copies + dead > 1:
        yield f"{event} is there {copies + dead} times"
    if alerts > 1:
        yield f"{event}'s alert was pushed {alerts} times"
    if rows > 1:
        yield f"{event} has {rows} audit rows"
    if state.hits.count(event) > 1:
        yield f"{event} was counted twice under its pattern"
    if copies and alerts:
        yield f"{event} is queued again although its alert has gone"
    if not copies + dead:
        if not alerts:
            yield f"{event} is lost"
        elif not (rows or is_waiting or event in state.poison):
            yield f"{event}'s audit row is lost"


def listed(state: State) -> Entries:
    """Return the entries of the queue and of all processing lists."""
    return sum((slot.main for slot in state.slots), state.queue)


def waiting_rows(state: State) -> Entries:
    """Return the rows that wait for PostgreSQL, in whatever list."""
    return sum((slot.side for slot in state.slots), state.pending)


def is_done(model: LaneModel, state: State) -> bool:
    """Tell whether every event has come to its end, and no list holds an orphan."""
    if state.coming or listed(state) or (model.database_returns and waiting_rows(state)):
        return False
    return all(event in state.dead or (event in state.alerts and event in state.hits) for event in model.events)
