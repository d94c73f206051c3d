"""The model of delivery: forwarders, the circuit they share, retries, dead letters and remediation's help.

Each step is one script in Redis, one request, or the passing of time. A generation is known only by whether it is still
the present one. A label is `who: what`, a fault's begins with FAULT. What a hole changes is a method of its own.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

from tests.protocol import circuit_state as at
from tests.protocol.circuit_rules import Rules
from tests.protocol.circuit_state import (
    ALWAYS_500,
    CLOSED,
    GONE,
    HALF_OPEN,
    NOBODY,
    NOTHING,
    OPEN,
    Forwarder,
    State,
    without,
)
from tests.protocol.explorer import FAULT, Exploration, explore

Move = Callable[[State, int, Forwarder], State | None]
Steps = Iterator[tuple[str, State]]


class CircuitModel(Rules):
    """All that may happen, in any order."""

    def explored(self) -> Exploration[State]:
        """Visit every state."""
        return explore([self.initial()], self.steps, self.check, self.is_done)

    def initial(self) -> State:
        """Return the beginning: every alert in the queue."""
        count = len(self.kinds)
        queue, zeros = tuple(range(count)), (0,) * count
        return State(queue, zeros, zeros, (False,) * count, self.faults, (Forwarder(),) * self.forwarders, self.mode)

    def steps(self, state: State) -> Steps:
        """Yield all that may happen next."""
        for who, forwarder in enumerate(state.forwarders):
            name = at.NAMES[who]
            for what, following in self.forwards(state, who, forwarder):
                yield f"{name}: {what}", following
            if state.faults:
                for what, following in self.fails(state, who, forwarder):
                    yield f"{FAULT}{name}: {what}", following.faulty()
        yield from self.time(state)
        yield from self.remediation(state)

    def check(self, state: State) -> list[str]:
        """Say what is wrong in a state."""
        problems = [state.wrong] if state.wrong else []
        listed = tuple(each.listed for each in state.forwarders)
        for alert in range(len(self.kinds)):
            places = (*state.queue, *state.waiting, *state.due, *state.letters, *state.poison, *listed).count(alert)
            if places > 1:
                problems.append(f"alert {alert} is in {places} places")
            if places == 0 and not state.got[alert]:
                problems.append(f"alert {alert} is nowhere in Redis and was never delivered")
        if sum(each.phase == at.SENT and each.probe for each in state.forwarders) > 1:
            problems.append("two probes are under way")
        return problems

    def is_done(self, state: State) -> bool:
        """Tell a good end: what Moogsoft can take is delivered or visibly given up, and the circuit is closed."""
        if any(each.phase != at.IDLE or each.listed != NOTHING for each in state.forwarders) or state.lease != NOBODY:
            return False
        left = {self.kinds[alert] for alert in (*state.queue, *state.waiting, *state.due, *state.letters)}
        return left <= {ALWAYS_500} and (state.mode == CLOSED or left == {ALWAYS_500})

    @cached_property
    def moves(self) -> dict[int, tuple[str, Move]]:
        """Return `table`, made once."""
        return self.table()

    def table(self) -> dict[int, tuple[str, Move]]:
        """Return what a forwarder does next in each phase that leaves it no choice."""
        return {
            at.IDLE: ("asks", self.asked),
            at.PERMITTED: ("claims", self.claimed),
            at.CLAIMED: ("looks again", self.looked),
            at.ANSWERED: ("tells the circuit", self.told),
            at.TOLD: ("settles", self.settled),
            at.BACK: ("settles", self.settled),
            at.DEAD: ("starts again", lambda state, who, _: state.recovered(who).put(who, Forwarder())),
        }

    def forwards(self, state: State, who: int, one: Forwarder) -> Steps:
        """Yield what a forwarder does next, and what becomes of one whose heartbeat has gone."""
        if one.phase in self.moves:
            what, move = self.moves[one.phase]
            if (following := move(state, who, one)) is not None:
                yield what, following
        elif one.phase == at.SENT:
            for answer, is_fault in at.ANSWERS[self.kinds[one.alert]]:
                if not is_fault:
                    yield f"is answered {answer}", self.answered(state, who, one, answer)
        else:
            may_send = self.may_send(state, who, one)
            if may_send:
                yield "sends", self.sent(state, who, one)
            if not may_send or not one.fresh:
                yield "takes it back unsent", state.put(who, one._replace(phase=at.BACK))
        if one.listed != NOTHING and not one.beats:
            yield "its list is handed back", state.recovered(who)

    def fails(self, state: State, who: int, one: Forwarder) -> Steps:
        """Yield the faults that may befall a forwarder."""
        if one.phase == at.DEAD:
            return
        dead = Forwarder(at.DEAD, listed=one.listed, beats=False)
        lease = GONE if state.lease == who else state.lease
        yield "is killed", state._replace(untold=without(state.untold, one.alert), lease=lease).put(who, dead)
        if one.listed != NOTHING and one.beats:
            yield "stalls past its heartbeat", state.put(who, one._replace(beats=False))
        if one.phase == at.SENT:
            for answer, is_fault in at.ANSWERS[self.kinds[one.alert]]:
                if is_fault:
                    yield f"is answered {answer}", self.answered(state, who, one, answer)
        elif one.phase in self.moves:
            what, move = self.moves[one.phase]
            following = move(state, who, one)
            unaware = None if following is None else self.unaware(one, following.forwarders[who])
            if following is not None and unaware is not None:
                yield f"{what}, the reply is lost", following.put(who, unaware)

    def unaware(self, one: Forwarder, after: Forwarder) -> Forwarder | None:
        """Return what a forwarder is like that was not told what its script did; None where nothing is lost by that."""
        match one.phase:
            case at.IDLE if after.probe:
                return one
            case at.PERMITTED if after.phase == at.CLAIMED and one.listed == NOTHING:
                return Forwarder(listed=after.listed)
            case at.ANSWERED if not one.told_once:
                return after._replace(phase=at.ANSWERED, told_once=True)
            case at.TOLD | at.BACK if one.beats and self.is_found(one):
                return one._replace(listed=NOTHING)
        return None

    # What time and remediation do.

    def time(self, state: State) -> Steps:
        """Yield what passes."""
        if state.mode == OPEN and not state.over:
            yield "time: the open time is over", state._replace(over=True)
        for alert in state.waiting:
            following = state._replace(waiting=without(state.waiting, alert), due=(*state.due, alert))
            yield f"time: alert {alert} falls due", following
        if state.lease != NOBODY and self.may_end(state):
            # A holder that lives keeps no one waiting unless it stalls.
            name = "time: the probe's lease ends"
            yield name if state.lease == GONE else FAULT + name, state._replace(lease=NOBODY)

    def remediation(self, state: State) -> Steps:
        """Yield what remediation does: services/remediation/scan.py, each move one script."""
        if state.letters and self.may_move(state):
            letter, *rest = state.letters
            left = state._replace(letters=tuple(rest))
            if state.attempts[letter] >= self.max_attempts:
                wrong = "" if state.mode == CLOSED else "a dead letter was given up while the circuit was not closed"
                yield "remediation: gives a letter up", left._replace(poison=(*left.poison, letter), wrong=wrong)
            elif state.mode == CLOSED:
                yield "remediation: replays a letter", self.released(left.attempting(letter), letter)
        is_over = state.mode == HALF_OPEN or (state.mode == OPEN and state.over)
        if not is_over or state.queue or state.waiting or state.due or self.is_probed(state):
            return
        if state.letters:
            letter, *rest = state.letters
            yield (
                "remediation: releases a letter as the probe",
                self.as_probe(state._replace(letters=tuple(rest)), letter),
            )
        elif self.closes_idle():
            is_early = any(each.phase == at.SENT and each.probe and each.fresh for each in state.forwarders)
            wrong = "closed while a probe was under way" if is_early else ""
            yield "remediation: closes the idle circuit", state.turned(CLOSED)._replace(wrong=wrong)
