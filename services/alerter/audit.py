"""The way of audit rows into PostgreSQL, and the decision that they go ahead without it: a page waits for no audit."""

import asyncio
import time
from collections.abc import Sequence

from mutt.settings import AlerterSettings
from services.audit_logger import DatabaseAwayError, Refusal, RefusedError, write_batch, write_bisecting
from services.logging_utils import get_logger
from services.postgres_connector import Pool, is_connected
from services.runtime.app import BACK_OFF_FIRST, BACK_OFF_MOST, Process
from services.runtime.instruments import AlerterInstruments
from services.runtime.loop import DEPENDENCY_ERRORS

PROBE_SECONDS = 1.0

log = get_logger(__name__)


class AuditTrail:
    """Writes batches; once PostgreSQL was away for the grace period, says so at once until it answers again."""

    def __init__(self, process: Process[AlerterSettings, AlerterInstruments], pool: Pool) -> None:
        self._process = process
        self._pool = pool
        self._grace = process.settings.database_grace
        self._away_since: float | None = None
        self.is_away = False

    async def write(self, rows: Sequence[bytes]) -> list[Refusal] | None:
        """Commit rows and return the refused ones; None when PostgreSQL is away: then put them into the pending list.

        Waits for PostgreSQL up to the grace period, counted from its first failure.
        """
        delay = BACK_OFF_FIRST
        while not self.is_away:
            started = time.monotonic()
            refusals = await self._attempt(rows)
            if refusals is not None:
                self._answers(time.monotonic() - started)
                return refusals
            now = time.monotonic()
            self._away_since = self._away_since or started
            if now - self._away_since >= self._grace:
                self._give_up()
                break
            self._process.health.progressed()
            await asyncio.sleep(min(delay, self._away_since + self._grace - now))
            delay = min(delay * 2, BACK_OFF_MOST)
        return None

    async def probe(self) -> bool:
        """Ask a PostgreSQL that is away whether it is back."""
        if self.is_away and await self._is_back():
            log.info("PostgreSQL answers again, audit rows go straight into it")
            self._process.health.notes.pop("audit", None)
            self._away_since, self.is_away = None, False
        await self._process.pause(PROBE_SECONDS)
        return True

    async def _attempt(self, rows: Sequence[bytes]) -> list[Refusal] | None:
        # A server that hangs answers no cancellation either: the attempt is left behind, not waited for. If it commits
        # later, the same rows written again change nothing.
        since = self._away_since or time.monotonic()
        patience = max(since + self._grace - time.monotonic(), BACK_OFF_FIRST)
        attempt = asyncio.create_task(self._commit(rows), name="audit")
        deadline = time.monotonic() + patience
        while not attempt.done() and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait({attempt}, timeout=min(left, PROBE_SECONDS))
            self._process.health.progressed()
        if not attempt.done():
            attempt.cancel()
            log.warning("PostgreSQL did not answer in time", seconds=round(patience, 1))
            return None
        return attempt.result()

    async def _commit(self, rows: Sequence[bytes]) -> list[Refusal] | None:
        try:
            try:
                await write_batch(self._pool, rows)
            except RefusedError:
                return await write_bisecting(self._pool, rows)
        except DatabaseAwayError as error:
            if self._away_since is None:
                log.warning("audit rows wait for PostgreSQL", error=str(error))
            return None
        return []

    async def _is_back(self) -> bool:
        try:
            return await asyncio.wait_for(is_connected(self._pool), PROBE_SECONDS)
        except (*DEPENDENCY_ERRORS, TimeoutError):
            return False

    def _answers(self, seconds: float) -> None:
        self._process.instruments.db_write.observe(seconds * 1000)
        if self._away_since is not None:
            log.info("PostgreSQL answers again")
        self._away_since = None

    def _give_up(self) -> None:
        self.is_away = True
        note = f"PostgreSQL is away: alerts go on, audit rows wait in Redis ({self._grace:g} s had passed)"
        self._process.health.notes["audit"] = note
        log.error("PostgreSQL is away: alerts go on, audit rows wait in Redis", seconds=self._grace)
