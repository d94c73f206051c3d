"""A lane: one queue with the workers that empty it, and the names of all that they share."""

from dataclasses import dataclass
from typing import NamedTuple

from mutt import keys
from mutt.errors import TransientError
from mutt.settings import AlerterSettings, MoogForwarderSettings

CLAIM_MOST = 1000  # entries
CLAIM_BYTES = 8 * 1024 * 1024
RECOVERED_TOGETHER = 32  # entries: near the root of what a dead worker leaves, see docs/decisions/0069


class FencedError(TransientError):
    """This worker's heartbeat is no longer its own: what it held belongs to others now."""


class Lease(NamedTuple):
    """The right to touch the processing list of `pod`, valid while its heartbeat holds `token`."""

    pod: str
    token: str


class SideList(NamedTuple):
    """A further processing list under the same heartbeat, and where its entries go home to."""

    prefix: str
    home: str


@dataclass(frozen=True, slots=True)
class Lane:
    """Names and times (seconds) of one lane; `source` is where claims take from, at its right end.

    `together` bounds a batch of entries that were recovered once; those that were more often come alone.
    """

    service: str
    source: str
    processing_prefix: str
    heartbeat_prefix: str
    interval: float
    timeout: float
    side: SideList | None = None
    together: int = 1

    @property
    def recoveries(self) -> str:
        """Return the hash of recovery counts."""
        return keys.recoveries(self.service)

    def processing(self, pod: str) -> str:
        """Return the processing list of a worker."""
        return keys.per_pod(self.processing_prefix, pod)

    def heartbeat(self, pod: str) -> str:
        """Return the heartbeat of a worker."""
        return keys.per_pod(self.heartbeat_prefix, pod)

    def lists(self) -> list[tuple[str, str, bool]]:
        """Return `(prefix, home, whether recoveries count)` for every list that a worker may leave behind."""
        own = [(self.processing_prefix, self.source, True)]
        return own if self.side is None else [*own, (self.side.prefix, self.side.home, False)]


def alerter_lane(settings: AlerterSettings) -> Lane:
    """Return the lane from the ingest queue, with the side list for audit rows that waited for PostgreSQL."""
    return Lane(
        "alerter",
        settings.names.ingest_queue,
        settings.names.alerter_processing,
        settings.names.alerter_heartbeat,
        settings.heartbeat_interval,
        settings.janitor_timeout,
        SideList(keys.AUDIT_PROCESSING_PREFIX, keys.AUDIT_PENDING),
        # Two deaths may count an entry that was only claimed with the culprit: they must not make it a dead letter.
        RECOVERED_TOGETHER if settings.max_retries > 1 else 1,
    )


def moog_lane(settings: MoogForwarderSettings) -> Lane:
    """Return the lane from the alert queue."""
    return Lane(
        "moog",
        settings.names.alert_queue,
        settings.names.moog_processing,
        settings.names.moog_heartbeat,
        settings.heartbeat_interval,
        settings.janitor_timeout,
    )
