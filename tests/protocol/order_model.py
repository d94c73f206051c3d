"""The model of what may overtake what: a problem and its clear, which share a signature, and the forwarders' memory.

What waits in the set of retries falls due in the order in which it was put there: what must not overtake a problem is
put behind it (`Flight.take_overtaking`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.protocol.explorer import FAULT, Exploration, explore

PROBLEM, CLEAR = 0, 1
NOTHING = -1
NAMES = "ab"

Alerts = tuple[int, ...]


class Forwarder(NamedTuple):
    """What one forwarder holds in order, what it has under way, and which alert it lets none of its like overtake."""

    pending: Alerts = ()
    under_way: int = NOTHING
    deferred: int = NOTHING


class State(NamedTuple):
    """Queues with the next to be claimed first; `delivered` in the order of the answers."""

    faults: int
    forwarders: tuple[Forwarder, ...]
    queue: Alerts = (PROBLEM, CLEAR)
    waiting: Alerts = ()
    due: Alerts = ()
    letters: Alerts = ()
    delivered: Alerts = ()

    def put(self, who: int, forwarder: Forwarder) -> "State":
        """Return the state with one forwarder changed."""
        return self._replace(forwarders=(*self.forwarders[:who], forwarder, *self.forwarders[who + 1 :]))


Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class OrderModel:
    """How many forwarders there are, and what may happen to them beside answers 500."""

    forwarders: int = 1
    faults: int = 3
    may_restart: bool = False
    may_fail_as_probe: bool = False
    may_die: bool = False
    may_be_late: bool = False

    def explored(self) -> Exploration[State]:
        """Visit every state."""
        initial = State(self.faults, (Forwarder(),) * self.forwarders)
        return explore([initial], self.steps, self.check, lambda state: len(set(state.delivered + state.letters)) == 2)

    def check(self, state: State) -> list[str]:
        """Say what is wrong in a state."""
        overtook = state.delivered[:1] == (CLEAR,)
        return ["the clear was delivered before its problem, which stays open for ever"] if overtook else []

    def steps(self, state: State) -> Steps:
        """Yield all that may happen next."""
        if state.waiting:
            first, *rest = state.waiting
            yield f"time: {_name(first)} falls due", state._replace(waiting=tuple(rest), due=(*state.due, first))
        for who, one in enumerate(state.forwarders):
            for what, following in self.forwards(state, who, one):
                yield f"{NAMES[who]}: {what}", following
            if state.faults:
                for what, following in self.fails(state, who, one):
                    yield f"{FAULT}{NAMES[who]}: {what}", following._replace(faults=state.faults - 1)

    def forwards(self, state: State, who: int, one: Forwarder) -> Steps:
        """Yield what a forwarder does next: what is due is claimed first, what shares a signature sent one by one."""
        if state.due or state.queue:
            first = (state.due or state.queue)[0]
            left = state._replace(due=state.due[1:]) if state.due else state._replace(queue=state.queue[1:])
            yield f"claims {_name(first)}", left.put(who, one._replace(pending=(*one.pending, first)))
        if one.under_way != NOTHING:
            alert = one.under_way
            deferred = NOTHING if one.deferred == alert else one.deferred
            answered = state.put(who, one._replace(under_way=NOTHING, deferred=deferred))
            yield f"is answered 200 for {_name(alert)}", answered._replace(delivered=(*state.delivered, alert))
        elif one.pending:
            first, *rest = one.pending
            if one.deferred in (NOTHING, first):
                yield f"sends {_name(first)}", state.put(who, one._replace(pending=tuple(rest), under_way=first))
            else:
                held = state.put(who, one._replace(pending=tuple(rest)))
                yield f"lets {_name(first)} wait", held._replace(waiting=(*state.waiting, first))

    def fails(self, state: State, who: int, one: Forwarder) -> Steps:
        """Yield the faults."""
        if one.under_way != NOTHING:
            alert = one.under_way
            failed = state.put(who, one._replace(under_way=NOTHING, deferred=alert))
            yield f"is answered 500 for {_name(alert)}", failed._replace(waiting=(*state.waiting, alert))
            ended = state.put(who, one._replace(under_way=NOTHING, deferred=NOTHING))
            if self.may_fail_as_probe and not one.pending:
                yield f"is answered 500 for the probe, {_name(alert)}", ended._replace(queue=(*state.queue, alert))
            if self.may_die:
                yield f"is answered 400 for {_name(alert)}", ended._replace(letters=(*state.letters, alert))
        if self.may_be_late and one.deferred != NOTHING:
            yield "does not see it within two seconds after it was due", state.put(who, one._replace(deferred=NOTHING))
        if self.may_restart:
            held = one.pending if one.under_way == NOTHING else (one.under_way, *one.pending)
            yield "is killed and starts again", state.put(who, Forwarder())._replace(queue=(*held, *state.queue))


def _name(alert: int) -> str:
    return "the problem" if alert == PROBLEM else "the clear"
