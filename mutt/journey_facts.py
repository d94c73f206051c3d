"""What is on record of one event's way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from mutt.rules import FORWARDED
from mutt.whereabouts import Find, Place

OK, WARN, CRITICAL, RUNNING, WAITING, NOTHING, NO_DATA = (
    "ok", "warn", "critical", "running", "waiting", "nothing", "nodata",
)  # fmt: skip
# Where an event has fallen out of its way, and where its audit row alone waits.
DEAD = frozenset({Place.POISON, Place.MOOG_DEAD, Place.ALERTER_DEAD, Place.QUARANTINE})
AUDIT_ONLY = frozenset({Place.PENDING, Place.AUDITING})
# What a person can do that ends the way of an event.
ENDINGS = {
    "DELETE": ("Deleted", "it goes no further"),
    "EDIT": ("Edited", "it goes on under another id"),
}


class Attempt(NamedTuple):
    """A row of delivery_log: one answer of Moogsoft, or none."""

    at: datetime
    attempt: int
    status: int | None
    outcome: str

    @property
    def verdict(self) -> str:
        """Return the outcome's first word: success, retry, throttled, misconfigured or rejected."""
        return self.outcome.partition(":")[0].strip()

    @property
    def words(self) -> str:
        """Return what was said."""
        return self.outcome.partition(":")[2].strip() or (f"HTTP {self.status}" if self.status else "no answer")


class Touch(NamedTuple):
    """What somebody did to this event by hand, from config_audit_log."""

    at: datetime
    by: str
    operation: str
    reason: str | None
    successor: str | None = None  # the event_id under which an edited entry goes on


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known; times are UTC, None where the event has not got that far (or nobody recorded it)."""

    received_at: datetime
    event_timestamp: datetime
    now: datetime
    handling: str | None = None
    team: str | None = None
    rule_id: int | None = None
    environment: str | None = None
    audited_at: datetime | None = None
    table: str | None = None
    sender_time: str | None = None
    sanitized: bool = False
    attempts: Sequence[Attempt] = ()
    finds: Sequence[Find] = ()
    touches: Sequence[Touch] = ()
    looked: bool = False  # whether the queues were looked through
    complete: bool = True  # and to their ends

    @property
    def is_forwarded(self) -> bool:
        """Whether Moogsoft is owed an alert."""
        return self.handling in FORWARDED

    @property
    def success(self) -> Attempt | None:
        """Return the answer by which Moogsoft took it."""
        return next((attempt for attempt in self.attempts if attempt.verdict == "success"), None)

    @property
    def is_ended(self) -> bool:
        """Whether somebody ended its way by hand."""
        return bool(self.touches) and self.touches[-1].operation in ENDINGS
