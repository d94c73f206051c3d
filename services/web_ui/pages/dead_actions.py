"""What a person does to dead letters: selected ones, all of a filter, or one with its edited payload."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mutt.dead_edits import edited
from mutt.dead_letters import Queue, editable, read
from mutt.errors import RuleError
from mutt.fields import iso, parse_timestamp
from mutt.ids import is_uuid
from mutt.rules import FORWARDED
from services.web_ui.bodies import change_of
from services.web_ui.context import Context
from services.web_ui.dead_letters import DeadLetters, Found
from services.web_ui.dead_moves import BATCH, DeadMoves, Outcome
from services.web_ui.dead_outcomes import MOST, Fated, outcomes
from services.web_ui.dead_requests import Wanted, carry_out, of
from services.web_ui.pages.dead_forms import Asked, asked_by, meant_by
from services.web_ui.pages.dead_list import entry_of, number_of, show
from services.web_ui.pages.frame import PageOperator, PageViewer, User, done, form, parts_of, render
from services.web_ui.pages.templates import ENVIRONMENT
from services.web_ui.queries import Change
from services.web_ui.replies import ApiError

REPLAY, EDIT, DELETE = "replay", "edit", "delete"
DID = {REPLAY: "Replayed", EDIT: "Edited and replayed", DELETE: "Deleted"}

router = APIRouter(include_in_schema=False)


@router.post("/dead-letters/act")
async def act(request: Request, user: PageOperator) -> Response:
    """Do what one of the list's buttons says, or ask first where it cannot be undone."""
    asked = asked_by(await form(request))
    if not asked.names and not asked.is_all:
        return done(request, asked.view.address(), "Select at least one letter.", kind="warn")
    letters = of(parts_of(request), asked.view.queue)
    meant = await meant_by(letters, asked)
    if not meant.number and not meant.is_least:
        return done(request, asked.view.address(), "None of these letters lies here any more.", kind="warn")
    if asked.do == REPLAY and meant.number <= BATCH and not meant.is_least:
        return await _go(request, user, asked, meant.number)
    context = {
        "asked": asked,
        "count": meant.number,
        "has_more": meant.is_least,
        "pages": sum(each.letter.decision.get("handling") == "Page_and_ticket" for each in meant.letters),
        "looked_at": len(meant.letters),
        "handlings": [("", "stays as it is"), *((each, each.replace("_", " ")) for each in sorted(FORWARDED))],
        "teams": sorted({str(each.letter.decision.get("team", "")) for each in meant.letters})[:10],
    }
    return await render(request, "dead-confirm.html", context)


@router.post("/dead-letters/go")
async def go(request: Request, user: PageOperator) -> Response:
    """Do what was confirmed, a batch at a time; the page of its outcomes goes on."""
    sent = await form(request)
    asked = asked_by(sent)
    if asked.do == EDIT and not asked.members:
        return done(request, asked.view.address(), "Nothing was typed to replace, so nothing was done.", kind="warn")
    total = number_of(dict(sent.fields), "total") or len(asked.names)
    return await _go(request, user, asked, total, is_least=sent.get("least") == "1")


@router.post("/dead-letters/letter")
async def one(request: Request, user: PageOperator) -> Response:
    """Replay, edit, check or delete the letter that is open."""
    sent = await form(request)
    asked = asked_by(sent)
    event_id, digest = sent.get("letter"), sent.get("sha256")
    view = asked.view._replace(letter=event_id, digest=digest, near=number_of(dict(sent.fields), "at"))
    if asked.do == DELETE:
        context = {
            "asked": asked._replace(names=[(event_id, digest, view.near)]),
            "count": 1,
            "has_more": False,
            "pages": 0,
        }
        return await render(request, "dead-confirm.html", {**context, "handlings": [], "teams": []})
    letters = of(parts_of(request), view.queue)
    found = await letters.find(event_id, digest, view.near)
    if found is None:
        return await show(request, view, status=409)
    payload = sent.get("payload").replace("\r\n", "\n")
    details = _faults(request, found, payload)
    if asked.do == "check" or details:
        return await show(request, view, payload=payload, details=details, status=400 if details else 200)
    change = change_of(request, user.caller)
    moves = DeadMoves(parts_of(request), letters)
    if payload == editable(found.letter):
        outcome = (await moves.replay([found], change))[0]
    else:
        outcome = await moves.edit(found, payload, change)
    if outcome.status != "moved":
        return done(request, view.address(), f"It was not replayed: {outcome.message}.", kind="critical")
    return RedirectResponse(f"/dead-letters/outcomes/{change.correlation_id}?queue={view.queue}", 303)


@router.post("/dead-letters/check")
async def check(request: Request, _user: PageOperator) -> Response:
    """Return the part of the page that says what an edit changes, for the script that asks while one types."""
    sent = await form(request)
    asked = asked_by(sent)
    found = await of(parts_of(request), asked.view.queue).find(
        sent.get("letter"), sent.get("sha256"), number_of(dict(sent.fields), "at")
    )
    if found is None:
        raise ApiError(409, "This letter does not lie here any more.")
    payload = sent.get("payload").replace("\r\n", "\n")
    entry = entry_of(parts_of(request), found, payload, _faults(request, found, payload))
    return HTMLResponse(ENVIRONMENT.get_template("dead-check-only.html").render(entry=entry))


