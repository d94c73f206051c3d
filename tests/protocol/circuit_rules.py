"""The rules of delivery, each what one script in Redis or one decision of the forwarder does; a hole replaces one."""

from dataclasses import dataclass

from tests.protocol import circuit_state as at
from tests.protocol.circuit_state import (
    CLOSED,
    GONE,
    GOOD,
    HALF_OPEN,
    NOBODY,
    NOTHING,
    OPEN,
    RESULT,
    WELL,
    Forwarder,
    State,
    without,
)


@dataclass(frozen=True)
class Rules:
    """The sizes of a model: the kinds of its alerts, how many faults may happen, and the limits that are settings."""

    kinds: tuple[str, ...] = (GOOD,)
    faults: int = 2
    forwarders: int = 2
    threshold: int = 2
    mode: str = CLOSED
    max_retries: int = 1
    max_attempts: int = 1

    def asked(self, state: State, who: int, one: Forwarder) -> State | None:
        """Ask for permission: services/protocol/lua/circuit_permit.lua; None where there is none."""
        is_probe = state.mode != CLOSED
        if state.mode == OPEN and not state.over:
            return None
        if is_probe and not (state.lease == who and state.mode == HALF_OPEN):
            if not self.may_take_lease(state) or not (state.queue or state.due):
                return None
            state = state.turned(HALF_OPEN)._replace(lease=who)
        return state.put(who, one._replace(phase=at.PERMITTED, fresh=True, probe=is_probe))

    def claimed(self, state: State, who: int, one: Forwarder) -> State:
        """Adopt what is listed, claim what is due, or what is queued; a probe without an alert gives its lease back."""
        if not one.beats:
            return state.put(who, Forwarder(listed=one.listed))
        if one.listed != NOTHING:
            return state.put(who, one._replace(phase=at.CLAIMED, alert=one.listed))
        if state.due:
            alert, *rest = state.due
            claimed = state._replace(due=tuple(rest))
            return claimed.put(who, one._replace(phase=at.CLAIMED, alert=alert, listed=self.listed_when_due(alert)))
        if state.queue:
            alert, *rest = state.queue
            claimed = state._replace(queue=tuple(rest))
            return claimed.put(who, one._replace(phase=at.CLAIMED, alert=alert, listed=alert))
        if one.probe and one.fresh:
            state = self.given_back(state)
        return state.put(who, Forwarder())

    def looked(self, state: State, who: int, one: Forwarder) -> State:
        """Take an alert in only under the permission that it was claimed under."""
        is_taken = self.may_take_in(one)
        wrong = "an alert was taken in while the circuit was open" if is_taken and state.mode == OPEN else state.wrong
        return state._replace(wrong=wrong).put(who, one._replace(phase=at.TAKEN if is_taken else at.BACK))

    def sent(self, state: State, who: int, one: Forwarder) -> State:
        """Send: of a probe, only with its lease begun anew."""
        if one.alert in state.untold and one.listed == one.alert:
            wrong = f"alert {one.alert} is sent again before the circuit knows of its failure"
            state = state._replace(wrong=wrong)
        return state.put(who, one._replace(phase=at.SENT))

    def answered(self, state: State, who: int, one: Forwarder, answer: str) -> State:
        """Get an answer, or none."""
        if answer in (WELL, at.LOST):
            got = tuple(has or alert == one.alert for alert, has in enumerate(state.got))
            state = state._replace(got=got)
        if RESULT[answer] in "fm" and one.listed == one.alert:
            state = state._replace(untold=tuple(sorted({*state.untold, one.alert})))
        return state.put(who, one._replace(phase=at.ANSWERED, answer=answer))

    def told(self, state: State, who: int, one: Forwarder) -> State:
        """Tell the circuit: services/protocol/lua/circuit_report.lua."""
        state = state._replace(untold=without(state.untold, one.alert))
        if self.counts(one) and self.heeds(one):
            state = self.learned(state, one)
        return state.put(who, state.forwarders[who]._replace(phase=at.TOLD))

    def learned(self, state: State, one: Forwarder) -> State:
        """Let the circuit learn a result."""
        result = RESULT[one.answer]
        is_real = one.fresh and not one.told_once
        if state.mode == HALF_OPEN:
            if result == "u":
                return self.given_back(state)
            wrong = "" if is_real else "an answer to an older request decided over the probe"
            return state.turned(CLOSED if result == "w" else OPEN)._replace(wrong=wrong)
        if state.mode == OPEN or result == "u":
            return state
        if result == "w":
            return state._replace(failures=0, real_failures=0)
        state = state._replace(
            failures=state.failures + (result == "f"), real_failures=state.real_failures + (result == "f" and is_real)
        )
        if result == "f" and state.failures < self.threshold:
            return state
        is_right = is_real and (result == "m" or state.real_failures >= self.threshold)
        return state.turned(OPEN)._replace(wrong="" if is_right else "opened without enough failures")

    def settled(self, state: State, who: int, one: Forwarder) -> State:
        """Settle: services/protocol/lua/settle.lua. Refused without a heartbeat; then under a new one."""
        if not one.beats:
            return state.put(who, one._replace(beats=True))
        if self.is_found(one):
            state = self.moved(state, one)
        return state.put(who, Forwarder())

    def moved(self, state: State, one: Forwarder) -> State:
        """Return the state with the alert where its answer sends it: `mutt.forwarding.resolve`."""
        alert = one.alert
        if one.phase == at.BACK:
            state = state._replace(queue=(alert, *state.queue))
        elif one.answer == at.THROTTLED:
            state = self.throttled(state, alert)
        elif one.answer == at.REJECTED:
            state = state._replace(letters=(*state.letters, alert))
        elif one.answer != WELL:
            state = self.failed(state, one)
        return state

    def failed(self, state: State, one: Forwarder) -> State:
        """Return the state with the alert where a failure sends it."""
        if one.probe:
            return self.probe_failed(state, one.alert)
        if one.answer == at.CONFIG:
            return self.misconfigured(state, one.alert)
        state = state.spending(one.alert)
        if state.spent[one.alert] > self.max_retries:
            return state._replace(letters=(*state.letters, one.alert))
        return self.retried(state, one.alert)

    def throttled(self, state: State, alert: int) -> State:
        """Let it wait, nothing spent."""
        return state._replace(waiting=tuple(sorted((*state.waiting, alert))))

    def misconfigured(self, state: State, alert: int) -> State:
        """Put it back, nothing spent."""
        return state._replace(queue=(alert, *state.queue))

    def probe_failed(self, state: State, alert: int) -> State:
        """Put it behind the queue, nothing spent."""
        return state._replace(queue=(*state.queue, alert))

    def retried(self, state: State, alert: int) -> State:
        """Let it wait for its retry."""
        return state._replace(waiting=tuple(sorted((*state.waiting, alert))))

    # What the holes are about.

    def may_take_lease(self, state: State) -> bool:
        """Tell whether a probe is nobody's."""
        return state.lease == NOBODY

    def listed_when_due(self, alert: int) -> int:
        """Return what the processing list holds after a retry was claimed."""
        return alert

    def may_take_in(self, one: Forwarder) -> bool:
        """Tell whether the permission still holds after the claim."""
        return one.fresh

    def may_send(self, state: State, who: int, one: Forwarder) -> bool:
        """Tell whether the request may begin; what is no probe may be half a second late."""
        return not one.probe or (state.mode == HALF_OPEN and state.lease == who and one.fresh)

    def counts(self, one: Forwarder) -> bool:
        """Tell whether a report is the first of its number."""
        return not one.told_once

    def heeds(self, one: Forwarder) -> bool:
        """Tell whether a result is of this generation."""
        return one.fresh

    def given_back(self, state: State) -> State:
        """Give a probe's lease back."""
        return state._replace(lease=NOBODY)

    def is_found(self, one: Forwarder) -> bool:
        """Tell whether a settle still finds its entry."""
        return one.listed != NOTHING

    def may_end(self, state: State) -> bool:
        """Tell whether the lease may end: it was renewed with the sending, for longer than a request may take."""
        return state.lease == GONE or state.forwarders[state.lease].phase != at.SENT

    def released(self, state: State, letter: int) -> State:
        """Put a letter behind the queue, with all of its retries."""
        return state._replace(queue=(*state.queue, letter), spent=at.changed(state.spent, letter, 0))

    def as_probe(self, state: State, letter: int) -> State:
        """Release a letter as the probe, no attempt spent."""
        return self.released(state, letter)

    def may_move(self, state: State) -> bool:
        """Tell whether letters may be replayed or given up."""
        return state.mode == CLOSED

    def is_probed(self, state: State) -> bool:
        """Tell whether a probe is somebody's."""
        return state.lease != NOBODY

    def closes_idle(self) -> bool:
        """Tell whether a circuit with nothing to probe with is closed."""
        return True
