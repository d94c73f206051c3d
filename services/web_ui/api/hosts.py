"""/api/v2/dev-hosts: the hosts whose events are handled as development."""

from typing import Any

from fastapi import APIRouter, Request, Response
from psycopg.errors import UniqueViolation

from mutt import hosts
from services.web_ui import request_schemas, schemas
from services.web_ui.api.parameters import Host, IfMatch, Limit, Offset, Reason
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import HOSTS, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rows import check_version, etag, existing, listed, versioned

TOPIC = "hosts"

router = APIRouter(prefix="/api/v2/dev-hosts", tags=["dev-hosts"])


@router.get("", response_model=schemas.Hosts, responses=schemas.errors(400))
async def list_hosts(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the development hosts by name."""
    return await listed(parts, HOSTS, "hosts", limit, offset)


@router.post(
    "",
    status_code=201,
    response_model=schemas.Host,
    responses=schemas.errors(409),
    openapi_extra=request_schemas.NEW_HOST,
)
async def add_host(request: Request, response: Response, parts: Parts, caller: Editor) -> Row:
    """Add a development host."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = hosts.validate_host(body)
    try:
        async with parts.change(TOPIC) as queries:
            host = await queries.insert(HOSTS, values, change)
    except UniqueViolation:
        raise ApiError(409, f"{values['hostname']} is a development host already") from None
    response.headers["ETag"] = etag(host)
    return versioned(host)


@router.get("/{hostname}", response_model=schemas.Host, responses=schemas.errors(404))
async def get_host(hostname: Host, response: Response, parts: Parts, _caller: Viewer) -> Row:
    """Return one development host; its ETag serves as If-Match of its removal."""
    async with parts.database() as queries:
        host = await _found(queries, hostname)
    response.headers["ETag"] = etag(host)
    return versioned(host)


@router.delete(
    "/{hostname}", response_model=schemas.Message, responses=schemas.errors(400, 404) | schemas.conflict(schemas.Host)
)
async def remove_host(
    hostname: Host, request: Request, parts: Parts, caller: Editor, if_match: IfMatch = None, _reason: Reason = None
) -> dict[str, str]:
    """Remove a host: its events are handled as production from now on."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        host = await _found(queries, hostname, lock=True)
        check_version(host, if_match)
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
    return await existing(queries, HOSTS, name, f"{name} is not a development host", lock=lock)
