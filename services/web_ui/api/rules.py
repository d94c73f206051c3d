"""/api/v2/rules: the rules by which events are handled."""

# ruff: noqa: FAST003  (the id's parameter has another name, since `id` is Python's own)
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from mutt.rules import FIELDS, validate_rule
from services.web_ui import schemas
from services.web_ui.bodies import change_of, check_version, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import RULES, Queries, Row
from services.web_ui.replies import ApiError

TOPIC = "rules"
ID_MAX = 2**31 - 1

RuleId = Annotated[int, Path(alias="id", ge=1, le=ID_MAX)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=ID_MAX)]

router = APIRouter(prefix="/api/v2/rules", tags=["rules"])


@router.get("", response_model=schemas.Rules, responses=schemas.errors())
async def list_rules(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the rules in the order in which they are tried: highest priority first, then lowest id."""
    async with parts.database() as queries:
        rules, total = await queries.page(RULES, limit, offset)
    return {"rules": rules, "total": total, "limit": limit, "offset": offset}


@router.post(
    "", status_code=201, response_model=schemas.Rule, responses=schemas.errors(), openapi_extra=schemas.NEW_RULE
)
async def create_rule(request: Request, response: Response, parts: Parts, caller: Editor) -> Row:
    """Create a rule; it takes effect at once."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = validate_rule(body)
    async with parts.change(TOPIC) as queries:
        rule = await queries.insert(RULES, values, change)
    response.headers["ETag"] = _etag(rule)
    response.headers["Location"] = f"/api/v2/rules/{rule['id']}"
    return rule


@router.get("/{id}", response_model=schemas.Rule, responses=schemas.errors(404))
async def get_rule(rule_id: RuleId, response: Response, parts: Parts, _caller: Viewer) -> Row:
    """Return one rule; its ETag serves as If-Match of a change."""
    async with parts.database() as queries:
        rule = await _found(queries, rule_id)
    response.headers["ETag"] = _etag(rule)
    return rule


@router.put(
    "/{id}", response_model=schemas.Rule, responses=schemas.errors(404, 412), openapi_extra=schemas.CHANGED_RULE
)
async def update_rule(rule_id: RuleId, request: Request, response: Response, parts: Parts, caller: Editor) -> Row:
    """Change the given fields of a rule; null clears one. The rule is checked as a whole."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    async with parts.change(TOPIC) as queries:
        rule = await _found(queries, rule_id, lock=True)
        check_version(request, rule["version"], body)
        if not body:
            raise ApiError(400, f"there is nothing to change; give at least one of {', '.join(FIELDS)}")
        values = validate_rule({**rule, **body})
        if any(rule[field] != value for field, value in values.items()):
            rule = await queries.update(RULES, rule, values, change)
    response.headers["ETag"] = _etag(rule)
    return rule


@router.delete("/{id}", response_model=schemas.Message, responses=schemas.errors(404, 412))
async def delete_rule(rule_id: RuleId, request: Request, parts: Parts, caller: Editor) -> dict[str, str]:
    """Delete a rule; the audit rows of the events that it handled stay."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        rule = await _found(queries, rule_id, lock=True)
        check_version(request, rule["version"])
        await queries.delete(RULES, rule, change)
    return {"message": f"rule {rule_id} is deleted"}


async def _found(queries: Queries, rule_id: int, *, lock: bool = False) -> Row:
    rule = await queries.one(RULES, rule_id, lock=lock)
    if rule is None:
        raise ApiError(404, f"there is no rule {rule_id}")
    return rule


def _etag(rule: Row) -> str:
    return f'"{rule["version"]}"'
