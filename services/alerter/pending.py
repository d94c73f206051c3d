"""Brings the audit rows that waited in Redis into PostgreSQL once it is back."""

import struct
from datetime import UTC, datetime

from mutt import keys
from mutt.audit_row import pack_decision, pack_row
from mutt.errors import EntryError
from mutt.events import DecidedEvent, LastError, amend, decide_anew, decode_decided, iso
from mutt.handling import Decision
from mutt.rules import FORWARDED
from services.alerter.audit import AuditTrail
from services.audit_logger import DatabaseAwayError, write_rows
from services.logging_utils import get_logger
from services.postgres_connector import Pool
from services.protocol.actions import Actions
from services.protocol.worker import SideClaims
from services.runtime.histogram import QuickHistogram

CLAIM = 1000

log = get_logger(__name__)


class PendingAudit:
    """Claims pending rows into a list of its own; a row that PostgreSQL refuses goes to poison, never back as event."""

    def __init__(
        self, claims: SideClaims, pool: Pool, audit: AuditTrail, audited: QuickHistogram, alert_queue: str
    ) -> None:
        self._claims = claims
        self._pool = pool
        self._audit = audit
        self._audited = audited
        self._alert_queue = alert_queue

    async def drain_once(self) -> bool:
        """Write one batch of pending rows; returns whether there was one. Raises DatabaseAwayError, RedisError."""
        if self._audit.is_away and not self._audit.may_be_back:
            return False
        batch = await self._claims.claim(CLAIM)
        if batch is None:
            self._audit.takes_rows()
            return False
        actions = Actions()
        rows: list[bytes] = []
        received: list[datetime] = []
        places: list[int] = []
        for index, entry in enumerate(batch.entries):
            try:
                decided = decode_decided(entry)
                rows.append(_row(decided))
                received.append(decided.event.received_at)
                places.append(index)
            except EntryError as error:
                self._poison(actions, index, entry, "undecodable", str(error))
        try:
            written = await write_rows(self._pool, rows)
        except DatabaseAwayError as error:
            self._claims.give_up(batch.entries, batch.lease)
            self._audit.refuses_rows(error)
            raise
        except BaseException:
            self._claims.give_up(batch.entries, batch.lease)
            raise
        self._audit.takes_rows()
        now, refused = datetime.now(UTC), {refusal.index for refusal in written.refusals}
        ages = [(now - at).total_seconds() for place, at in enumerate(received) if place not in refused]
        for refusal in written.refusals:
            index = places[refusal.index]
            self._poison(actions, index, batch.entries[index], refusal.error.sqlstate, str(refusal.error))
        for row, decision in written.standing.items():
            self._deliver(actions, places[row], batch.entries[places[row]], decision)
        try:
            await self._claims.settle(batch.lease, batch.entries, actions)
        except BaseException:
            self._claims.give_up(batch.entries, batch.lease)
            raise
        self._audited.observe_all(ages)
        log.info("audit rows that waited in Redis are written", rows=len(rows) - len(refused))
        return True

    def _deliver(self, actions: Actions, index: int, entry: bytes, standing: Decision) -> None:
        """Push the alert that the audit owes by its first decision, where the entry's own owed none."""
        if standing.handling in FORWARDED and decode_decided(entry).handling not in FORWARDED:
            handling, team, rule_id, rule_version, environment, _ = standing
            alert = decide_anew(
                entry,
                handling=handling,
                team=team,
                rule_id=rule_id,
                rule_version=rule_version,
                environment=environment,
            )
            actions.push(index, self._alert_queue, alert)

    def _poison(self, actions: Actions, index: int, entry: bytes, kind: str, message: str) -> None:
        # Its alert has gone already: back in the queue it would go a second time.
        last_error = LastError(kind, message, iso(datetime.now(UTC)))
        log.error("an audit row that waited in Redis is refused, it goes to poison", problem=message)
        try:
            actions.push(index, keys.POISON, amend(entry, kind="audit", last_error=last_error))
        except EntryError:
            actions.push(index, keys.POISON, entry)


def _row(decided: DecidedEvent) -> bytes:
    number, version = decided.rule_id, decided.rule_version
    try:
        decision = pack_decision(decided.handling, decided.team, number, version, decided.environment)
    except struct.error as error:
        raise EntryError(f"rule {number} in version {version} is no rule of the database: {error}") from error
    return pack_row(decided.event, decision)
