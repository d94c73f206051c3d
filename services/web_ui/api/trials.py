"""/api/v2/rules/validate, /dry-run and /explain: what a rule would do, before it does it."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from services.web_ui import schemas, trial_schemas
from services.web_ui.bodies import read_bytes, read_object
from services.web_ui.context import Context, Editor, Parts, Viewer
from services.web_ui.dry_runs import DryRuns
from services.web_ui.replies import ApiError
from services.web_ui.rule_work import NEW, check, explain_event, start_dry_run

ID_MAX = 2**31 - 1

router = APIRouter(prefix="/api/v2/rules", tags=["rules"])


class _Asked(msgspec.Struct):
    event_id: str | None = None
    event: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


def runs_of(request: Request, parts: Context) -> DryRuns:
    """Return the dry runs of this process."""
    state = request.app.state
    if not hasattr(state, "dry_runs"):
        state.dry_runs = DryRuns(parts.pool)
    runs: DryRuns = state.dry_runs
    return runs


@router.post(
    "/validate",
    response_model=trial_schemas.Checked,
    responses=schemas.errors(),
    openapi_extra=trial_schemas.VALIDATE,
)
async def validate(request: Request, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """Check a rule as a save would, and tell its place among the others; nothing is changed."""
    body = await read_object(request)
    body.pop("reason", None)
    rule_id = _rule_id(body.pop("id", None))
    async with parts.database() as queries:
        return await check(queries, parts, body, rule_id)


@router.post(
    "/dry-run",
    status_code=202,
    response_model=trial_schemas.DryRunReport,
    responses=schemas.errors(404),
    openapi_extra=trial_schemas.DRY_RUN,
)
async def start(request: Request, response: Response, parts: Parts, caller: Editor) -> dict[str, Any]:
    """Start a dry run over the audited events of the last hours, newest first; GET tells how far it is."""
    body = await read_object(request)
    rule, hours = body.get("rule"), body.get("hours", 24)
    if not isinstance(rule, dict):
        raise ApiError(400, "the rule is missing", details={"rule": "an object with the rule's fields is needed"})
    if not isinstance(hours, int) or isinstance(hours, bool):
        raise ApiError(400, "hours is not valid", details={"hours": "a whole number is needed"})
    rule = {name: value for name, value in rule.items() if name not in {"id", "version", "reason"}}
    runs = runs_of(request, parts)
    run = await start_dry_run(parts, runs, caller, rule, rule_id=_rule_id(body.get("id")), hours=hours)
    if isinstance(body.get("replaces"), str):
        await runs.cancel(body["replaces"])
    response.headers["Location"] = f"/api/v2/rules/dry-run/{run.id}"
    return run.report()


@router.get("/dry-run/{run}", response_model=trial_schemas.DryRunReport, responses=schemas.errors(404))
async def poll(run: str, request: Request, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """Return what a dry run has found so far; it is kept for half an hour, in the process that runs it."""
    found = runs_of(request, parts).find(run)
    if found is None:
        raise ApiError(404, f"there is no dry run {run}; it may have been too long ago, or run by another instance")
    return found.report()


@router.delete("/dry-run/{run}", response_model=trial_schemas.DryRunReport, responses=schemas.errors(404))
async def cancel(run: str, request: Request, parts: Parts, _caller: Editor) -> dict[str, Any]:
    """Stop a dry run and return what it has found."""
    found = await runs_of(request, parts).cancel(run)
    if found is None:
        raise ApiError(404, f"there is no dry run {run}")
    return found.report()


@router.post(
    "/explain",
    response_model=trial_schemas.Explanation,
    responses=schemas.errors(404),
    openapi_extra=trial_schemas.EXPLAIN,
)
async def explain(request: Request, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """Tell what every rule makes of an event, and what Moogsoft would get; nothing is sent."""
    body = await read_bytes(request)
    try:
        asked = msgspec.json.decode(body, type=_Asked)
        pasted = bytes(asked.event)
        if pasted.startswith(b'"'):
            pasted = msgspec.json.decode(pasted, type=str).encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not an object with an event_id or an event: {error}") from None
    return await explain_event(parts, event_id=asked.event_id, pasted=pasted)


def _rule_id(value: object) -> int:
    if value is None:
        return NEW
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= ID_MAX:
        raise ApiError(400, "id is not a rule's id", details={"id": f"a whole number from 1 to {ID_MAX}, or absent"})
    return value
