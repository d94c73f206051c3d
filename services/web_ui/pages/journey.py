"""/events/{id}: one event's journey, or the list of all that share a correlation_id."""

import json
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.archived import Reach, reach
from mutt.bar import Bar, bar
from mutt.ids import is_uuid
from mutt.journey import Step, offset
from mutt.whereabouts import Place
from services.web_ui.api.events import search
from services.web_ui.archived_months import archived_months
from services.web_ui.context import Context
from services.web_ui.journeys import Search, Told, around, explained
from services.web_ui.pages.frame import PageViewer, parts_of, render
from services.web_ui.replies import ApiError

# Without PostgreSQL nothing is known of the host's other events.
NOTHING_AROUND = {"before": None, "minute": 0, "same": None}

QUEUES = {
    Place.ALERTER_DEAD: "alerter",
    Place.MOOG_DEAD: "moog",
    Place.POISON: "poison",
    Place.QUARANTINE: "quarantine",
}

router = APIRouter(include_in_schema=False)


@router.get("/events/{event_id}")
async def journey_page(event_id: str, request: Request, _user: PageViewer) -> Response:
    """Show what became of an event."""
    parts = parts_of(request)
    if not is_uuid(event_id):
        raise ApiError(404, f"There is no event {event_id[:80]!r}: an event's id is a UUID.")
    try:
        found = await search(parts, event_id)
    except ApiError as error:
        left = await _left(parts, event_id.lower())
        missing = {"wanted": event_id.lower(), "why": error.message, "left": left}
        return await render(request, "journey-none.html", missing, error.status)
    if len(found.events) > 1:
        context = {"wanted": event_id.lower(), "events": found.events, "found": found, "cut": _cut(found)}
        return await render(request, "journey-many.html", context)
    told = found.events[0]
    explanation = None if found.audit_away else await explained(parts, told)
    context = {
        "told": told,
        "row": told.row,
        "facts": told.facts,
        "journey": told.journey,
        "explanation": explanation,
        "hit": _hit(told, explanation),
        "bar": _bar(told),
        "offset": _offset,
        "letter": _letter(told),
        "around": NOTHING_AROUND if found.audit_away else await around(parts, told),
        "bodies": _bodies(told),
        "found": found,
        "cut": _cut(found),
        "wanted": told.row["event_id"],
    }
    return await render(request, "journey.html", context)


async def _left(parts: Context, wanted: str) -> Reach | None:
    """Return which months the archive has, one of which may hold the event."""
    async with parts.database() as queries:
        return reach(await archived_months(queries, None, None), {"event-id": wanted})


def _hit(told: Told, explanation: dict[str, Any] | None) -> tuple[str, str, str] | None:
    """Return the message around the text that a rule found in it: before, the text, after."""
    span = (explanation or {}).get("matched_text")
    message = told.row.get("message")
    if span is None or not message:
        return None
    start, end = span
    return message[max(0, start - 40) : start], message[start : min(end, start + 200)], message[end : end + 40]


def _bar(told: Told) -> Bar | None:
    return bar(told.journey.spans)


def _offset(told: Told, step: Step) -> str:
    """Return a step's time since the receipt."""
    if step.at is not None:
        return offset((step.at - told.facts.received_at).total_seconds())
    if step.by is not None:
        return "within " + offset((step.by - told.facts.received_at).total_seconds()).lstrip("+")
    return ""


def _letter(told: Told) -> str | None:
    """Return the address of the event's dead letter; None where it is not dead."""
    for each in told.finds:
        if each.place in QUEUES:
            names = {"queue": QUEUES[each.place], "letter": each.event_id, "sha256": sha256(each.entry).hexdigest()}
            return f"/dead-letters?{urlencode(names)}"
    return None


def _bodies(told: Told) -> list[tuple[str, str, str, str, str]]:
    """Return the texts beside the journey: id, title, text laid out, what to know of it, and the text as it is."""
    found = []
    if told.sent is not None:
        title = "Sent to Moogsoft" if told.facts.attempts else "For Moogsoft"
        what = f"{told.sent['bytes']:,} bytes, {told.sent['profile']} profile. {told.sent['note']}"
        found.append(("sent", title, _pretty(told.sent["body"]), what, told.sent["body"]))
    received = told.received
    what = f"{received['bytes']:,} bytes. {received['note']}"
    found.append(("received", "As received", _pretty(received["body"]), what, received["body"]))
    if told.facts.audited_at is not None:
        row = {name: value for name, value in told.row.items() if name != "table_name"}
        text = json.dumps(row, indent=2, ensure_ascii=False, default=str)
        found.append(("row", "Audit row", text, f"{told.facts.table or 'event_audit_log'}.", text))
    return found


def _pretty(text: str) -> str:
    """Return JSON laid out, every value as it was written; what is not JSON stays as it is."""
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


def _cut(found: Search) -> str | None:
    """Return what to know of the look through the queues; None where it was whole or not needed."""
    if found.problem is not None:
        return found.problem + "."
    look = found.look
    if look is None or not look.cut_off:
        return None
    return (
        f"{look.looked_at:,} of {look.of:,} queue entries were looked at; {', '.join(look.cut_off)} "
        f"{'is' if len(look.cut_off) == 1 else 'are'} too long to be read whole."
    )
