"""/api/v2/rules: the rules by which events are handled."""

# ruff: noqa: FAST003  (the id's parameter has another name, since `id` is Python's own)
from typing import Any

from fastapi import APIRouter, Request, Response

from mutt.rules import FIELDS, validate_rule
from services.web_ui import request_schemas, schemas
from services.web_ui.api.parameters import IfMatch, Limit, Offset, Reason, RuleId
from services.web_ui.bodies import change_of, read_object
from services.web_ui.context import Editor, Parts, Viewer
from services.web_ui.queries import RULES, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rows import check_version, etag, existing, listed

TOPIC = "rules"

router = APIRouter(prefix="/api/v2/rules", tags=["rules"])


@router.get("", response_model=schemas.Rules, responses=schemas.errors(400))
async def list_rules(parts: Parts, _caller: Viewer, limit: Limit = 1000, offset: Offset = 0) -> dict[str, Any]:
    """List the rules in the order in which they are tried: highest priority first, then lowest id."""
    return await listed(parts, RULES, "rules", limit, offset)


@router.post(
    "", status_code=201, response_model=schemas.Rule, responses=schemas.errors(), openapi_extra=request_schemas.NEW_RULE
)
async def create_rule(request: Request, response: Response, parts: Parts, caller: Editor) -> Row:
    """Create a rule; it takes effect at once."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    values = validate_rule(body)
    async with parts.change(TOPIC) as queries:
        rule = await queries.insert(RULES, values, change)
    response.headers["ETag"] = etag(rule)
    response.headers["Location"] = f"/api/v2/rules/{rule['id']}"
    return rule


@router.get("/{id}", response_model=schemas.Rule, responses=schemas.errors(400, 404))
async def get_rule(rule_id: RuleId, response: Response, parts: Parts, _caller: Viewer) -> Row:
    """Return one rule; its ETag serves as If-Match of a change."""
    async with parts.database() as queries:
        rule = await _found(queries, rule_id)
    response.headers["ETag"] = etag(rule)
    return rule


@router.put(
    "/{id}",
    response_model=schemas.Rule,
    responses=schemas.errors(404) | schemas.conflict(schemas.Rule),
    openapi_extra=request_schemas.CHANGED_RULE,
)
async def update_rule(  # noqa: PLR0917  (what a request brings)
    rule_id: RuleId, request: Request, response: Response, parts: Parts, caller: Editor, if_match: IfMatch = None
) -> Row:
    """Change the given fields of a rule; null clears one. The rule is checked as a whole."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    async with parts.change(TOPIC) as queries:
        rule = await _found(queries, rule_id, lock=True)
        check_version(rule, if_match, body)
        if not body:
            raise ApiError(400, f"there is nothing to change; give at least one of {', '.join(FIELDS)}")
        values = validate_rule({**rule, **body})
        if any(rule[field] != value for field, value in values.items()):
            rule = await queries.update(RULES, rule, values, change)
    response.headers["ETag"] = etag(rule)
    return rule


@router.delete(
    "/{id}", response_model=schemas.Message, responses=schemas.errors(400, 404) | schemas.conflict(schemas.Rule)
)
async def delete_rule(
    rule_id: RuleId, request: Request, parts: Parts, caller: Editor, if_match: IfMatch = None, _reason: Reason = None
) -> dict[str, str]:
    """Delete a rule; the audit rows of the events that it handled stay."""
    change = change_of(request, caller)
    async with parts.change(TOPIC) as queries:
        rule = await _found(queries, rule_id, lock=True)
        check_version(rule, if_match)
        await queries.delete(RULES, rule, change)
    return {"message": f"rule {rule_id} is deleted"}


async def _found(queries: Queries, rule_id: int, *, lock: bool = False) -> Row:
    return await existing(queries, RULES, rule_id, f"there is no rule {rule_id}", lock=lock)
