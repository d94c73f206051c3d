"""/api/v2/events/{id}: the whole way of an event, wherever it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from mutt.events import iso
from mutt.ids import is_uuid
from mutt.journey import as_json
from mutt.whereabouts import error_of
from services.web_ui import event_schemas, schemas
from services.web_ui.context import Context, Parts, Viewer
from services.web_ui.journeys import Search, Told, explained, find, shown_row
from services.web_ui.replies import ApiError

router = APIRouter(prefix="/api/v2", tags=["audit"])


@router.get("/events/{id}", response_model=event_schemas.TracedEvents, responses=schemas.errors(400, 404))
async def get_events(
    event_id: Annotated[str, Path(alias="id", description="An event_id or a correlation_id")],
    parts: Parts,
    _caller: Viewer,
) -> dict[str, Any]:
    """Return an event by its event_id, or all that share a correlation_id, audited or not, with what became of each.

    One event alone is also explained by the rules of its time.
    """
    found = await search(parts, event_id)
    alone = len(found.events) == 1 and not found.audit_away
    explanation = await explained(parts, found.events[0]) if alone else None
    return {"events": [document(told, explanation) for told in found.events], "searched": searched(found)}


async def search(parts: Context, event_id: str) -> Search:
    """Return what is found of an id; raises ApiError 400 and 404."""
    if not is_uuid(event_id):
        raise ApiError(400, "an event_id or a correlation_id is a UUID", details={"id": "is not a UUID"})
    found = await find(parts, event_id.lower())
    if not found.events:
        raise ApiError(404, _nothing(event_id, found))
    return found


def document(told: Told, explanation: dict[str, Any] | None) -> dict[str, Any]:
    """Return an event as the API shows it."""
    return {
        **shown_row(told.row),
        "deliveries": [shown_row(each._asdict()) for each in told.facts.attempts],
        "journey": _journey(told),
        "places": [
            {
                "place": str(each.place),
                "key": each.key,
                "ahead": each.ahead,
                "due": iso(each.due) if each.due else None,
                "retry_count": each.envelope.retry_count if each.envelope else 0,
                "error": error_of(each),
            }
            for each in told.finds
        ],
        "sent": told.sent,
        "as_received": told.received,
        "explanation": explanation,
    }


def searched(found: Search) -> dict[str, Any] | None:
    """Return how far the queues were looked through."""
    look = found.look
    if look is None:
        problem = found.problem
        return None if problem is None else {"looked_at": 0, "of": 0, "cut_off": [], "problem": problem}
    return {"looked_at": look.looked_at, "of": look.of, "cut_off": look.cut_off, "problem": found.problem}


def _journey(told: Told) -> dict[str, Any]:
    shown = as_json(told.journey, told.facts.received_at)
    return {**shown, "steps": [shown_row(step) for step in shown["steps"]]}


def _nothing(event_id: str, found: Search) -> str:
    said = f"no event has the event_id or correlation_id {event_id}, neither in the audit nor in a queue"
    look = found.look
    if look is None:
        return f"no audited event has the event_id or correlation_id {event_id}; {found.problem}"
    if look.cut_off:
        return (
            f"{said}, as far as they were looked through: {look.looked_at:,} of {look.of:,} entries; it may still be in"
            f" {', '.join(look.cut_off)}"
        )
    return said
