"""Holes put back into the delivery of alerts, one a class, each with the sizes under which it must be found.

A class says in its docstring what it gets wrong.
"""

# ruff: noqa: ARG002  (a hole takes what the method takes that it replaces)

from tests.protocol import circuit_state as at
from tests.protocol.circuit_model import CircuitModel, Move
from tests.protocol.circuit_state import ALWAYS_400, ALWAYS_500, GOOD, NOTHING, OPEN, Forwarder, State

TWO = (GOOD, GOOD)


class ProbesWithoutLease(CircuitModel):
    """A probe without a lease."""

    def may_take_lease(self, state: State) -> bool:
        return True


class LeaseWithoutLifetime(CircuitModel):
    """A probe's lease without a lifetime."""

    def may_end(self, state: State) -> bool:
        return False


class SendsUnderTheRestOfALease(CircuitModel):
    """A probe sent under what is left of its lease."""

    def may_send(self, state: State, who: int, one: Forwarder) -> bool:
        return True

    def may_end(self, state: State) -> bool:
        return True


class KeepsTheLeaseOfTheUnknown(CircuitModel):
    """An unknown result that keeps the lease for ever."""

    def given_back(self, state: State) -> State:
        return state


class NoGeneration(CircuitModel):
    """Results without a generation."""

    def heeds(self, one: Forwarder) -> bool:
        return True


class CountsARepetition(CircuitModel):
    """A report that counts once more when it is repeated."""

    def counts(self, one: Forwarder) -> bool:
        return True


class TellsAfterTheSettle(CircuitModel):
    """The circuit told after the settle."""

    def table(self) -> dict[int, tuple[str, Move]]:
        return {
            **super().table(),
            at.ANSWERED: ("settles", self.settled_first),
            at.TOLD: ("tells the circuit", self.told_last),
        }

    def settled_first(self, state: State, who: int, one: Forwarder) -> State:
        if not one.beats:
            return self.settled(state, who, one)
        return self.settled(state, who, one).put(who, one._replace(phase=at.TOLD, listed=NOTHING))

    def told_last(self, state: State, who: int, one: Forwarder) -> State:
        return self.told(state, who, one).put(who, Forwarder())


class LooksOnlyBeforeTheClaim(CircuitModel):
    """The permission not looked at again after the claim."""

    def may_take_in(self, one: Forwarder) -> bool:
        return True


class FailedProbeToTheFront(CircuitModel):
    """A failed probe put to the front."""

    def probe_failed(self, state: State, alert: int) -> State:
        return state._replace(queue=(alert, *state.queue))


class FailedProbeSpends(CircuitModel):
    """A failed probe that spends a retry."""

    def probe_failed(self, state: State, alert: int) -> State:
        return unjust(super().probe_failed(state, alert), alert)


class ThrottledSpends(CircuitModel):
    """A 429 that spends a retry."""

    def throttled(self, state: State, alert: int) -> State:
        return unjust(super().throttled(state, alert), alert)


class MisconfiguredSpends(CircuitModel):
    """A misconfiguration that spends a retry."""

    def misconfigured(self, state: State, alert: int) -> State:
        return unjust(super().misconfigured(state, alert), alert)


class RetriesInMemory(CircuitModel):
    """A retry that waits in memory."""

    def retried(self, state: State, alert: int) -> State:
        return state


class ClaimsRetriesIntoMemory(CircuitModel):
    """A due retry claimed outside the processing list."""

    def listed_when_due(self, alert: int) -> int:
        return NOTHING


class SettlesUnseen(CircuitModel):
    """A settle that does not look whether the entry is still there."""

    def is_found(self, one: Forwarder) -> bool:
        return True


class GivesUpWhileOpen(CircuitModel):
    """A dead letter given up while the circuit is open."""

    def may_move(self, state: State) -> bool:
        return True


class ReleaseSpendsAnAttempt(CircuitModel):
    """A dead letter released as the probe that spends an attempt."""

    def as_probe(self, state: State, letter: int) -> State:
        return super().as_probe(state.attempting(letter), letter)._replace(wrong="an attempt was spent on a probe")


class ClosesBesideAProbe(CircuitModel):
    """An idle circuit closed while a probe is under way."""

    def is_probed(self, state: State) -> bool:
        return False


class StaysOpenWhenIdle(CircuitModel):
    """An idle circuit that stays open."""

    def closes_idle(self) -> bool:
        return False


HOLES: tuple[CircuitModel, ...] = (
    ProbesWithoutLease(TWO, faults=0, mode=OPEN),
    LeaseWithoutLifetime(faults=1, mode=OPEN),
    SendsUnderTheRestOfALease(TWO, faults=0, mode=OPEN),
    KeepsTheLeaseOfTheUnknown(faults=2, mode=OPEN),
    NoGeneration(TWO, faults=1),
    CountsARepetition(faults=2),
    TellsAfterTheSettle(faults=1),
    LooksOnlyBeforeTheClaim(TWO, faults=1),
    FailedProbeToTheFront((ALWAYS_500, GOOD), faults=0, forwarders=1, mode=OPEN),
    FailedProbeSpends(faults=1, mode=OPEN),
    ThrottledSpends(faults=1),
    MisconfiguredSpends(faults=1),
    RetriesInMemory(faults=1),
    ClaimsRetriesIntoMemory(faults=1),
    SettlesUnseen(faults=1, mode=OPEN),
    GivesUpWhileOpen((ALWAYS_400, GOOD), faults=1),
    ReleaseSpendsAnAttempt((ALWAYS_400, GOOD), faults=1, threshold=1),
    ClosesBesideAProbe(faults=0, mode=OPEN),
    StaysOpenWhenIdle((), faults=0, mode=OPEN),
)


def unjust(state: State, alert: int) -> State:
    """Return the state with a retry spent that must not be."""
    return state.spending(alert)._replace(wrong="a retry was spent on what is not the alert's fault")
