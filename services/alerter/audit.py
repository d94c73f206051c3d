"""The way of audit rows into PostgreSQL, and the decision that they go ahead without it: a page waits for no audit."""

import asyncio
import time
from collections.abc import Sequence

from mutt.settings import AlerterSettings
from services.audit_logger import DatabaseAwayError, Refusal, Written, write_rows
from services.logging_utils import get_logger
from services.postgres_connector import Pool, is_connected
from services.runtime.app import BACK_OFF_FIRST, BACK_OFF_MOST, Process
from services.runtime.instruments import AlerterInstruments
from services.runtime.loop import DEPENDENCY_ERRORS

PROBE_SECONDS = 1.0
ATTEMPT_SECONDS = 10.0  # longest that a commit may take before PostgreSQL counts as away

log = get_logger(__name__)


class AuditTrail:
    """Writes batches; once PostgreSQL was away for the grace period, says so at once until it takes rows again.

    `may_be_back` says that it answers queries: a full disk or a demoted primary does that too, so that the rows that
    wait are the ones to try it, and no page waits for another grace period.
    """

    def __init__(self, process: Process[AlerterSettings, AlerterInstruments], pool: Pool) -> None:
        self._process = process
        self._pool = pool
        self._grace = process.settings.database_grace
        self._away_since: float | None = None
        self._problem = ""
        self.is_away = False
        self.may_be_back = False

    async def write(self, rows: Sequence[bytes], *, whole: bool = False) -> Written | None:
        """Commit rows and return what came of them; None when PostgreSQL is away: then put them into the pending list.

        Waits for PostgreSQL up to the grace period, counted from its first failure; `whole` is that of write_rows.
        """
        delay = BACK_OFF_FIRST
        while not self.is_away:
            started = time.monotonic()
            written = await self._attempt(rows, whole=whole)
            if written is not None:
                self._answers(time.monotonic() - started)
                return written
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
        """Ask a PostgreSQL that is away whether it answers."""
        if self.is_away and not self.may_be_back:
            self.may_be_back = await self._is_back()
        await self._process.pause(PROBE_SECONDS)
        return True

    def takes_rows(self) -> None:
        """Note that rows which had waited are written, or that none wait: from now on rows go straight in."""
        if self.is_away:
            log.info("PostgreSQL is back, audit rows go straight into it")
            self._process.health.problems.pop("audit", None)
            self._away_since, self.is_away = None, False

    def refuses_rows(self, error: Exception) -> None:
        """Note that rows which had waited could not be written: it is still away."""
        self.may_be_back = False
        if self.is_away:
            self._show(str(error))

    async def _attempt(self, rows: Sequence[bytes], *, whole: bool) -> Written | None:
        now = time.monotonic()
        left = (self._away_since or now) + self._grace - now
        try:
            return await write_rows(self._pool, rows, min(max(left, BACK_OFF_FIRST), ATTEMPT_SECONDS), whole=whole)
        except DatabaseAwayError as error:
            self._problem = str(error)
            if self._away_since is None:
                log.warning("audit rows wait for PostgreSQL", error=self._problem)
            return None

    async def _is_back(self) -> bool:
        try:
            return await is_connected(self._pool)
        except DEPENDENCY_ERRORS:
            return False

    def _answers(self, seconds: float) -> None:
        self._process.instruments.db_write.observe(seconds * 1000)
        if self._away_since is not None:
            log.info("PostgreSQL answers again")
        self._away_since = None

    def _give_up(self) -> None:
        self.is_away, self.may_be_back = True, False
        self._show(self._problem)
        log.error("PostgreSQL is away: alerts go on, audit rows wait in Redis", seconds=self._grace)

    def _show(self, problem: str) -> None:
        words = f"PostgreSQL takes no rows: alerts go on, audit rows wait in Redis ({problem})"
        self._process.health.problems["audit"] = words


def part_of(written: Written, start: int, end: int) -> Written:
    """Return what came of the rows from `start` to before `end`, by their places among these."""
    refusals = [Refusal(each.index - start, each.error) for each in written.refusals if start <= each.index < end]
    standing = {place - start: decision for place, decision in written.standing.items() if start <= place < end}
    return Written(refusals, standing)
