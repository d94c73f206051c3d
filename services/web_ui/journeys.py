"""An event's journey put together: its audit row, its deliveries, the queues, and the rules of its time."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from mutt.errors import EntryError
from mutt.events import DecidedEvent, QueuedEvent, decided_entry, decode_decided, extra_fields, iso
from mutt.explaining import Sending, explain
from mutt.journey import Attempt, Facts, Journey, Touch, journey
from mutt.judging_settings import JudgingSettings
from mutt.matching import RuleBook
from mutt.moogsoft import body_of
from mutt.neighbours import event_of_row, same_signature
from mutt.paging import Position
from mutt.past_book import PastBook, rule_of
from mutt.rules import FORWARDED, Rule
from mutt.whereabouts import Find, Place, as_received, error_of, most_telling, read_find
from services.logging_utils import get_logger
from services.web_ui.audit_queries import AuditQueries
from services.web_ui.context import Context
from services.web_ui.past_queries import PastQueries
from services.web_ui.queries import Row
from services.web_ui.whereabouts import Look, look_for

EVENTS_MAX = 200
ABOVE_SHOWN = 6
REBUILT = "Rebuilt from the audit row, which keeps the members but not their order or spacing."
FROM_QUEUE = "Byte for byte."

DATABASE_AWAY = (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError)

log = get_logger(__name__)


@dataclass(slots=True)
class Told:
    """One event: its row as the API shows it, what became of it, and what Moogsoft gets of it."""

    row: Row
    facts: Facts
    journey: Journey
    finds: list[Find]
    event: QueuedEvent | None
    sent: dict[str, Any] | None
    received: dict[str, Any]
    explanation: dict[str, Any] | None = None


@dataclass(slots=True)
class Search:
    """What was found of an id; `look` is None where the queues had nothing to add, or did not answer."""

    events: list[Told]
    look: Look | None
    problem: str | None = None
    audit_away: bool = False


class Records(NamedTuple):
    """What stands in other tables of the events that were found, and the time of the look."""

    attempts: list[Row]
    touches: list[Row]
    now: datetime


async def find(parts: Context, wanted: str) -> Search:
    """Return the event of an event_id, or all that share a correlation_id; `wanted` is a UUID in lower case."""
    rows: list[Row] = []
    attempts: list[Row] = []
    touches: list[Row] = []
    look, problem, away = None, None, None
    try:
        rows, attempts, touches = await _on_record(parts, wanted)
    except DATABASE_AWAY as error:
        # A page that waits in a queue while PostgreSQL is away is what somebody looks for at night.
        problem, away = "PostgreSQL does not answer: only the queues were looked through", error
    if not rows or any(_is_open(row, attempts) for row in rows):
        try:
            look = await look_for(parts.redis, parts.settings.names, wanted)
        except (RedisError, OSError) as error:
            log.warning("the queues could not be looked through", error=f"{type(error).__name__}: {error}")
            if away is not None:
                raise away from error
            problem = "Redis does not answer: whether the event is in a queue is not known"
    known = {row["event_id"]: row for row in rows}
    for found in look.finds if look else []:
        known.setdefault(found.event_id, {})
    if any(touch["record_id"] == wanted for touch in touches):
        known.setdefault(wanted, {})
    records = Records(attempts, touches, datetime.now(UTC))
    events = [_told(parts, event_id, row, records, look) for event_id, row in known.items()]
    if away is not None and not events:
        raise away
    return Search(events, look, problem, away is not None)


async def _on_record(parts: Context, wanted: str) -> tuple[list[Row], list[Row], list[Row]]:
    """Return audit rows, attempts to deliver and what was done by hand."""
    async with parts.database() as queries:
        audit, past = AuditQueries(queries), PastQueries(queries)
        rows = await audit.rows({"event_id": wanted}, 1) or await audit.rows({"correlation_id": wanted}, EVENTS_MAX)
        ids = [*(row["event_id"] for row in rows), wanted]
        return rows, await audit.attempts(ids), await past.touches(ids)


async def explained(parts: Context, told: Told) -> dict[str, Any] | None:
    """Tell why a decided event was decided so, by the rules of its time; None where it cannot be read."""
    facts, event = told.facts, told.event
    if facts.handling is None or event is None:
        return None
    judging = parts.settings.judging
    version = told.row.get("rule_version")
    async with parts.database() as queries:
        past = PastQueries(queries)
        book = await past.book(facts.audited_at or facts.received_at, match_short=judging.host_match_short)
        rule = next((each for each in book.rules if each.id == facts.rule_id), None)
        if facts.rule_id is not None and version is not None and (rule is None or rule.version != version):
            recorded = await past.rule_version(facts.rule_id, version)
            rule = None if recorded is None else rule_of(recorded)
    return await asyncio.to_thread(_explain, told, event, book, rule, judging)


@lru_cache(maxsize=4)
def _compiled(rules: tuple[Rule, ...]) -> RuleBook:
    return RuleBook(rules)


def _explain(
    told: Told, event: QueuedEvent, book: PastBook, rule: Rule | None, judging: JudgingSettings
) -> dict[str, Any]:
    sending = Sending(judging.moog_profile, batch=False)
    # Where the book of that moment has another version of the rule, the one on record takes its place.
    rules = book.rules if rule is None else (*(each for each in book.rules if each.id != rule.id), rule)
    compiled = _compiled(rules)
    found = explain(event, compiled, book.hosts, judging.unhandled_default_team, sending)
    verdicts = found["rules"][: len(compiled)]
    place = next((index for index, each in enumerate(verdicts) if each["id"] == told.facts.rule_id), None)
    above = verdicts[:place] if place is not None else verdicts
    version = told.row.get("rule_version")
    agrees = (found["handling"], found["team"]) == (told.facts.handling, told.facts.team) and (
        (found["winner"] or {}).get("id") == told.facts.rule_id
    )
    return {
        "rule": None if place is None else verdicts[place],
        "condition": None if rule is None else {"match_type": rule.match_type, "match_string": rule.match_string},
        "place": None if place is None else place + 1,
        "rules": len(compiled),
        "above": above[-ABOVE_SHOWN:],
        "above_not_shown": max(0, len(above) - ABOVE_SHOWN),
        "version": version,
        "version_known": told.facts.rule_id is None or (rule is not None and rule.version == version),
        "changes_since": book.undone,
        "agrees": agrees,
        "as_problem": found["as_problem"],
        "environment_from": found["environment_from"],
        "team_from": found["team_from"],
        "team_of_rule": None if rule is None else rule.team_assignment,
        "matched_text": None if place is None else verdicts[place].get("matched_text"),
    }


def _is_open(row: Row, attempts: list[Row]) -> bool:
    """Tell whether the row says too little about where the event ended."""
    if row["handling"] not in FORWARDED:
        return False
    return not any(each["event_id"] == row["event_id"] and each["outcome"] == "success" for each in attempts)


def _told(parts: Context, event_id: str, row: Row, records: Records, look: Look | None) -> Told:
    attempts, touches, now = records
    finds = look.of_event(event_id) if look else []
    # What is deleted or edited is not there any more; its record still says what it was.
    known = finds or ([] if row else _recorded(event_id, touches))
    decided = next((each.decided for each in known if each.decided), None)
    event = _event_of(row, known)
    best = most_telling(known)
    facts = Facts(
        received_at=row.get("received_at") or _received(event, best) or now,
        event_timestamp=row.get("event_timestamp") or (event.event_timestamp if event else now),
        now=now,
        handling=row.get("handling") or (decided.handling if decided else None),
        team=row.get("team") or (decided.team if decided else None),
        rule_id=row["rule_id"] if row else (decided.rule_id if decided else None),
        environment=row.get("environment") or (decided.environment if decided else None),
        audited_at=row.get("audited_at"),
        table=row.get("table_name"),
        sender_time=None if event is None else _sender_time(event),
        sanitized=any(each.envelope is not None and each.envelope.sanitized for each in finds),
        attempts=[_attempt(each) for each in attempts if each["event_id"] == event_id],
        finds=finds,
        touches=[_touch(each) for each in touches if each["record_id"] == event_id],
        looked=look is not None,
        complete=look is None or not look.cut_off,
    )
    shown = row or _row_of(event_id, facts, event, decided, best)
    return Told(
        {**shown, "rule_version": row["rule_version"] if row else (decided.rule_version if decided else None)},
        facts,
        journey(facts),
        finds,
        event,
        _sent(parts, decided, row, event),
        _as_received(best, event),
    )


def _event_of(row: Row, finds: list[Find]) -> QueuedEvent | None:
    for each in finds:
        if each.event is not None:
            return each.event
    return event_of_row(row) if row else None


def _received(event: QueuedEvent | None, found: Find | None) -> datetime | None:
    if event is not None:
        return event.received_at
    try:
        return datetime.fromisoformat(found.envelope.received_at) if found and found.envelope else None
    except ValueError:
        return None


def _sender_time(event: QueuedEvent) -> str | None:
    value = event.fields.get("timestamp")
    return None if value is None else str(value)


def _attempt(row: Row) -> Attempt:
    return Attempt(row["at"], row["attempt"], row["status"], row["outcome"])


def _touch(row: Row) -> Touch:
    successor = row["successor"] if row["successor"] != row["record_id"] else None
    return Touch(row["changed_at"], row["changed_by"], row["operation"], row["reason"], successor)


def _recorded(event_id: str, touches: list[Row]) -> list[Find]:
    entries = [each["entry"].encode() for each in touches if each["record_id"] == event_id and each["entry"]]
    finds = [read_find(event_id, Place.POISON, "", entry) for entry in entries[-1:]]
    return [each for each in finds if each is not None]


def _row_of(
    event_id: str, facts: Facts, event: QueuedEvent | None, decided: DecidedEvent | None, best: Find | None
) -> Row:
    """Return an event of the queues in the shape of an audit row."""
    error = error_of(best) if best else None
    return {
        "event_id": event_id,
        "correlation_id": event.correlation_id if event else None,
        "event_timestamp": facts.event_timestamp,
        "received_at": facts.received_at,
        "audited_at": None,
        "hostname": event.hostname if event else None,
        "message": event.message if event else (error or {}).get("message"),
        "source": event.source if event else None,
        "syslog_severity": event.severity if event else None,
        "trap_oid": event.trap_oid if event else None,
        "rule_id": facts.rule_id,
        "team": facts.team,
        "handling": facts.handling,
        "environment": facts.environment,
        "forwarded": facts.is_forwarded if decided else None,
        "raw": extra_fields(event.fields) if event else None,
    }


def _sent(parts: Context, decided: DecidedEvent | None, row: Row, event: QueuedEvent | None) -> dict[str, Any] | None:
    """Return what Moogsoft gets, or got, as its text; None for what stays here."""
    exact = decided is not None
    if decided is None and row and event is not None and row["handling"] in FORWARDED:
        names = ("handling", "team", "rule_id", "rule_version", "environment")
        try:
            decided = decode_decided(decided_entry(event.entry, **{name: row[name] for name in names}))
        except EntryError:
            return None
    if decided is None or decided.handling not in FORWARDED:
        return None
    judging = parts.settings.judging
    body = body_of([decided], judging.moog_profile, batch=judging.moog_batch_mode == "events")
    return {
        "body": body.decode("utf-8", "replace"),
        "bytes": len(body),
        "profile": judging.moog_profile,
        "exact": exact,
        "note": FROM_QUEUE if exact else REBUILT,
    }


def _as_received(best: Find | None, event: QueuedEvent | None) -> dict[str, Any]:
    if best is not None:
        data = as_received(best)
        return {"body": data.decode("utf-8", "replace"), "bytes": len(data), "exact": True, "note": FROM_QUEUE}
    if event is None:
        return {"body": "", "bytes": 0, "exact": False, "note": "Nothing of it is left."}
    data = event.entry.partition(b"},")[2]
    return {"body": "{" + data.decode("utf-8", "replace"), "bytes": len(data) + 1, "exact": False, "note": REBUILT}


async def around(parts: Context, told: Told) -> dict[str, Any]:
    """Return the same host's events just before, and those of the same signature within an hour either side."""
    host, at = told.row.get("hostname"), told.facts.event_timestamp
    if not host:
        return {"before": [], "minute": 0, "same": None}
    async with parts.database() as queries:
        past = PastQueries(queries)
        before = await past.just_before(host, Position(at, told.row["event_id"]))
        minute = await past.within_a_minute(host, at)
        rows = await past.around(host, at) if told.facts.is_forwarded and told.facts.audited_at else []
    return {"before": before, "minute": minute, "same": same_signature(told.row["event_id"], rows)}


def shown_row(row: Row) -> Row:
    """Return a row with its times as text."""
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}
