"""What the alerter does when alerts come faster than Moogsoft takes them: warn, shed the least urgent, or wait."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from mutt.rules import Handling

UNBOUNDED = sys.maxsize
URGENCY = {Handling.PAGE_AND_TICKET: 0, Handling.TICKET_ONLY: 1, Handling.EMAIL_ONLY: 2}


class Level(StrEnum):
    """How full the alert queue is; DEFER means to claim nothing for a moment."""

    CALM = "calm"
    WARN = "warn"
    SHED = "shed"
    DEFER = "defer"


class Pressure(NamedTuple):
    """The answer to a depth; `room` is how many alerts may still be added, the rest of a batch is shed."""

    level: Level
    room: int

    @property
    def must_warn(self) -> bool:
        """Whether operators should hear of it."""
        return self.level is not Level.CALM


def pressure(depth: int, warn: int, shed: int, *, mode: str, dlq_depth: int, dlq_max: int) -> Pressure:
    """Judge the alerts that wait, queued ones and retries together, before a batch is claimed or decided.

    Mode `dlq` sheds past `shed` while the dead letters are fewer than `dlq_max`; otherwise, as in mode `defer`, claims
    wait. Nothing is shed then, so a batch claimed just below the threshold may overshoot it.
    """
    may_shed = mode == "dlq" and dlq_depth < dlq_max
    room = max(0, shed - depth) if may_shed else UNBOUNDED
    if depth >= shed:
        return Pressure(Level.SHED if may_shed else Level.DEFER, room)
    return Pressure(Level.WARN if depth >= warn else Level.CALM, room)


def to_shed(handlings: Sequence[str], room: int) -> list[int]:
    """Return the indices of a batch that find no room in the alert queue, ascending.

    The most urgent handling is given room first, of equals the first that came; what is not forwarded is never shed.
    """
    forwarded = [index for index, handling in enumerate(handlings) if handling in URGENCY]
    if len(forwarded) <= room:
        return []
    forwarded.sort(key=lambda index: URGENCY[Handling(handlings[index])])
    return sorted(forwarded[max(0, room) :])
