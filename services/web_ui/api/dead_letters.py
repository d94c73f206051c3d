"""/api/v2/dead-letters: what MUTT gave up on, read, replayed, edited and deleted."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request

from mutt.dead_groups import HOSTS_SHOWN, Filter, Group
from mutt.dead_letters import NO_ID, Queue, editable
from mutt.fields import iso
from mutt.ids import is_uuid
from services.web_ui import dead_schemas as shapes
from services.web_ui import schemas
from services.web_ui.api.parameters import Reason
from services.web_ui.bodies import change_of, read_object, refuse_unknown
from services.web_ui.context import Context, Operator, Parts, Viewer
from services.web_ui.dead_letters import Found, shown
from services.web_ui.dead_moves import DeadMoves, Outcome, payload_of
from services.web_ui.dead_outcomes import outcomes
from services.web_ui.dead_requests import START_MAX, Act, before_of, carry_out, of, wanted_of
from services.web_ui.dead_requests import shown as shown_outcome
from services.web_ui.queries import Change
from services.web_ui.replies import ApiError

WANTED = ("letters", "filter", "before", "start", "operation")

router = APIRouter(prefix="/api/v2/dead-letters", tags=["dead-letters"])

Of = Annotated[Queue, Path(description="The list of dead letters")]
EventId = Annotated[str, Path(description="The letter's event_id; `unreadable` for one that has none")]
Digest = Annotated[str, Query(max_length=64, description="SHA-256 of the letter's bytes, as listed")]
Operation = Annotated[str, Path(description="The id of an operation, as the reply of what moved the letters says")]
Error = Annotated[str, Query(description="A group's `error`", max_length=64)]
Hostname = Annotated[str, Query(max_length=255, description="The host, whole")]
Search = Annotated[str, Query(description="Text in the message, the error or the host", max_length=500)]
Start = Annotated[int, Query(ge=0, le=START_MAX, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200, description="Letters in the page")]


@router.get("", response_model=shapes.Depths, responses=schemas.errors())
async def depths(parts: Parts, _caller: Viewer) -> dict[str, int]:
    """Return how many letters lie in each list."""
    return {str(queue): await of(parts, queue).depth() for queue in Queue}


@router.get("/outcomes/{operation}", response_model=shapes.Fates, responses=schemas.errors(400, 404))
async def show_outcomes(operation: Operation, parts: Parts, _caller: Viewer, start: Start = 0) -> dict[str, Any]:
    """Tell where the letters of an operation went, 1,000 at a time: its id is in the reply of what moved them."""
    found = await outcomes(parts, operation, start) if is_uuid(operation) else None
    if found is None or not found.moved:
        raise ApiError(404, f"no dead letter was moved by {operation}")
    return {
        "outcomes": [
            {
                "event_id": each.row["record_id"],
                "new_event_id": each.row["event_id"],
                "state": each.fate.state,
                "words": each.fate.words,
                "at": _time(each.fate.at),
            }
            for each in found.fated
        ],
        "total": found.moved,
        "next": start + len(found.fated) if start + len(found.fated) < found.moved else None,
    }


@router.get("/{queue}", response_model=shapes.Letters, responses=schemas.errors(400))
async def list_letters(
    queue: Of,
    parts: Parts,
    _caller: Viewer,
    *,
    error: Error = "",
    hostname: Hostname = "",
    q: Search = "",
    start: Start = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List letters, newest first. A filter looks at 5,000 of them for one page and says where to go on."""
    listing = await of(parts, queue).listing(Filter(error, hostname, q), start, limit)
    return {"letters": [shown(each) for each in listing.letters], "total": listing.total, "next": listing.next}


@router.get("/{queue}/groups", response_model=shapes.Groups, responses=schemas.errors(400))
async def list_groups(
    queue: Of, parts: Parts, _caller: Viewer, hostname: Hostname = "", q: Search = ""
) -> dict[str, Any]:
    """Group the newest 5,000 letters by what they died of."""
    survey = await of(parts, queue).survey(Filter("", hostname, q))
    groups = [_group(each) for each in survey.groups]
    return {"groups": groups, "looked_at": survey.looked_at, "total": survey.total}


@router.post("/{queue}/replay", response_model=shapes.MovedMany, responses=schemas.errors(), openapi_extra=shapes.MANY)
async def replay_letters(queue: Of, request: Request, parts: Parts, caller: Operator) -> dict[str, Any]:
    """Replay up to 100 letters: those named, or the next of those that a filter lets through."""
    body = await read_object(request)
    change = _change(request, caller, body)
    refuse_unknown(body, *WANTED)
    moves = DeadMoves(parts, of(parts, queue))
    return await _many(parts, queue, body, change, lambda found: moves.replay(found, change))


@router.post(
    "/{queue}/edit", response_model=shapes.MovedMany, responses=schemas.errors(), openapi_extra=shapes.EDITED_MANY
)
async def edit_letters(queue: Of, request: Request, parts: Parts, caller: Operator) -> dict[str, Any]:
    """Replay up to 100 letters, each with the same members of its payload replaced."""
    body = await read_object(request)
    change = _change(request, caller, body)
    refuse_unknown(body, *WANTED, "set")
    members = body.get("set")
    if not isinstance(members, dict) or not members:
        raise ApiError(400, "`set` has to be an object of members to replace", details={"set": 'such as {"team": …}'})
    moves = DeadMoves(parts, of(parts, queue))
    return await _many(parts, queue, body, change, lambda found: moves.edit_all(found, members, change))


