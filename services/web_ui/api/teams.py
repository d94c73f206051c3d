"""/api/v2/teams: the hosts whose events go to a team of their own."""

from typing import Any

from fastapi import APIRouter, Request, Response
from psycopg.errors import UniqueViolation

from mutt.hosts import validate_team
from services.web_ui import request_schemas, schemas
from services.web_ui.api.hosts import path_host
from services.web_ui.api.parameters import Host, IfMatch, Limit, Offset, Reason
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import TEAMS, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rows import check_version, etag, existing, listed, versioned

TOPIC = "teams"

router = APIRouter(prefix="/api/v2/teams", tags=["teams"])


@router.get("", response_model=schemas.Teams, responses=schemas.errors(400))
async def list_teams(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the hosts with teams of their own by name."""
    return await listed(parts, TEAMS, "teams", limit, offset)


@router.post(
    "",
    status_code=201,
    response_model=schemas.Team,
    responses=schemas.errors(409),
    openapi_extra=request_schemas.NEW_TEAM,
)
async def add_team(request: Request, response: Response, parts: Parts, caller: Editor) -> Row:
    """Give a host's events to a team, whatever the rules say."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = validate_team(body)
    try:
        async with parts.change(TOPIC) as queries:
            team = await queries.insert(TEAMS, values, change)
    except UniqueViolation:
        raise ApiError(409, f"{values['hostname']} has a team already; PUT changes it") from None
    response.headers["ETag"] = etag(team)
    return versioned(team)


@router.get("/{hostname}", response_model=schemas.Team, responses=schemas.errors(404))
async def get_team(hostname: Host, response: Response, parts: Parts, _caller: Viewer) -> Row:
    """Return a host's team; its ETag serves as If-Match of a change."""
    async with parts.database() as queries:
        team = await _found(queries, hostname)
    response.headers["ETag"] = etag(team)
    return versioned(team)


@router.put(
    "/{hostname}",
    response_model=schemas.Team,
    responses=schemas.errors(404) | schemas.conflict(schemas.Team),
    openapi_extra=request_schemas.CHANGED_TEAM,
)
async def update_team(  # noqa: PLR0917  (what a request brings)
    hostname: Host, request: Request, response: Response, parts: Parts, caller: Editor, if_match: IfMatch = None
) -> Row:
    """Give a host's events to another team."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    async with parts.change(TOPIC) as queries:
        team = await _found(queries, hostname, lock=True)
        check_version(team, if_match, body)
        if not body:
            raise ApiError(400, "there is nothing to change; give team_assignment")
        values = validate_team({**team, **body})
        if values["hostname"] != team["hostname"]:
            details = {"hostname": f"is {team['hostname']} by the path; delete this entry and add another"}
            raise ApiError(400, "a host's name cannot be changed", details=details)
        if values["team_assignment"] != team["team_assignment"]:
            team = await queries.update(TEAMS, team, values, change)
    response.headers["ETag"] = etag(team)
    return versioned(team)


@router.delete(
    "/{hostname}", response_model=schemas.Message, responses=schemas.errors(400, 404) | schemas.conflict(schemas.Team)
)
async def delete_team(
    hostname: Host, request: Request, parts: Parts, caller: Editor, if_match: IfMatch = None, _reason: Reason = None
) -> dict[str, str]:
    """Delete a host's team: the rules name the team from now on."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        team = await _found(queries, hostname, lock=True)
        check_version(team, if_match)
        await queries.delete(TEAMS, team, change)
    return {"message": f"{team['hostname']} has no team of its own any more"}


async def _found(queries: Queries, hostname: str, *, lock: bool = False) -> Row:
    name = path_host(hostname)
    return await existing(queries, TEAMS, name, f"{name} has no team of its own", lock=lock)
