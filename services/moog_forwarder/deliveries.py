"""The delivery log: rows gathered in memory and written apart, so that no delivery ever waits for PostgreSQL."""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime

from mutt.delivery_row import pack_deliveries
from services.audit_logger import DatabaseAwayError, RefusedError, write_deliveries
from services.logging_utils import get_logger
from services.postgres_connector import Pool
from services.runtime.instruments import MoogForwarderInstruments
from services.runtime.loop import attempt

KEPT = 50_000  # rows while PostgreSQL is away
WRITTEN_AT_ONCE = 5000
PAUSE, PAUSE_AWAY = 0.5, 2.0  # seconds

log = get_logger(__name__)


class DeliveryLog:
    """Attempts to deliver, on their way to `delivery_log`; what cannot be kept is counted."""

    def __init__(self, pool: Pool, instruments: MoogForwarderInstruments) -> None:
        self._pool = pool
        self._dropped = instruments.delivery_rows_dropped
        self._rows: deque[bytes] = deque()

    def note(self, attempts: Iterable[tuple[str, int]], at: datetime, status: int | None, outcome: str) -> None:
        """Keep attempts, (event id, number) each, until they are written; when too many wait, the oldest go."""
        self._rows += pack_deliveries(attempts, at, status, outcome)
        while len(self._rows) > KEPT:
            self._rows.popleft()
            self._dropped.inc()

    async def run(self) -> None:
        """Write what is there, for ever; says once when PostgreSQL goes away and once when it is back."""
        away = False
        while True:
            try:
                await self.flush()
            except DatabaseAwayError as error:
                if not away:
                    log.warning("the delivery log waits for PostgreSQL, deliveries go on", error=str(error))
                away = True
            else:
                if away:
                    log.info("the delivery log is written again")
                away = False
            await asyncio.sleep(PAUSE_AWAY if away else PAUSE)

    async def flush(self) -> None:
        """Write the rows that are there; raises DatabaseAwayError and keeps them.

        What comes meanwhile waits for the next time: a transaction for each few rows would cost more than the rows.
        """
        left = len(self._rows)
        while left > 0 and self._rows:
            part = [self._rows.popleft() for _ in range(min(left, len(self._rows), WRITTEN_AT_ONCE))]
            left -= len(part)
            try:
                await write_deliveries(self._pool, part)
            except RefusedError as error:
                self._dropped.inc(len(part))
                log.warning("PostgreSQL refused rows of the delivery log", rows=len(part), error=str(error))
            except BaseException:
                self._rows.extendleft(reversed(part))
                raise

    async def close(self) -> None:
        """Write the last rows within a few seconds, and count what is lost."""
        await attempt(self.flush())
        if self._rows:
            self._dropped.inc(len(self._rows))
            log.warning("rows of the delivery log are lost, PostgreSQL is away", rows=len(self._rows))
