"""What the audit of events and of changes holds, page by page, without ever scanning a hundred million rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.errors import QueryCanceled

from mutt.paging import Position
from services.web_ui.queries import Queries, Row, shown

# Rows counted exactly; past them the planner's estimate answers.
COUNT_MAX = 1_000
COUNT_TIMEOUT_MS = 1_000
SEARCH_TIMEOUT_MS = 5_000

_EVENT_COLUMNS = sql.SQL(
    "event_id::text, correlation_id::text, tableoid::regclass::text AS table_name, event_timestamp, received_at,"
    " audited_at, hostname, message, source,"
    " syslog_severity, trap_oid, rule_id, rule_version, team, handling, environment, forwarded, raw"
)
_CHANGE_COLUMNS = sql.SQL(
    "id, changed_at, changed_by, operation, table_name, record_id, old_values, new_values, reason, correlation_id::text"
)
# Conditions of both lists by the name of their parameter.
CONDITIONS = {
    "hostname": "hostname = %s",
    "rule_id": "rule_id = %s",
    "correlation_id": "correlation_id = %s",
    "event_id": "event_id = %s",
    "handling": "handling = %s",
    "q": "message ILIKE %s",
    "text": "(message ILIKE %s OR hostname ILIKE %s)",
    "start": "event_timestamp >= %s",
    "end": "event_timestamp < %s",
    # Said twice, since only the first lets PostgreSQL leave out whole months.
    "after": "event_timestamp <= %s AND (event_timestamp, event_id) < (%s, %s)",
    "newer": "event_timestamp >= %s AND (event_timestamp, event_id) > (%s, %s)",
    "changed_by": "changed_by = %s",
    "table_name": "table_name = %s",
    "record_id": "record_id = %s",
    "operation": "operation = %s",
    "changed_start": "changed_at >= %s",
    "changed_end": "changed_at < %s",
}


class Total(NamedTuple):
    """How many rows there are; `exact` is False where counting them would take too long."""

    rows: int
    exact: bool


class AuditQueries:
    """Reads inside the transaction of `queries`."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def events(
        self, filters: Mapping[str, Any], limit: int, offset: int = 0, after: Position | None = None
    ) -> list[Row]:
        """Return events newest first; raises QueryCanceled when the search takes longer than five seconds."""
        return [shown(row) for row in await self.rows(filters, limit, offset, after)]

    async def rows(
        self, filters: Mapping[str, Any], limit: int, offset: int = 0, after: Position | None = None
    ) -> list[Row]:
        """Do likewise, with times as datetimes and the name of each row's table."""
        given = dict(filters) | ({"after": (after.event_timestamp, *after)} if after else {})
        each = [_newest(*_where(filters), limit + offset) for filters in _one_host_each(given)]
        statement = sql.SQL(
            "SELECT * FROM ({}) AS each ORDER BY event_timestamp DESC, event_id DESC LIMIT %s OFFSET %s"
        ).format(sql.SQL(" UNION ALL ").join(part for part, _ in each))
        values = [value for _, part in each for value in part]
        await self._timeout(SEARCH_TIMEOUT_MS)
        return await self._queries.fetch("select", statement, (*values, limit, offset))

    async def count_up_to(self, filters: Mapping[str, Any], most: int) -> int:
        """Count events, and stop at `most`."""
        return min(most, sum([await self._count(each, most) for each in _one_host_each(filters)]))

    async def count_newer(self, filters: Mapping[str, Any], than: Position, most: int) -> int:
        """Count up to `most` events that stand before this place in the order newest first."""
        await self._timeout(SEARCH_TIMEOUT_MS)
        return await self.count_up_to(dict(filters) | {"newer": (than.event_timestamp, *than)}, most)

    async def has_host(self, hostname: str) -> bool:
        """Tell whether any event of this host is in the audit."""
        rows = await self._queries.fetch(
            "select", sql.SQL("SELECT EXISTS (SELECT FROM event_audit_log WHERE hostname = %s) AS found"), (hostname,)
        )
        return bool(rows[0]["found"])

    async def newest(self, hostname: str) -> datetime | None:
        """Return when the newest event of a host was."""
        statement = sql.SQL(
            "SELECT event_timestamp FROM event_audit_log WHERE hostname = %s ORDER BY event_timestamp DESC LIMIT 1"
        )
        rows = await self._queries.fetch("select", statement, (hostname,))
        return rows[0]["event_timestamp"] if rows else None

    async def count_events(self, filters: Mapping[str, Any]) -> Total:
        """Count up to COUNT_MAX events, else estimate."""
        try:
            async with self._queries.connection.transaction():
                await self._timeout(COUNT_TIMEOUT_MS)
                total = sum([await self._count(each, COUNT_MAX + 1) for each in _one_host_each(filters)])
            if total <= COUNT_MAX:
                return Total(total, exact=True)
        except QueryCanceled:
            pass
        return Total(sum([await self._estimate(each) for each in _one_host_each(filters)]), exact=False)

    async def _count(self, filters: Mapping[str, Any], most: int) -> int:
        where, values = _where(filters)
        # In the order of an index it stops where it has counted enough, month by month.
        counted = sql.SQL(
            "SELECT count(*) AS total FROM"
            " (SELECT FROM event_audit_log {} ORDER BY event_timestamp DESC LIMIT %s) AS newest"
        ).format(where)
        return int((await self._queries.fetch("select", counted, (*values, most)))[0]["total"])

    async def _estimate(self, filters: Mapping[str, Any]) -> int:
        where, values = _where(filters)
        plan = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM event_audit_log {}").format(where)
        explained = await self._queries.fetch("select", plan, values)
        return int(explained[0]["QUERY PLAN"][0]["Plan"]["Plan Rows"])

    async def deliveries(self, event_ids: Sequence[str]) -> list[Row]:
        """Return the attempts to deliver these events, oldest first."""
        return [shown(row) for row in await self.attempts(event_ids)]

    async def attempts(self, event_ids: Sequence[str]) -> list[Row]:
        """Do likewise, with times as datetimes."""
        statement = sql.SQL(
            "SELECT event_id::text, at, attempt, status, outcome FROM delivery_log"
            " WHERE event_id = ANY(%s::uuid[]) ORDER BY at"
        )
        return await self._queries.fetch("select", statement, (list(event_ids),))

    async def changes(self, filters: Mapping[str, Any], limit: int, offset: int) -> tuple[list[Row], int]:
        """Return changes newest first, and how many there are."""
        where, values = _where(filters)
        statement = sql.SQL(
            "SELECT {} FROM config_audit_log {} ORDER BY changed_at DESC, id DESC LIMIT %s OFFSET %s"
        ).format(_CHANGE_COLUMNS, where)
        rows = await self._queries.fetch("select", statement, (*values, limit, offset))
        count = sql.SQL("SELECT count(*) AS total FROM config_audit_log {}").format(where)
        total = await self._queries.fetch("select", count, values)
        return [shown(row) for row in rows], int(total[0]["total"])

    async def _timeout(self, milliseconds: int) -> None:
        await self._queries.connection.execute(
            sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(milliseconds))
        )


