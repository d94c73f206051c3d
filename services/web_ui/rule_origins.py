"""What a new rule can start from: a pattern of unmatched messages, or one event."""

from typing import Any

from mutt import keys
from mutt.errors import EntryError
from mutt.events import QueuedEvent
from mutt.handling import normalise_host
from mutt.ids import is_uuid
from mutt.patterns import template as template_of
from mutt.rules import MatchType
from mutt.unmatched import telling_text
from services.web_ui.context import Context
from services.web_ui.replies import ApiError
from services.web_ui.rule_queries import audited_event, judge_of

NAME_MAX = 120
# What a rule is until somebody thinks about it: seen by the team, and nobody is woken.
START = {"priority": 500, "prod_handling": "Ticket_only", "dev_handling": "Log_only"}


async def from_unhandled(parts: Context, pattern: str) -> dict[str, Any]:
    """Return the fields of a rule that would catch a pattern of unmatched messages, its sample beside them."""
    held: Any = await parts.redis.hmget(f"{keys.UNHANDLED_INFO_PREFIX}:{pattern}", ["template", "sample"])
    if held[0] is None:
        raise ApiError(404, f"the pattern {pattern} is not counted any more: it was quiet for too long")
    text, example = ((each or b"").decode("utf-8", "replace") for each in held)
    return {"template": text, "sample": example, "event_id": None, "fields": fields_from(parts, text, example)}


async def from_event(parts: Context, event_id: str) -> dict[str, Any]:
    """Return the fields of a rule that would catch an audited event and those like it."""
    if not is_uuid(event_id):
        raise ApiError(400, "event_id is a UUID", details={"event_id": "is not a UUID"})
    async with parts.database() as queries:
        try:
            event = await audited_event(queries, event_id.lower())
        except EntryError as error:
            raise ApiError(404, str(error)) from None
        hosts = (await judge_of(queries, match_short=parts.settings.judging.host_match_short)).hosts
    text = template_of(event.message)
    fields = {**fields_from(parts, text, event.message), **_conditions(event)}
    if (team := hosts.team(normalise_host(event.hostname))) is not None:
        fields["team_assignment"] = team
    return {"template": text, "sample": event.message, "event_id": event.envelope.event_id, "fields": fields}


def fields_from(parts: Context, template: str, message: str) -> dict[str, Any]:
    """Return the fields of a rule for a pattern and one of its messages."""
    return {
        **START,
        "name": template[:NAME_MAX],
        "match_string": telling_text(template, message),
        "match_type": str(MatchType.CONTAINS),
        "team_assignment": parts.settings.judging.unhandled_default_team,
    }


def _conditions(event: QueuedEvent) -> dict[str, Any]:
    if event.trap_oid is None:
        return {"syslog_severity": event.severity}
    kind = str(MatchType.OID_PREFIX)
    return {"syslog_severity": event.severity, "trap_oid": event.trap_oid, "match_type": kind}
