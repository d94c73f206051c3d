"""Which months of a range of time have left the database for the archive."""

from datetime import datetime

from psycopg import sql

from mutt.archived import ArchivedMonth
from services.web_ui.queries import Queries

# An older schema has no such table, and a role of before may not read it: then nothing is told.
_MAY_READ = sql.SQL("SELECT coalesce(has_table_privilege(to_regclass('public.archives'), 'SELECT'), false) AS may_read")
_MONTHS = sql.SQL(
    "SELECT month, max(restored_until) AS restored_until, bool_and(state = 'expired') AS expired FROM archives"
    " WHERE table_name = 'event_audit_log' AND state IN ('detached', 'archived', 'expired')"
    " AND (%s::timestamptz IS NULL OR (month + interval '1 month') AT TIME ZONE 'UTC' > %s)"
    " AND (%s::timestamptz IS NULL OR month::timestamp AT TIME ZONE 'UTC' < %s) GROUP BY month ORDER BY month"
)


async def archived_months(queries: Queries, start: datetime | None, end: datetime | None) -> list[ArchivedMonth]:
    """Return the months of the range that are or were in the archive, in order."""
    if not (await queries.fetch("select", _MAY_READ))[0]["may_read"]:
        return []
    rows = await queries.fetch("select", _MONTHS, (start, start, end, end))
    return [ArchivedMonth(row["month"], row["restored_until"], row["expired"]) for row in rows]