def contains(text: str) -> str:
    """Return the ILIKE pattern of a plain text."""
    escaped = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"


def _one_host_each(filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the filters once for each spelling of the host: of one host alone the index gives the newest first."""
    hosts = filters.get("hostname")
    if not isinstance(hosts, list):
        return [dict(filters)]
    return [dict(filters) | {"hostname": host} for host in hosts]


def _newest(where: sql.Composable, values: tuple[Any, ...], most: int) -> tuple[sql.Composable, tuple[Any, ...]]:
    statement = sql.SQL("(SELECT {} FROM event_audit_log {} ORDER BY event_timestamp DESC, event_id DESC LIMIT %s)")
    return statement.format(_EVENT_COLUMNS, where), (*values, most)


def _where(filters: Mapping[str, Any]) -> tuple[sql.Composable, tuple[Any, ...]]:
    if not filters:
        return sql.SQL(""), ()
    conditions = sql.SQL(" AND ").join(sql.SQL(CONDITIONS[name]) for name in filters)
    values: list[Any] = []
    for value in filters.values():
        values += value if isinstance(value, tuple) else (value,)
    return sql.SQL("WHERE ") + conditions, tuple(values)


def time_of(row: Row) -> datetime:
    """Return a shown event's own time."""
    return datetime.fromisoformat(row["event_timestamp"])
