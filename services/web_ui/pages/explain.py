"""/rules/explain: why an event is handled as it is."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.web_ui.pages.frame import PageViewer, form, parts_of, render
from services.web_ui.replies import ApiError
from services.web_ui.rule_work import explain_event

EXAMPLE = '{"hostname": "core-rtr-01", "message": "Interface Gi0/1, changed state to down", "syslog_severity": 3}'
BELOW_SHOWN = 50

router = APIRouter(include_in_schema=False)


@router.get("/rules/explain")
async def ask(request: Request, _user: PageViewer) -> Response:
    """Show the form, or the explanation of the audited event in the address."""
    event_id = request.query_params.get("event_id", "").strip()[:64]
    return await _page(request, event_id, "")


@router.post("/rules/explain")
async def answer(request: Request, _user: PageViewer) -> Response:
    """Explain what was pasted."""
    sent = await form(request)
    return await _page(request, sent.get("event_id").strip()[:64], sent.get("event"))


async def _page(request: Request, event_id: str, event: str) -> Response:
    found: dict[str, Any] | None = None
    error: ApiError | None = None
    if event_id or event.strip():
        try:
            found = await explain_event(
                parts_of(request), event_id=None if event.strip() else event_id, pasted=event.encode("utf-8", "replace")
            )
        except ApiError as refused:
            error = refused
    context = {
        "event_id": event_id,
        "event": event,
        "found": found,
        "error": error.message if error else "",
        "error_in": "event" if event.strip() else "event_id",
        "example": EXAMPLE,
        **_split(found),
    }
    return await render(request, "explain.html", context, error.status if error else 200)


def _split(found: dict[str, Any] | None) -> dict[str, Any]:
    """Part the rules at the winner: those above failed, those below were never asked."""
    if found is None:
        return {"above": [], "winner": None, "below": [], "below_more": 0, "pieces_of": None}
    rules = found["rules"]
    winner = found["winner"]
    place = next((at for at, rule in enumerate(rules) if winner and rule["id"] == winner["id"]), len(rules))
    below = rules[place + 1 :]
    message, span = found["event"]["message"], found["matched_text"]
    start, end = span or (0, 0)
    return {
        "above": rules[:place],
        "winner": rules[place] if place < len(rules) else None,
        "below": below[:BELOW_SHOWN],
        "below_more": max(len(below) - BELOW_SHOWN, 0),
        "pieces_of": (message[:start], message[start:end], message[end:]),
    }
