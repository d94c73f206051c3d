"""The model of shedding and remediation: an alerter that sheds or audits, two instances that replay, one by its lease.

An entry is (event, attempts, shed): two with equal bytes are equal. Moogsoft takes the alert queue's alerts one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.protocol.explorer import FAULT, Exploration, explore

GOOD, REFUSED = "good", "refused by PostgreSQL"
NOBODY, GONE = -1, -2
NAMES = "ab"
SHED_AT = WARN_AT = 1
DEAD_MOST = 1

IDLE, CLAIMED, AUDITED, DEAD = range(4)


class Entry(NamedTuple):
    """An event as it lies in a queue."""

    event: int
    attempts: int = 0
    shed: bool = False


class Instance(NamedTuple):
    """One remediation: the letter that it has read and would move; `stale`: another has had the lease since."""

    alive: bool = True
    letter: Entry | None = None
    stale: bool = False
    taken_out: Entry | None = None


class State(NamedTuple):
    """The queues, the next to be claimed first; `audited` events have a row, `alerted` ones were delivered."""

    ingest: tuple[Entry, ...]
    faults: int
    alerts: tuple[int, ...] = ()
    letters: tuple[Entry, ...] = ()
    poison: tuple[Entry, ...] = ()
    audited: frozenset[int] = frozenset()
    alerted: frozenset[int] = frozenset()
    phase: int = IDLE
    held: Entry | None = None
    sheds: bool = False
    lease: int = NOBODY
    instances: tuple[Instance, ...] = (Instance(), Instance())
    wrong: str = ""

    def put(self, who: int, instance: Instance) -> "State":
        """Return the state with one instance changed."""
        each = self.instances
        return self._replace(instances=(*each[:who], instance, *each[who + 1 :]))


Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class RemediationModel:
    """One size of the model."""

    kinds: tuple[str, ...] = (GOOD, GOOD)
    faults: int = 2
    max_attempts: int = 1

    def explored(self) -> Exploration[State]:
        """Visit every state."""
        entries = tuple(Entry(event) for event in range(len(self.kinds)))
        return explore([State(entries, self.faults)], self.steps, self.check, self.is_done)

    def steps(self, state: State) -> Steps:
        """Yield all that may happen next."""
        yield from self.alerter(state)
        if state.alerts:
            event, *rest = state.alerts
            yield "Moogsoft: takes an alert", state._replace(alerts=tuple(rest), alerted=state.alerted | {event})
        for who, instance in enumerate(state.instances):
            for what, following in self.remediates(state, who, instance):
                yield f"{NAMES[who]}: {what}", following
        yield from self.lease_ends(state)
        if state.faults:
            for what, following in self.fails(state):
                yield FAULT + what, following._replace(faults=state.faults - 1)

    def check(self, state: State) -> list[str]:
        """Say what is wrong in a state."""
        problems = [state.wrong] if state.wrong else []
        held = () if state.held is None else (state.held,)
        entries = (*state.ingest, *state.letters, *state.poison, *held)
        for event, kind in enumerate(self.kinds):
            places = sum(entry.event == event for entry in entries)
            alerts = state.alerts.count(event) + (event in state.alerted)
            if places > 1:
                problems.append(f"event {event} is in {places} places")
            if places == 0 and (event not in state.audited or not alerts):
                problems.append(f"event {event} is gone without its row and its alert")
            if alerts > 1:
                problems.append(f"event {event} was alerted twice")
            if kind == GOOD and any(entry.event == event for entry in state.poison):
                problems.append(f"event {event} was given up, though never at fault")
        problems += [
            f"event {entry.event} was audited and shed"
            for entry in state.letters
            if entry.shed and entry.event in state.audited
        ]
        return problems

    def is_done(self, state: State) -> bool:
        """Tell a good end: what is good is audited and delivered, the rest given up visibly."""
        at_rest = not (state.ingest or state.alerts or state.letters or state.held)
        return at_rest and all(instance.taken_out is None for instance in state.instances)

    def alerter(self, state: State) -> Steps:
        """Yield what the alerter does next: judged under the depth at the claim, audited, settled."""
        if state.phase == DEAD:
            yield "alerter: starts again", self.recovered(state)._replace(phase=IDLE)
        elif state.phase == IDLE and state.ingest:
            is_full = len(state.alerts) >= SHED_AT
            if is_full and len(state.letters) >= DEAD_MOST:
                return  # it defers
            entry, *rest = state.ingest
            yield "alerter: claims", state._replace(ingest=tuple(rest), held=entry, sheds=is_full, phase=CLAIMED)
        elif state.phase == CLAIMED and state.held is not None:
            if self.kinds[state.held.event] == GOOD and self.audits(state):
                audited = state.audited | {state.held.event}
                yield "alerter: audits", state._replace(audited=audited, phase=AUDITED)
            else:
                yield "alerter: settles", self.settled(state)
        elif state.phase == AUDITED:
            yield "alerter: settles", self.settled(state)

    def settled(self, state: State) -> State:
        """Move the entry on, in one script, if it is still there."""
        entry = state.held
        state = state._replace(held=None, phase=IDLE, sheds=False) if entry is None else state
        if entry is None:
            return state
        after = state._replace(held=None, phase=IDLE, sheds=False)
        if state.sheds:
            return after._replace(letters=(*state.letters, entry._replace(shed=True)))
        if self.kinds[entry.event] == REFUSED:
            return after._replace(letters=(*state.letters, entry))
        return after._replace(alerts=(*state.alerts, entry.event))

    def recovered(self, state: State) -> State:
        """Hand a dead alerter's entry back."""
        if state.held is None:
            return state
        return state._replace(ingest=(state.held, *state.ingest), held=None, sheds=False)

    def remediates(self, state: State, who: int, one: Instance) -> Steps:
        """Yield what an instance does next: keep or take the lease, read, move."""
        if not one.alive:
            yield "starts again", state.put(who, Instance())
        elif one.taken_out is not None:
            yield "puts it where it goes", self.brought(state.put(who, Instance()), one.taken_out)
        elif one.letter is not None:
            yield "moves it", self.move(state, who, one, one.letter)
        elif state.lease == who and state.letters and len(state.alerts) < WARN_AT:
            yield "reads a letter", state.put(who, one._replace(letter=state.letters[0], stale=False))
        if one.alive and state.lease == NOBODY:
            yield "takes the lease", self.taken(state, who)

    def taken(self, state: State, who: int) -> State:
        """Give the lease to an instance; what others have read is stale from then on."""
        marked = tuple(
            each if place == who else each._replace(stale=True) for place, each in enumerate(state.instances)
        )
        return state._replace(lease=who, instances=marked)

    def move(self, state: State, who: int, one: Instance, letter: Entry) -> State:
        """Move a letter in one script, only under the lease that it was read under, and only if it is still there."""
        after = state.put(who, Instance())
        if not self.is_fenced(state, who, one) or letter not in state.letters:
            return after
        if one.stale or state.lease != who:
            after = after._replace(wrong="letters were moved that were read under another lease")
        return self.brought(self.removed(after, letter), letter)

    def removed(self, state: State, letter: Entry) -> State:
        """Take a letter out."""
        at = state.letters.index(letter)
        return state._replace(letters=state.letters[:at] + state.letters[at + 1 :])

    def brought(self, state: State, letter: Entry) -> State:
        """Put a letter where it goes: `mutt.remediation.judge`."""
        if letter.shed:
            return state._replace(ingest=(*state.ingest, self.replayed_shed(letter)))
        if letter.attempts >= self.max_attempts:
            return state._replace(poison=(*state.poison, letter))
        return state._replace(ingest=(*state.ingest, letter._replace(attempts=letter.attempts + 1)))

    def lease_ends(self, state: State) -> Steps:
        """Yield the lease's end: a fault, while its holder lives."""
        if state.lease != NOBODY:
            yield ("" if state.lease == GONE else FAULT) + "time: the lease ends", state._replace(lease=NOBODY)

    def fails(self, state: State) -> Steps:
        """Yield the faults."""
        if state.phase != DEAD:
            yield "alerter: is killed", state._replace(phase=DEAD)
        if state.held is not None and state.phase != DEAD:
            after = self.settled(state)
            if state.phase == AUDITED or not (self.kinds[state.held.event] == GOOD and self.audits(state)):
                yield "alerter: settles, the reply is lost", after
        if state.letters:
            letter, *rest = state.letters
            replayed = self.brought(state._replace(letters=tuple(rest)), Entry(letter.event, shed=True))
            yield "console: a person replays a letter", replayed
        for who, one in enumerate(state.instances):
            if not one.alive:
                continue
            lease = GONE if state.lease == who else state.lease
            yield f"{NAMES[who]}: is killed", state._replace(lease=lease).put(who, Instance(alive=False))
            if one.letter is not None:
                moved = self.move(state, who, one, one.letter)
                yield f"{NAMES[who]}: moves it, the reply is lost", moved

    # What the holes are about.

    def audits(self, state: State) -> bool:
        """Tell whether the held event is audited before it is settled: not if it is shed."""
        return not state.sheds

    def is_fenced(self, state: State, who: int, one: Instance) -> bool:
        """Tell whether the move's script accepts the token: a new one with each lease."""
        return state.lease == who and not one.stale

    def replayed_shed(self, letter: Entry) -> Entry:
        """Return what comes back of a shed letter: it was not at fault."""
        return letter._replace(shed=False)
