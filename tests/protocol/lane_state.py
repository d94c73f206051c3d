"""The state of a lane as the model sees it: two servers and a few runs of workers, all of it data.

Entries are words: the event's letter, then how often PostgreSQL refused it ("a", "a1"). K is an event that kills the
run that works on it, R one whose row PostgreSQL refuses. Every event is owed an alert and counts under its pattern. A
list's last item is the end that claims take from, the oldest entry.
"""

from collections.abc import Iterable
from typing import NamedTuple

KILLER, REFUSED = "K", "R"
NOBODY, STRANGER = "", "?"  # who holds a heartbeat: it is absent, or holds a token that no living run knows

UP, STARTING, STOPPING, LEAVING, DOWN = "up", "starting", "stopping", "leaving", "down"
BLOCKED, FIRST, CLAIMED, JUDGED = "blocked", "first", "claimed", "judged"
COMMITTED, WAITS = "committed", "waits for PostgreSQL"

Entries = tuple[str, ...]


class Slot(NamedTuple):
    """What Redis has under one name: who holds the heartbeat, the processing list and the side list."""

    name: str
    holder: str = NOBODY
    main: Entries = ()
    side: Entries = ()


class Batch(NamedTuple):
    """Entries in a run's memory; `is_current` tells whether they were claimed under the token that it has now."""

    entries: Entries
    name: str
    stage: str
    recoveries: int = 0
    is_current: bool = True


class Run(NamedTuple):
    """A worker's process: the name that it goes by, and what it has in memory."""

    mode: str
    name: str
    claimed: Batch | None = None
    settling: Batch | None = None
    draining: Batch | None = None
    memory: Entries = ()  # only with a hole: what is remembered nowhere else

    def batches(self) -> list[Batch]:
        """Return what is in flight."""
        return [batch for batch in (self.claimed, self.settling, self.draining) if batch is not None]


class State(NamedTuple):
    """Everything; letters of events stand for alerts, rows and the like. `wrong` names a step that must not happen."""

    queue: Entries
    runs: tuple[Run, ...]
    slots: tuple[Slot, ...] = ()
    coming: str = ""  # events that senders have yet to send
    pending: Entries = ()
    alerts: str = ""
    hits: str = ""
    rows: str = ""
    dead: str = ""
    poison: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    database: bool = True
    redis: bool = True
    unseen: str = ""  # runs that have not beaten yet since Redis came back
    faults: tuple[tuple[str, int], ...] = ()  # those that may still happen
    blame: int = 0  # reasons to count a recovery so far
    kills: int = 0
    touched: str = ""  # events that were claimed once
    wrong: str = ""

    def slot(self, name: str) -> Slot:
        """Return what is under a name."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        return Slot(name)

    def count(self, entry: str) -> int:
        """Return how often an entry was recovered."""
        return dict(self.counts).get(entry, 0)

    def with_slot(self, slot: Slot) -> "State":
        """Return the state with a name's keys changed; those that are empty do not exist."""
        others = [each for each in self.slots if each.name != slot.name]
        if slot != Slot(slot.name):
            others.append(slot)
        return self._replace(slots=tuple(sorted(others)))

    def with_run(self, who: int, run: Run) -> "State":
        """Return the state with a run changed."""
        return self._replace(runs=(*self.runs[:who], run, *self.runs[who + 1 :]))

    def with_counts(self, counts: dict[str, int]) -> "State":
        """Return the state with other recovery counts."""
        return self._replace(counts=tuple(sorted(counts.items())))

    def touching(self, entries: Iterable[str]) -> "State":
        """Return the state in which these entries' events have been claimed."""
        return self._replace(touched=word({*self.touched, *(entry[0] for entry in entries)}))


def word(events: Iterable[str]) -> str:
    """Return events as one word."""
    return "".join(sorted(events))


def without(entries: Entries, entry: str) -> Entries:
    """Return a list without the oldest copy of an entry."""
    place = len(entries) - 1 - entries[::-1].index(entry)
    return entries[:place] + entries[place + 1 :]


def not_among(listed: Entries, held: Iterable[str]) -> Entries:
    """Return what a list has more of than `held`, the oldest first."""
    left = list(held)
    found = []
    for entry in reversed(listed):
        if entry in left:
            left.remove(entry)
        else:
            found.append(entry)
    return tuple(found)
