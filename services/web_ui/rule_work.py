"""What the rule editor's pages and the API share: a rule checked as typed, foretold, explained."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mutt.errors import EntryError, RuleError
from mutt.explaining import Sending, explain, read_pasted
from mutt.ids import is_uuid
from mutt.intake import Intake, Limits, Receipt
from mutt.matching import RuleBook
from mutt.past_events import with_entry
from mutt.pattern_advice import advice
from mutt.records import RecordError
from mutt.rule_relations import hidden, hiding, neighbours
from mutt.rules import FIELDS, MatchType, Rule, validate_rule
from services.web_ui.context import Context
from services.web_ui.dry_runs import HOURS_MAX, DryRuns, Run
from services.web_ui.keyring import Caller
from services.web_ui.queries import RULES, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rule_queries import audited_event, judge_of

# An event is explained wherever it comes from; only what the explanation needs has to be there.
REQUIRED = ("message", "hostname")
NEW = 0
NOTE_AUDITED = (
    "The audit keeps an event's members, not their order or spacing: Moogsoft got the same members, perhaps in another "
    "order."
)
NOTE_PASTED = "The event_id is made up for this explanation."


def rule_for(values: Mapping[str, Any], rule_id: int, version: int = 1) -> Rule:
    """Return a validated rule as the rule book takes it."""
    return Rule(id=rule_id, version=version, **values)


async def check(queries: Queries, parts: Context, fields: Mapping[str, Any], rule_id: int) -> dict[str, Any]:
    """Return what the validators of a save say, hints beside them, and the rule's place among the others."""
    try:
        values = validate_rule(fields)
    except RuleError as error:
        return {
            "valid": False,
            "details": error.details,
            "hints": _hints(fields),
            "neighbours": await _neighbours_by_priority(queries, parts, fields.get("priority"), rule_id),
            "hidden_by": None,
            "hides": [],
        }
    judge = await judge_of(queries, match_short=parts.settings.judging.host_match_short)
    rule = rule_for(values, rule_id or max((each.id for each in judge.rules), default=0) + 1)
    above = hiding(rule, judge.rules) if rule.is_active else None
    return {
        "valid": True,
        "details": {},
        "hints": {},
        "neighbours": _shown_neighbours(rule, judge.rules),
        "hidden_by": None if above is None else brief(above),
        "hides": [brief(each) for each in hidden(rule, judge.rules)],
    }


async def start_dry_run(
    parts: Context, runs: DryRuns, caller: Caller, fields: Mapping[str, Any], *, rule_id: int, hours: int
) -> Run:
    """Start a dry run of a rule that is new (id 0) or a stored one with other fields."""
    if not 1 <= hours <= HOURS_MAX:
        raise ApiError(400, f"hours is a whole number from 1 to {HOURS_MAX}", details={"hours": f"1 to {HOURS_MAX}"})
    async with parts.database() as queries:
        stored = await _stored(queries, rule_id)
        merged = {**{name: (stored or {}).get(name) for name in FIELDS}, **fields}
        values = validate_rule(merged)
        judge = await judge_of(queries, match_short=parts.settings.judging.host_match_short)
    rule = rule_for(values, rule_id, (stored or {}).get("version", 0) + 1)
    return await runs.start(judge, rule, hours, parts.settings.judging.unhandled_default_team, caller.name)


async def explain_event(
    parts: Context, *, event_id: str | None = None, pasted: bytes | None = None, draft: Rule | None = None
) -> dict[str, Any]:
    """Explain an audited event, or the bytes of one; with `draft` as if that rule were saved."""
    judging = parts.settings.judging
    async with parts.database() as queries:
        judge = await judge_of(queries, match_short=judging.host_match_short)
        try:
            if event_id is not None:
                if not is_uuid(event_id):
                    raise ApiError(400, "event_id is a UUID", details={"event_id": "is not a UUID"})
                event, note = with_entry(await audited_event(queries, event_id.lower())), NOTE_AUDITED
            else:
                event, note = read_pasted(_entry(pasted or b"")), NOTE_PASTED
        except EntryError as error:
            raise ApiError(404 if event_id else 400, str(error)) from None
    rules = judge.rules if draft is None else [*(each for each in judge.rules if each.id != draft.id), draft]
    sending = Sending(judging.moog_profile, judging.moog_batch_mode == "events")
    # In a thread: compiling thousands of rules takes a while.
    found = await asyncio.to_thread(
        lambda: explain(event, RuleBook(rules), judge.hosts, judging.unhandled_default_team, sending)
    )
    return {
        "event": {
            "event_id": event.envelope.event_id,
            "hostname": event.hostname,
            "message": event.message,
            "severity": event.severity,
            "trap_oid": event.trap_oid,
            "source": event.source,
            "correlation_id": event.correlation_id,
        },
        "note": note if found["forwarded"] else None,
        **found,
    }


def brief(rule: Rule) -> dict[str, Any]:
    """Return what names a rule."""
    return {"id": rule.id, "name": rule.name, "priority": rule.priority}


def _shown_neighbours(rule: Rule, rules: list[Rule]) -> dict[str, Any]:
    found = neighbours(rule, rules)
    return {
        "above": None if found.above is None else brief(found.above),
        "below": None if found.below is None else brief(found.below),
    }


async def _neighbours_by_priority(queries: Queries, parts: Context, priority: object, rule_id: int) -> dict[str, Any]:
    if not isinstance(priority, int) or isinstance(priority, bool):
        return {"above": None, "below": None}
    rules = (await judge_of(queries, match_short=parts.settings.judging.host_match_short)).rules
    own = rule_id or max((each.id for each in rules), default=0) + 1
    placed = Rule(own, "x", None, None, "contains", priority, "Log_only", "Log_only", "x")
    return _shown_neighbours(placed, rules)


def _hints(fields: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    pattern = fields.get("match_string")
    if fields.get("match_type") != MatchType.REGEX or not isinstance(pattern, str) or not pattern:
        return {}
    found = advice(pattern)
    return {} if found is None else {"match_string": found._asdict()}


async def _stored(queries: Queries, rule_id: int) -> Row | None:
    if rule_id == NEW:
        return None
    row = await queries.one(RULES, rule_id)
    if row is None:
        raise ApiError(404, f"there is no rule {rule_id}")
    return row


def _entry(raw: bytes) -> bytes:
    raw = raw.strip()
    if not raw:
        raise ApiError(400, "there is no event to explain; paste its JSON, or give an event_id")
    if raw.startswith(b'{"_mutt":{'):
        return raw
    intake = Intake(REQUIRED, Limits(), os.urandom)
    try:
        return intake.accept(raw, Receipt(int(datetime.now(UTC).timestamp() * 1_000_000))).entry
    except RecordError as error:
        raise ApiError(400, f"the event would not be taken: {error}", details={"event": str(error)}) from None
