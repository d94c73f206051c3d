"""Keeps the audit's partitions ahead of the calendar, so that nobody has to remember them."""

import asyncio
from datetime import UTC, datetime

from services.logging_utils import get_logger
from services.partitions import ensure_partitions, missing_partitions
from services.postgres_connector import Pool, borrowed
from services.runtime.instruments import AlerterInstruments
from services.runtime.loop import DEPENDENCY_ERRORS

INTERVAL_SECONDS = 3600.0
RETRY_SECONDS = 10.0

log = get_logger(__name__)


async def keep_partitions(pool: Pool, instruments: AlerterInstruments) -> None:
    """Make the months due at start and every hour, until cancelled; what is missing meanwhile is made on demand."""
    told = ""
    while True:
        try:
            async with borrowed(pool) as connection:
                today = datetime.now(UTC).date()
                instruments.partitions_missing.set(len(await missing_partitions(connection, today)))
                made = await ensure_partitions(connection, today)
                instruments.partitions_missing.set(len(await missing_partitions(connection, today)))
        except DEPENDENCY_ERRORS as error:
            if told != (told := f"{type(error).__name__}: {str(error).strip()}"):
                log.warning("partitions were not looked after, trying again", error=told)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            told = ""
            if made:
                log.info("made partitions of the audit", names=made)
            await asyncio.sleep(INTERVAL_SECONDS)
