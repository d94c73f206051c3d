"""/api/v2/dev-hosts: the hosts whose events are handled as development."""

from typing import Any

from fastapi import APIRouter, Request
from psycopg.errors import UniqueViolation

from mutt import hosts
from services.web_ui import schemas
from services.web_ui.api.rules import Limit, Offset
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import HOSTS, Queries, Row
from services.web_ui.replies import ApiError

TOPIC = "hosts"

router = APIRouter(prefix="/api/v2/dev-hosts", tags=["dev-hosts"])


@router.get("", response_model=schemas.Hosts, responses=schemas.errors())
async def list_hosts(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the development hosts by name."""
    async with parts.database() as queries:
        rows, total = await queries.page(HOSTS, limit, offset)
    return {"hosts": rows, "total": total, "limit": limit, "offset": offset}


@router.post(
    "", status_code=201, response_model=schemas.Host, responses=schemas.errors(409), openapi_extra=schemas.NEW_HOST
)
async def add_host(request: Request, parts: Parts, caller: Editor) -> Row:
    """Add a development host."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = hosts.validate_host(body)
    try:
        async with parts.change(TOPIC) as queries:
            return await queries.insert(HOSTS, values, change)
    except UniqueViolation:
        raise ApiError(409, f"{values['hostname']} is a development host already") from None


@router.get("/{hostname}", response_model=schemas.Host, responses=schemas.errors(404))
async def get_host(hostname: str, parts: Parts, _caller: Viewer) -> Row:
    """Return one development host."""
    async with parts.database() as queries:
        return await _found(queries, hostname)


@router.delete("/{hostname}", response_model=schemas.Message, responses=schemas.errors(404))
async def remove_host(hostname: str, request: Request, parts: Parts, caller: Editor) -> dict[str, str]:
    """Remove a host: its events are handled as production from now on."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        host = await _found(queries, hostname, lock=True)
        await queries.delete(HOSTS, host, change)
    return {"message": f"{host['hostname']} is no longer a development host"}


def path_host(name: str) -> str:
    """Return the hostname of a path in the form in which it is stored; raises ApiError 404 for none that could be."""
    try:
        return hosts.hostname(name)
    except ValueError as error:
        raise ApiError(404, f"there is no such host: {error}") from None


async def _found(queries: Queries, given: str, *, lock: bool = False) -> Row:
    name = path_host(given)
    host = await queries.one(HOSTS, name, lock=lock)
    if host is None:
        raise ApiError(404, f"{name} is not a development host")
    return host