@router.get("/dead-letters/outcomes/{operation}")
async def outcomes_page(request: Request, operation: str, _user: PageViewer) -> Response:
    """Show what an operation moved, and where each letter went."""
    if not is_uuid(operation):
        raise ApiError(404, "There is no such operation.")
    asked, start = request.query_params, number_of(request.query_params, "from")
    if asked.get("do", REPLAY) not in DID:
        raise ApiError(400, f"`do` in the address has to be one of {', '.join(DID)}.")
    found = await outcomes(parts_of(request), operation, start)
    following = _following(asked)
    if not found.moved and not following:
        raise ApiError(404, "No dead letter was moved by this operation.")
    counts = Counter(each.fate.state for each in found.fated)
    context = {
        "operation": operation,
        "rows": [_row(each) for each in found.fated],
        "moved": found.moved,
        "counts": counts,
        "did": asked.get("do") or (found.operation or REPLAY).lower(),
        "total": max(found.moved, number_of(asked, "total")),
        "is_least": asked.get("least") == "1",
        "is_full": asked.get("full") == "1",
        "queue": asked.get("queue", ""),
        "following": following,
        "start": start,
        "newer": _page(request, max(0, start - MOST)) if start else None,
        "older": _page(request, start + MOST) if start + len(found.fated) < found.moved else None,
    }
    return await render(request, "dead-outcomes.html", context)


async def _go(request: Request, user: User, asked: Asked, total: int, *, is_least: bool = False) -> Response:
    """Move one batch and lead to the outcomes."""
    parts = parts_of(request)
    change = change_of(request, user.caller)
    if asked.operation:
        change = change._replace(correlation_id=asked.operation.lower())
    letters = of(parts, asked.view.queue)
    before = parse_timestamp(asked.before) if asked.before else None
    if asked.is_all:
        before = before or datetime.now(UTC)
        wanted = Wanted([], asked.view.filter._replace(before=before), asked.start)
    else:
        wanted = Wanted(asked.names)
    batch = await carry_out(letters, wanted, lambda found: _do(parts, letters, asked, found, change))
    where = {"queue": str(asked.view.queue), "do": asked.do, "total": str(total)}
    is_full = asked.is_all and any(outcome.status == "full" for outcome in batch.outcomes)
    following = asked.start if is_full else batch.following
    if following is not None:
        chosen = {name: value for name, value in asked.view.filter._asdict().items() if value and name != "before"}
        where |= {**chosen, **asked.members, "start": str(following), "before": iso(before) if before else ""}
        where |= {"more": "1", **({"least": "1"} if is_least else {}), **({"full": "1"} if is_full else {})}
    address = f"/dead-letters/outcomes/{change.correlation_id}?{urlencode(where)}"
    problems = [outcome for outcome in batch.outcomes if outcome.status != "moved"]
    moved = len(batch.outcomes) - len(problems)
    if not moved and not asked.operation and following is None:
        address = asked.view.address()
    return done(request, address, _told(asked.do, moved, problems), kind="warn" if problems else "ok")


async def _do(
    parts: Context, letters: DeadLetters, asked: Asked, found: Sequence[Found], change: Change
) -> list[Outcome]:
    moves = DeadMoves(parts, letters)
    if asked.do == REPLAY:
        return await moves.replay(found, change)
    if asked.do == EDIT:
        return await moves.edit_all(found, dict(asked.members), change)
    if asked.do == DELETE:
        return await moves.delete(found, change)
    raise ApiError(400, "The form does not say what is to be done.")


def _told(do: str, moved: int, problems: Sequence[Outcome]) -> str:
    text = f"{DID[do]} {moved}."
    reasons: dict[str, int] = {}
    for outcome in problems:
        reasons[outcome.message] = reasons.get(outcome.message, 0) + 1
    for reason, count in list(reasons.items())[:5]:
        text += f" {count} stayed as {'it was' if count == 1 else 'they were'}: {reason}."
    return text


def _page(request: Request, start: int) -> str:
    """Return the address of the outcomes from another letter on; what goes on with the operation stays behind."""
    kept = {name: request.query_params[name] for name in ("queue", "do") if name in request.query_params}
    return f"{request.url.path}?{urlencode(kept | ({'from': str(start)} if start else {}))}"


def _faults(request: Request, found: Found, payload: str) -> Mapping[str, str]:
    """Return what is wrong with an edited payload, by member."""
    if payload == editable(found.letter):
        return {}
    moves = DeadMoves(parts_of(request), of(parts_of(request), found.letter.queue))
    try:
        edited(found.letter, payload, moves.intake, datetime.now(UTC), bytes)
    except RuleError as error:
        return error.details
    return {}


def _following(asked: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the hidden fields of the next batch; none where there is none."""
    if asked.get("more") != "1":
        return []
    names = ("queue", "do", "total", "least", "error", "hostname", "q", "team", "handling", "start", "before")
    return [("all", "1"), *((name, asked[name]) for name in names if asked.get(name))]


def _row(each: Fated) -> dict[str, Any]:
    old = each.row["old_values"] or {}
    queue = Queue(old["queue"]) if old.get("queue") in {str(queue) for queue in Queue} else Queue.POISON
    letter = read(queue, str(old.get("entry", "")).encode())
    return {
        "letter": letter,
        "died": parse_timestamp(letter.died_at),
        "fate": each.fate,
        "event_id": each.row["event_id"] or each.row["record_id"],
        "seconds": (each.fate.at - each.row["changed_at"]).total_seconds() if each.fate.at else None,
    }
