"""The records of moved dead letters, on their way from Redis into config_audit_log.

The script that moves a letter leaves its record in Redis, in the same step. Whoever moved it writes the record and
takes it away from there; where that fails, or the process dies in between, the next look at what is left does it.
"""

from typing import Any

import msgspec
from psycopg import sql
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mutt import keys
from mutt.locks import MUTT, Lock
from services.logging_utils import get_logger
from services.postgres_connector import Pool, transaction
from services.runtime.instruments import WebUiInstruments
from services.web_ui.queries import Change, Queries

EVERY_SECONDS = 5.0
TABLE = "dead_letters"
AT_ONCE = 100
# Those who move letters share it for as long as their transaction lasts: under it alone, what is left in Redis is of
# moves whose transactions have ended.
SHARED = sql.SQL("SELECT pg_advisory_xact_lock_shared({}, {})").format(MUTT, Lock.DEAD_LETTERS)
_ALONE = sql.SQL("SELECT pg_advisory_xact_lock({}, {})").format(MUTT, Lock.DEAD_LETTERS)
_WRITTEN = sql.SQL(
    "SELECT EXISTS (SELECT FROM config_audit_log WHERE table_name = %s AND record_id = %s AND operation = %s"
    " AND correlation_id = %s AND old_values->>'sha256' IS NOT DISTINCT FROM %s::text) AS written"
)

log = get_logger(__name__)


class Record(msgspec.Struct, frozen=True):
    """What config_audit_log has to say of one letter."""

    operation: str
    record_id: str
    changed_by: str
    reason: str | None
    correlation_id: str
    old: dict[str, Any]
    new: dict[str, Any] | None

    async def write(self, queries: Queries) -> None:
        """Add it to config_audit_log, in the caller's transaction."""
        change = Change(self.changed_by, self.reason, self.correlation_id)
        await queries.record(TABLE, self.operation, self.record_id, change, old=self.old, new=self.new)


async def forget(redis: Redis, entries: list[bytes]) -> None:
    """Take records away that are written; where Redis does not answer, the next look does it."""
    try:
        async with redis.pipeline() as commands:
            for entry in entries:
                commands.lrem(keys.UNRECORDED, -1, entry)  # type: ignore[arg-type]
            await commands.execute()
    except (RedisError, OSError) as error:
        log.warning("records that are written wait in Redis still", error=str(error))


async def write_what_is_left(redis: Redis, pool: Pool, instruments: WebUiInstruments) -> bool:
    """Write the records of moves that nobody recorded, as the body of a loop that pauses after each pass."""
    if not await redis.llen(keys.UNRECORDED):
        return False
    async with transaction(pool) as connection:
        queries = Queries(connection, instruments.db_query)
        await connection.execute(_ALONE)
        left: list[Any] = await redis.lrange(keys.UNRECORDED, -AT_ONCE, -1)
        for record in [_decode(entry) for entry in reversed(left)]:
            if record is not None and not await _is_written(queries, record):
                log.warning("recorded the move of a dead letter late", operation=record.operation, id=record.record_id)
                await record.write(queries)
    await forget(redis, left)
    return False


async def _is_written(queries: Queries, record: Record) -> bool:
    values = (TABLE, record.record_id, record.operation, record.correlation_id, record.old.get("sha256"))
    return bool((await queries.fetch("select", _WRITTEN, values))[0]["written"])


def _decode(entry: bytes) -> Record | None:
    try:
        return msgspec.json.decode(entry, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("what lay among the records of moved dead letters is none, it is taken away", problem=str(error))
        return None