@router.post("/{queue}/delete", response_model=shapes.MovedMany, responses=schemas.errors(), openapi_extra=shapes.MANY)
async def delete_letters(queue: Of, request: Request, parts: Parts, caller: Operator) -> dict[str, Any]:
    """Delete up to 100 letters for good; the record keeps their payloads."""
    body = await read_object(request)
    change = _change(request, caller, body)
    refuse_unknown(body, *WANTED)
    moves = DeadMoves(parts, of(parts, queue))
    return await _many(parts, queue, body, change, lambda found: moves.delete(found, change))


@router.get("/{queue}/{event_id}", response_model=shapes.WholeLetter, responses=schemas.errors(400, 404))
async def get_letter(
    queue: Of, event_id: EventId, parts: Parts, _caller: Viewer, sha256: Digest = ""
) -> dict[str, Any]:
    """Return a letter with its bytes and what may be edited of them; the newest of an id without `sha256`."""
    found = await _found(parts, queue, event_id, sha256 or None, 404)
    bare: dict[str, str | None] = {"entry": None, "entry_base64": None}
    return {**shown(found), **bare, **payload_of(found.letter.entry), "payload": editable(found.letter)}


@router.post(
    "/{queue}/{event_id}/replay",
    response_model=shapes.Moved,
    responses=schemas.errors(409),
    openapi_extra=shapes.ONE,
)
async def replay_letter(
    queue: Of, event_id: EventId, request: Request, parts: Parts, caller: Operator
) -> dict[str, Any]:
    """Send a letter behind the queue that it came from; 409 when it does not lie there as it was seen."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    refuse_unknown(body, "sha256")
    found = await _found(parts, queue, event_id, _digest(body), 409)
    return _one(change, await DeadMoves(parts, of(parts, queue)).replay([found], change))


@router.put(
    "/{queue}/{event_id}",
    response_model=shapes.Moved,
    responses=schemas.errors(409),
    openapi_extra=shapes.EDITED,
)
async def edit_letter(queue: Of, event_id: EventId, request: Request, parts: Parts, caller: Operator) -> dict[str, Any]:
    """Edit a letter's payload and send it behind its queue, under a new id that names the one it replaces."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    refuse_unknown(body, "sha256", "payload")
    payload = body.get("payload")
    if not isinstance(payload, str):
        if not isinstance(payload, dict):
            raise ApiError(400, "`payload` is needed, as text or as an object", details={"payload": "text or object"})
        payload = msgspec.json.encode(payload).decode()
    found = await _found(parts, queue, event_id, _digest(body), 409)
    return _one(change, [await DeadMoves(parts, of(parts, queue)).edit(found, payload, change)])


@router.delete("/{queue}/{event_id}", response_model=shapes.Moved, responses=schemas.errors(400, 409))
async def delete_letter(
    queue: Of,
    event_id: EventId,
    request: Request,
    parts: Parts,
    caller: Operator,
    *,
    sha256: Digest,
    _reason: Reason = None,
) -> dict[str, Any]:
    """Delete a letter for good; the record keeps its payload."""
    change = change_of(request, caller)
    found = await _found(parts, queue, event_id, sha256, 409)
    return _one(change, await DeadMoves(parts, of(parts, queue)).delete([found], change))


async def _found(parts: Context, queue: Queue, event_id: str, digest: str | None, status: int) -> Found:
    name = event_id.lower() if is_uuid(event_id) else event_id
    found = await of(parts, queue).find(name, digest) if is_uuid(event_id) or event_id == NO_ID else None
    if found is None:
        gone = f"{event_id} does not lie in {queue} " + ("any more as it was seen" if digest else "")
        raise ApiError(status, gone.strip())
    return found


async def _many(parts: Context, queue: Queue, body: dict[str, Any], change: Change, act: Act) -> dict[str, Any]:
    wanted = wanted_of(body)
    batch = await carry_out(of(parts, queue), wanted, act)
    return {
        "operation": change.correlation_id,
        "outcomes": [shown_outcome(outcome) for outcome in batch.outcomes],
        "more": batch.following is not None,
        "before": before_of(wanted),
        "start": batch.following,
    }


def _one(change: Change, done: list[Outcome]) -> dict[str, Any]:
    """Return one letter's outcome; raises ApiError where it did not move."""
    outcome = done[0]
    if outcome.status == "moved":
        return {"operation": change.correlation_id, "outcome": shown_outcome(outcome)}
    if outcome.status == "refused":
        raise ApiError(400, f"it cannot go back: {outcome.message}", details=outcome.details)
    raise ApiError(409 if outcome.status == "gone" else 503, outcome.message)


def _change(request: Request, caller: Operator, body: dict[str, Any]) -> Change:
    """Return the change; further batches of one operation share its id."""
    change = change_of(request, caller, body)
    operation = body.get("operation")
    if operation is None:
        return change
    if not is_uuid(operation):
        raise ApiError(400, "`operation` has to be the id of a former reply", details={"operation": "a UUID"})
    return change._replace(correlation_id=operation.lower())


def _digest(body: dict[str, Any]) -> str:
    digest = body.get("sha256")
    if not isinstance(digest, str):
        raise ApiError(400, "`sha256` of the letter's bytes is needed, as listed", details={"sha256": "is needed"})
    return digest.lower()


def _group(found: Group) -> dict[str, Any]:
    return {
        "error": found.fold.key,
        "title": found.title,
        "count": found.count,
        "first": _time(found.first),
        "last": _time(found.last),
        "hosts": dict(found.hosts.most_common(HOSTS_SHOWN)),
        "rule_id": found.rule_id,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
