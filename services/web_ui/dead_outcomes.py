"""What became of replayed dead letters, by looking where their events went."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql

from mutt.dead_groups import explained
from mutt.dead_letters import NO_ID, Queue
from mutt.ids import is_uuid
from services.web_ui.context import Context
from services.web_ui.dead_letters import DeadLetters
from services.web_ui.dead_moves import DELETE
from services.web_ui.queries import Queries, Row
from services.web_ui.unrecorded import TABLE

MOST = 1000  # letters of one operation that one look follows
DEPTH = 10_000  # newest letters of each list that a look goes through
_COUNT = sql.SQL(
    "SELECT count(*) AS moved, min(changed_at) AS since, min(operation) AS operation"
    " FROM config_audit_log WHERE correlation_id = %s AND table_name = %s"
)
_ROWS = sql.SQL(
    "SELECT id, changed_at, changed_by, operation, record_id, reason, old_values, new_values->>'event_id' AS event_id,"
    " new_values->>'queue' AS home FROM config_audit_log WHERE correlation_id = %s AND table_name = %s"
    " ORDER BY id OFFSET %s LIMIT %s"
)
_DELIVERIES = sql.SQL(
    "SELECT DISTINCT ON (event_id) event_id::text, at, status, outcome FROM delivery_log"
    " WHERE event_id = ANY(%s::uuid[]) AND at >= %s ORDER BY event_id, at DESC"
)
_AUDITED = sql.SQL(
    "SELECT event_id::text, handling, forwarded, audited_at FROM event_audit_log WHERE event_id = ANY(%s::uuid[])"
)


class Fate(NamedTuple):
    """Where a letter is by now: arrived, refused, waiting or deleted; the words that say so; when it was seen there."""

    state: str
    words: str
    at: datetime | None = None


class Fated(NamedTuple):
    """A recorded move with what came of it."""

    row: Row
    fate: Fate


class Outcomes(NamedTuple):
    """What came of an operation's letters from one index on, at most MOST of them; `moved` counts all of them."""

    fated: list[Fated]
    moved: int
    operation: str | None


async def outcomes(parts: Context, operation: str, start: int = 0) -> Outcomes:
    """Return the letters that an operation moved, in their order, each with where it went."""
    async with parts.database() as queries:
        [counted] = await queries.fetch("select", _COUNT, (operation, TABLE))
        rows = await queries.fetch("select", _ROWS, (operation, TABLE, start, MOST)) if counted["moved"] else []
        ids = [row["event_id"] for row in rows if row["event_id"] and is_uuid(row["event_id"])]
        deliveries = await _by_id(queries, _DELIVERIES, (ids, counted["since"])) if ids else {}
        audited = await _by_id(queries, _AUDITED, (ids,)) if ids else {}
    fated = [Fated(row, _fate(row, deliveries, audited)) for row in rows]
    dead = await _dead(parts, {each.row["event_id"] for each in fated if each.fate.state == "waiting"} - {None})
    again = [
        Fated(each.row, dead[each.row["event_id"]])
        if each.fate.state == "waiting" and each.row["event_id"] in dead
        else each
        for each in fated
    ]
    return Outcomes(again, counted["moved"], counted["operation"])


async def _by_id(queries: Queries, statement: sql.SQL, values: Sequence[Any]) -> dict[str, Row]:
    return {row["event_id"]: row for row in await queries.fetch("select", statement, values)}


def _fate(row: Row, deliveries: Mapping[str, Row], audited: Mapping[str, Row]) -> Fate:
    """Return what PostgreSQL knows."""
    if row["operation"] == DELETE:
        return Fate("deleted", "deleted", row["changed_at"])
    event_id, home = row["event_id"] or NO_ID, row["home"]
    delivery, event = deliveries.get(event_id), audited.get(event_id)
    if home != "audit" and delivery is not None:
        return _delivered(delivery)
    if home != "alert" and event is not None:
        handling = event["handling"].replace("_", " ")
        if home == "audit" or not event["forwarded"]:
            return Fate("arrived", f"audited: {handling}", event["audited_at"])
        return Fate("waiting", f"audited: {handling}; on its way to Moogsoft", event["audited_at"])
    return Fate("waiting", "on its way")


def _delivered(delivery: Row) -> Fate:
    verdict, _, words = delivery["outcome"].partition(": ")
    if verdict == "success":
        return Fate("arrived", f"Moogsoft took it: {delivery['status']}", delivery["at"])
    if verdict == "rejected":
        return Fate("refused", f"Moogsoft refused it again: {explained(words)}", delivery["at"])
    return Fate("waiting", f"tried, will be tried again: {explained(words)}", delivery["at"])


async def _dead(parts: Context, event_ids: set[str]) -> dict[str, Fate]:
    """Return which of those that have not arrived lie among the newest of the dead again, with what they died of."""
    found: dict[str, Fate] = {}
    for queue in (Queue.ALERTER, Queue.MOOG, Queue.POISON):
        letters = DeadLetters(parts.redis, parts.settings.names, queue)
        for event_id, letter in (await letters.newest_of(event_ids - found.keys(), DEPTH)).items():
            found[event_id] = Fate("refused", f"dead again: {explained(letter.error)}")
    return found
