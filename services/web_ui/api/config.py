"""/api/v2/config: the dynamic configuration in Redis, typed, audited and announced."""

from typing import Any

from fastapi import APIRouter, Request, Response

from mutt.dynamic_keys import ALL, DynamicKey
from services.web_ui import request_schemas, schemas
from services.web_ui.api.parameters import ConfigKey, IfMatch, Reason
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Admin, Parts, Viewer
from services.web_ui.replies import ApiError
from services.web_ui.rows import check_version, etag
from services.web_ui.stored_config import StoredConfig

router = APIRouter(prefix="/api/v2/config", tags=["config"])


@router.get("", response_model=schemas.Config, responses=schemas.errors())
async def list_config(request: Request, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """List all dynamic keys: what is stored, what takes effect and why, and what is possible."""
    stored = StoredConfig(parts)
    await stored.record_external(request.state.correlation_id)
    return {"config": await stored.show(*ALL.values()), "enabled": parts.settings.dynamic_config_enabled}


@router.get("/{key}", response_model=schemas.Setting, responses=schemas.errors(404))
async def get_config(
    key: ConfigKey, request: Request, response: Response, parts: Parts, _caller: Viewer
) -> dict[str, Any]:
    """Return one dynamic key; its ETag serves as If-Match of a change."""
    known, stored = _known(key), StoredConfig(parts)
    await stored.record_external(request.state.correlation_id)
    return await _shown(stored, known, response)


@router.put(
    "/{key}",
    response_model=schemas.Setting,
    responses=schemas.errors(404) | schemas.conflict(schemas.Setting),
    openapi_extra=request_schemas.NEW_VALUE,
)
async def set_config(  # noqa: PLR0917  (what a request brings)
    key: ConfigKey, request: Request, response: Response, parts: Parts, caller: Admin, if_match: IfMatch = None
) -> dict[str, Any]:
    """Set a dynamic key; services follow within five seconds, at once where they hear the announcement."""
    known = _known(key)
    body = await read_object(request)
    change = change_of(request, caller, body)
    if "value" not in body or set(body) - {"value", "version"}:
        raise ApiError(400, f'{{"value": …}} is needed: {known.allowed()}', details={"value": known.allowed()})
    value = body["value"]
    try:
        if isinstance(value, bool) or isinstance(value, str) != (known.kind is str):
            raise ValueError(f"{key}={value!r}: {known.allowed()} is needed")  # noqa: TRY301  (one way out)
        text = str(known.parse(str(value)))
    except ValueError as error:
        raise ApiError(400, str(error), details={"value": known.allowed()}) from None
    stored = StoredConfig(parts)
    await stored.replace(known, text, change, lambda found: check_version(found, if_match, body))
    return await _shown(stored, known, response)


@router.delete(
    "/{key}",
    response_model=schemas.Setting,
    responses=schemas.errors(400, 404) | schemas.conflict(schemas.Setting),
)
async def unset_config(  # noqa: PLR0917  (what a request brings)
    key: ConfigKey,
    request: Request,
    response: Response,
    parts: Parts,
    caller: Admin,
    if_match: IfMatch = None,
    _reason: Reason = None,
) -> dict[str, Any]:
    """Delete a dynamic key's value: the environment variable or the default holds again."""
    known, stored = _known(key), StoredConfig(parts)
    change = change_of(request, caller)
    if not await stored.replace(known, None, change, lambda found: check_version(found, if_match)):
        raise ApiError(404, f"{key} is not set in Redis; its default holds already")
    return await _shown(stored, known, response)


async def _shown(stored: StoredConfig, key: DynamicKey, response: Response) -> dict[str, Any]:
    shown = (await stored.show(key))[0]
    response.headers["ETag"] = etag(shown)
    return shown


def _known(key: str) -> DynamicKey:
    if key not in ALL:
        raise ApiError(404, f"there is no dynamic key {key}; there are {', '.join(ALL)}")
    return ALL[key]
