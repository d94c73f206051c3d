"""What a person does to dead letters: selected ones, all of a filter, or one with its edited payload."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mutt.dead_edits import edited
from mutt.dead_groups import Filter
from mutt.dead_letters import Queue, editable, read
from mutt.errors import RuleError
from mutt.fields import iso, parse_timestamp
from mutt.ids import is_uuid
from mutt.rules import FORWARDED
from services.web_ui.bodies import change_of
from services.web_ui.context import Context
from services.web_ui.dead_letters import LOOKED_AT, DeadLetters, Found
from services.web_ui.dead_moves import BATCH, DeadMoves, Outcome
from services.web_ui.dead_outcomes import Fated, outcomes
from services.web_ui.dead_requests import Name, Wanted, carry_out, of
from services.web_ui.pages.dead_list import View, entry_of, show
from services.web_ui.pages.frame import Form, PageOperator, PageViewer, User, done, form, parts_of, render
from services.web_ui.pages.templates import ENVIRONMENT
from services.web_ui.queries import Change
from services.web_ui.replies import ApiError

REPLAY, EDIT, DELETE = "replay", "edit", "delete"
DID = {REPLAY: "Replayed", EDIT: "Edited and replayed", DELETE: "Deleted"}
# Fields of an edit of several, each replaced only where something was typed.
MEMBERS = ("team", "handling")

router = APIRouter(include_in_schema=False)


class Asked(NamedTuple):
    """What a form of the list asks for."""

    do: str
    view: View
    names: list[Name]
    is_all: bool
    operation: str
    before: str
    start: int
    members: dict[str, str]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return the hidden fields that ask for the same again."""
        fixed = {"queue": str(self.view.queue), **self.view.filter._asdict(), "before": self.before}
        fields = [(name, str(value)) for name, value in fixed.items() if value]
        return fields + (
            [("all", "1")] if self.is_all else [("letter", " ".join(map(str, name))) for name in self.names]
        )


@router.post("/dead-letters/act")
async def act(request: Request, user: PageOperator) -> Response:
    """Do what one of the list's buttons says, or ask first where it cannot be undone."""
    asked = _asked(await form(request))
    if not asked.names and not asked.is_all:
        return done(request, asked.view.address(), "Select at least one letter.", kind="warn")
    letters = of(parts_of(request), asked.view.queue)
    meant, has_more = await _meant(letters, asked)
    if not meant:
        return done(request, asked.view.address(), "None of these letters lies here any more.", kind="warn")
    if asked.do == REPLAY and len(meant) <= BATCH and not has_more:
        return await _go(request, user, asked, len(meant))
    context = {
        "asked": asked,
        "count": len(meant),
        "has_more": has_more,
        "pages": sum(each.letter.decision.get("handling") == "Page_and_ticket" for each in meant),
        "handlings": [("", "stays as it is"), *((each, each.replace("_", " ")) for each in sorted(FORWARDED))],
        "teams": sorted({str(each.letter.decision.get("team", "")) for each in meant})[:10],
    }
    return await render(request, "dead-confirm.html", context)


@router.post("/dead-letters/go")
async def go(request: Request, user: PageOperator) -> Response:
    """Do what was confirmed, a batch at a time; the page of its outcomes goes on."""
    sent = await form(request)
    asked = _asked(sent)
    if asked.do == EDIT and not asked.members:
        return done(request, asked.view.address(), "Nothing was typed to replace, so nothing was done.", kind="warn")
    return await _go(request, user, asked, _number(sent.get("total")) or len(asked.names))


@router.post("/dead-letters/letter")
async def one(request: Request, user: PageOperator) -> Response:
    """Replay, edit, check or delete the letter that is open."""
    sent = await form(request)
    asked = _asked(sent)
    event_id, digest = sent.get("letter"), sent.get("sha256")
    view = asked.view._replace(letter=event_id, digest=digest, near=_number(sent.get("at")))
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
    asked = _asked(sent)
    found = await of(parts_of(request), asked.view.queue).find(
        sent.get("letter"), sent.get("sha256"), _number(sent.get("at"))
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
    asked, parts = request.query_params, parts_of(request)
    fated = await outcomes(parts, operation)
    if not fated and not asked.get("do"):
        raise ApiError(404, "No dead letter was moved by this operation.")
    states = {state: sum(each.fate.state == state for each in fated) for state in ("arrived", "refused", "waiting")}
    context = {
        "operation": operation,
        "rows": [_row(each) for each in fated],
        "states": states,
        "deleted": sum(each.fate.state == "deleted" for each in fated),
        "did": asked.get("do") if asked.get("do") in DID else _did(fated),
        "total": max(len(fated), _number(asked.get("total", ""))),
        "queue": asked.get("queue", ""),
        "following": _following(asked),
    }
    return await render(request, "dead-outcomes.html", context)


def _asked(sent: Form) -> Asked:
    name = sent.get("queue")
    if name not in {str(each) for each in Queue}:
        raise ApiError(400, "The form does not say which list it is about.")
    wanted = Filter(sent.get("error"), sent.get("hostname"), sent.get("q"))
    names = [named for each in sent.all("letter") if (named := _name(each)) is not None]
    operation = sent.get("operation")
    return Asked(
        sent.get("do"),
        View(Queue(name), wanted, 0, "", ""),
        names[:BATCH],
        sent.get("all") == "1",
        operation if is_uuid(operation) else "",
        sent.get("before"),
        _number(sent.get("start")),
        {member: sent.get(member).strip() for member in MEMBERS if sent.get(member).strip()},
    )


def _name(value: str) -> Name | None:
    """Read what a check box names: an id, a digest, and the index at which the letter was seen."""
    event_id, _, rest = value.partition(" ")
    digest, _, near = rest.partition(" ")
    return (event_id, digest, _number(near)) if digest else None


def _number(text: str) -> int:
    return int(text[:8]) if text.isdecimal() else 0


async def _meant(letters: DeadLetters, asked: Asked) -> tuple[list[Found], bool]:
    """Return the letters that a form means, and whether there may be more than were looked at."""
    if asked.is_all:
        listing = await letters.listing(asked.view.filter, 0, LOOKED_AT)
        return listing.letters, listing.next is not None
    found = [await letters.find(*name) for name in asked.names]
    return [each for each in found if each is not None], False


async def _go(request: Request, user: User, asked: Asked, total: int) -> Response:
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
    if batch.following is not None:
        chosen = {name: value for name, value in asked.view.filter._asdict().items() if value and name != "before"}
        where |= {**chosen, **asked.members, "start": str(batch.following), "before": iso(before) if before else ""}
        where["more"] = "1"
    address = f"/dead-letters/outcomes/{change.correlation_id}?{urlencode(where)}"
    problems = [outcome for outcome in batch.outcomes if outcome.status != "moved"]
    moved = len(batch.outcomes) - len(problems)
    if not moved and not asked.operation and batch.following is None:
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
    names = ("queue", "do", "total", "error", "hostname", "q", "team", "handling", "start", "before")
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


def _did(fated: Sequence[Fated]) -> str:
    return str(fated[0].row["operation"]).lower() if fated else REPLAY
