"""Holes put back into shedding and remediation, one a class, each with the sizes under which it must be found."""

# ruff: noqa: ARG002  (a hole takes what the method takes that it replaces)

from tests.protocol.remediation_model import GOOD, REFUSED, Entry, Instance, RemediationModel, State


class NoFence(RemediationModel):
    """A move without the lease's fence."""

    def is_fenced(self, state: State, who: int, one: Instance) -> bool:
        return True


class OneTokenForAllLeases(RemediationModel):
    """The same token taken again after another had the lease."""

    def is_fenced(self, state: State, who: int, one: Instance) -> bool:
        return state.lease == who


class MovesInTwoSteps(RemediationModel):
    """A letter taken out in one step and put back in another."""

    def move(self, state: State, who: int, one: Instance, letter: Entry) -> State:
        if letter not in state.letters or not self.is_fenced(state, who, one):
            return state.put(who, Instance())
        return self.removed(state, letter).put(who, Instance(taken_out=letter))


class MovesUnseen(RemediationModel):
    """A move that does not look whether the letter is still there."""

    def move(self, state: State, who: int, one: Instance, letter: Entry) -> State:
        if not self.is_fenced(state, who, one):
            return state.put(who, Instance())
        after = state.put(who, Instance())
        return self.brought(self.removed(after, letter) if letter in after.letters else after, letter)


class ShedSpendsAnAttempt(RemediationModel):
    """A shed letter that spends an attempt when it comes back, and ends in poison at last."""

    def brought(self, state: State, letter: Entry) -> State:
        return super().brought(state, letter._replace(shed=letter.shed and letter.attempts < self.max_attempts))

    def replayed_shed(self, letter: Entry) -> Entry:
        return Entry(letter.event, letter.attempts + 1)


class ShedIsAudited(RemediationModel):
    """A shed event that is audited too."""

    def audits(self, state: State) -> bool:
        return True


class ShedAndForwarded(RemediationModel):
    """A shed event whose alert is pushed all the same."""

    def settled(self, state: State) -> State:
        after = super().settled(state)
        if state.sheds and state.held is not None:
            return after._replace(alerts=(*after.alerts, state.held.event))
        return after


HOLES: tuple[RemediationModel, ...] = (
    NoFence((GOOD, REFUSED)),
    OneTokenForAllLeases((GOOD, REFUSED)),
    MovesInTwoSteps((GOOD, REFUSED)),
    MovesUnseen((GOOD, REFUSED)),
    ShedSpendsAnAttempt((GOOD, GOOD, GOOD), faults=0),
    ShedIsAudited(faults=0),
    ShedAndForwarded(faults=0),
)
