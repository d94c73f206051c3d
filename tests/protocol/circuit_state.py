"""What the model of delivery is made of: the queues, the circuit, and what each forwarder knows and holds."""

from typing import NamedTuple

IDLE, PERMITTED, CLAIMED, TAKEN, SENT, ANSWERED, TOLD, BACK, DEAD = range(9)
CLOSED, OPEN, HALF_OPEN = "CLOSED", "OPEN", "HALF_OPEN"
NOBODY = NOTHING = -1
GONE = -2  # a token of a run that has ended
NAMES = "ab"

GOOD, ALWAYS_500, ALWAYS_400 = "good", "always 500", "always 400"
WELL, FAILED, LOST, THROTTLED, CONFIG, REJECTED = "200", "500", "nothing in time", "429", "401", "400"
# What Moogsoft may answer to an alert of a kind, and whether that is a fault; what is lost was delivered.
ANSWERS = {
    GOOD: ((WELL, False), (FAILED, True), (LOST, True), (THROTTLED, True), (CONFIG, True)),
    ALWAYS_500: ((FAILED, False),),
    ALWAYS_400: ((REJECTED, False),),
}
RESULT = {WELL: "w", REJECTED: "w", FAILED: "f", LOST: "f", CONFIG: "m", THROTTLED: "u"}

Alerts = tuple[int, ...]


class Forwarder(NamedTuple):
    """One forwarder: how far its one alert is, whether its permission is of this generation, and what Redis holds.

    `listed` is the entry of its processing list, `beats` whether its heartbeat stands.
    """

    phase: int = IDLE
    alert: int = NOTHING
    fresh: bool = False
    probe: bool = False
    answer: str = ""
    told_once: bool = False
    listed: int = NOTHING
    beats: bool = True


class State(NamedTuple):
    """The queues hold alerts by number, the next to be claimed first; `got` says which Moogsoft has.

    `real_failures` counts what the circuit should have counted, `untold` are alerts of whose failure it does not know
    yet, `wrong` is what must not have happened.
    """

    queue: Alerts
    spent: tuple[int, ...]
    attempts: tuple[int, ...]
    got: tuple[bool, ...]
    faults: int
    forwarders: tuple[Forwarder, ...]
    mode: str
    waiting: Alerts = ()
    due: Alerts = ()
    letters: Alerts = ()
    poison: Alerts = ()
    failures: int = 0
    real_failures: int = 0
    over: bool = False
    lease: int = NOBODY
    untold: Alerts = ()
    wrong: str = ""

    def put(self, who: int, forwarder: Forwarder) -> "State":
        """Return the state with one forwarder changed."""
        each = self.forwarders
        return self._replace(forwarders=(*each[:who], forwarder, *each[who + 1 :]))

    def faulty(self) -> "State":
        """Return the state with one fault fewer to come."""
        return self._replace(faults=self.faults - 1)

    def turned(self, mode: str) -> "State":
        """Return the state with the circuit changed, which ends a generation and any probe."""
        closed = mode == CLOSED
        return self._replace(
            mode=mode,
            over=False,
            lease=NOBODY,
            failures=0 if closed else self.failures,
            real_failures=0 if closed else self.real_failures,
            forwarders=tuple(one._replace(fresh=False) for one in self.forwarders),
        )

    def spending(self, alert: int) -> "State":
        """Return the state with one more retry spent."""
        return self._replace(spent=changed(self.spent, alert, self.spent[alert] + 1))

    def attempting(self, letter: int) -> "State":
        """Return the state with one more of remediation's attempts spent."""
        return self._replace(attempts=changed(self.attempts, letter, self.attempts[letter] + 1))

    def recovered(self, who: int) -> "State":
        """Return the state with a forwarder's list handed back, as the janitor and a successor do."""
        one = self.forwarders[who]
        if one.listed == NOTHING:
            return self
        state = self._replace(queue=(one.listed, *self.queue), untold=without(self.untold, one.listed))
        return state.put(who, one._replace(listed=NOTHING))


def without(alerts: Alerts, alert: int) -> Alerts:
    """Return the alerts but for one."""
    return tuple(each for each in alerts if each != alert)


def changed(numbers: tuple[int, ...], place: int, number: int) -> tuple[int, ...]:
    """Return the numbers with one of them changed."""
    return (*numbers[:place], number, *numbers[place + 1 :])
