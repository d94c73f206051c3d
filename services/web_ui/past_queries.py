"""What is on record around an event: the rules of its time, who touched it, and what else its host sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from mutt.paging import Position
from mutt.past_book import HOSTS, RULES, TEAMS, PastBook, past_book
from services.web_ui.audit_queries import AuditQueries
from services.web_ui.queries import Queries, Row
from services.web_ui.rule_queries import all_rows

# Changes that are undone at most; an event older than they are is explained by the rules as far back as they reach.
CHANGES_MAX = 2000
NEIGHBOURS = 5
SIGNATURES_MAX = 400

_SINCE = sql.SQL(
    "SELECT changed_at, table_name, record_id, old_values FROM config_audit_log"
    " WHERE changed_at > %s AND table_name = ANY(%s) ORDER BY changed_at DESC, id DESC LIMIT %s"
)
_VERSION = sql.SQL(
    "SELECT old_values, new_values FROM config_audit_log WHERE table_name = %s AND record_id = %s"
    " AND (old_values->>'version' = %s OR new_values->>'version' = %s) ORDER BY id DESC LIMIT 1"
)
_TOUCHES = sql.SQL(
    "SELECT changed_at, changed_by, operation, record_id, reason, old_values->>'entry' AS entry,"
    " new_values->>'event_id' AS successor FROM config_audit_log"
    " WHERE record_id = ANY(%s) AND table_name = 'dead_letters' ORDER BY changed_at LIMIT 200"
)


class PastQueries:
    """Reads inside the transaction of `queries`."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._audit = AuditQueries(queries)

    async def book(self, at: datetime, *, match_short: bool) -> PastBook:
        """Return the rules, hosts and teams of a moment, as far as their changes are on record."""
        rules = await all_rows(self._queries)
        dev = await self._queries.fetch("select", sql.SQL("SELECT hostname FROM development_hosts"))
        teams = await self._queries.fetch("select", sql.SQL("SELECT hostname, team_assignment FROM device_teams"))
        changes = await self._queries.fetch("select", _SINCE, (at, [RULES, HOSTS, TEAMS], CHANGES_MAX))
        return past_book(
            rules,
            [row["hostname"] for row in dev],
            {row["hostname"]: row["team_assignment"] for row in teams},
            changes,
            match_short=match_short,
        )

    async def rule_version(self, rule_id: int, version: int) -> dict[str, Any] | None:
        """Return a rule's recorded values at one version; None where no record has it."""
        wanted = str(version)
        rows = await self._queries.fetch("select", _VERSION, (RULES, str(rule_id), wanted, wanted))
        for row in rows:
            for values in (row["new_values"], row["old_values"]):
                if values and values.get("version") == version:
                    return dict(values)
        return None

    async def touches(self, event_ids: Sequence[str]) -> list[Row]:
        """Return what was done to these events by hand, oldest first."""
        return await self._queries.fetch("select", _TOUCHES, (list(event_ids),))

    async def just_before(self, hostname: str, position: Position) -> list[Row]:
        """Return the last events of a host before one of its own."""
        rows = await self._audit.rows({"hostname": hostname}, NEIGHBOURS, after=position)
        return rows[::-1]

    async def within_a_minute(self, hostname: str, at: datetime, most: int = 1000) -> int:
        """Count a host's events in the minute before a moment."""
        filters = {"hostname": hostname, "start": at - timedelta(minutes=1), "end": at}
        return await self._audit.count_up_to(filters, most)

    async def around(self, hostname: str, at: datetime) -> list[Row]:
        """Return a host's events of an hour either side, newest first, as many as are worth comparing."""
        filters = {"hostname": hostname, "start": at - timedelta(hours=1), "end": at + timedelta(hours=1)}
        return await self._audit.rows(filters, SIGNATURES_MAX)
