"""/api/v2/teams: the hosts whose events go to a team of their own."""

from typing import Any

from fastapi import APIRouter, Request
from psycopg.errors import UniqueViolation

from mutt.hosts import validate_team
from services.web_ui import schemas
from services.web_ui.api.hosts import path_host
from services.web_ui.api.rules import Limit, Offset
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import TEAMS, Queries, Row
from services.web_ui.replies import ApiError

TOPIC = "teams"

router = APIRouter(prefix="/api/v2/teams", tags=["teams"])


@router.get("", response_model=schemas.Teams, responses=schemas.errors())
async def list_teams(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the hosts with teams of their own by name."""
    async with parts.database() as queries:
        teams, total = await queries.page(TEAMS, limit, offset)
    return {"teams": teams, "total": total, "limit": limit, "offset": offset}


@router.post(
    "", status_code=201, response_model=schemas.Team, responses=schemas.errors(409), openapi_extra=schemas.NEW_TEAM
)
async def add_team(request: Request, parts: Parts, caller: Editor) -> Row:
    """Give a host's events to a team, whatever the rules say."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = validate_team(body)
    try:
        async with parts.change(TOPIC) as queries:
            return await queries.insert(TEAMS, values, change)
    except UniqueViolation:
        raise ApiError(409, f"{values['hostname']} has a team already; PUT changes it") from None


@router.get("/{hostname}", response_model=schemas.Team, responses=schemas.errors(404))
async def get_team(hostname: str, parts: Parts, _caller: Viewer) -> Row:
    """Return a host's team."""
    async with parts.database() as queries:
        return await _found(queries, hostname)


@router.put(
    "/{hostname}", response_model=schemas.Team, responses=schemas.errors(404), openapi_extra=schemas.CHANGED_TEAM
)
async def update_team(hostname: str, request: Request, parts: Parts, caller: Editor) -> Row:
    """Give a host's events to another team."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    async with parts.change(TOPIC) as queries:
        team = await _found(queries, hostname, lock=True)
        if not body:
            raise ApiError(400, "there is nothing to change; give team_assignment")
        values = validate_team({**team, **body})
        if values["hostname"] != team["hostname"]:
            details = {"hostname": f"is {team['hostname']} by the path; delete this entry and add another"}
            raise ApiError(400, "a host's name cannot be changed", details=details)
        if values["team_assignment"] == team["team_assignment"]:
            return team
        return await queries.update(TEAMS, team, values, change)


@router.delete("/{hostname}", response_model=schemas.Message, responses=schemas.errors(404))
async def delete_team(hostname: str, request: Request, parts: Parts, caller: Editor) -> dict[str, str]:
    """Delete a host's team: the rules name the team from now on."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        team = await _found(queries, hostname, lock=True)
        await queries.delete(TEAMS, team, change)
    return {"message": f"{team['hostname']} has no team of its own any more"}


async def _found(queries: Queries, hostname: str, *, lock: bool = False) -> Row:
    name = path_host(hostname)
    team = await queries.one(TEAMS, name, lock=lock)
    if team is None:
        raise ApiError(404, f"{name} has no team of its own")
    return team
