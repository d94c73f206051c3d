"""/api/v2/rules/validate, /dry-run and /explain: what a rule would do, before it does it."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from services.web_ui import schemas, trial_schemas
from services.web_ui.api.parameters import ID_MAX
from services.web_ui.bodies import read_bytes, read_object, refuse_unknown
from services.web_ui.context import Context, Editor, Parts, Viewer
from services.web_ui.dry_runs import DryRuns
from services.web_ui.replies import ApiError
from services.web_ui.rule_work import NEW, check, explain_event, start_dry_run

RunId = Annotated[str, Path(description="The dry run's id, which its start gave")]

router = APIRouter(prefix="/api/v2/rules", tags=["rules"])


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
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
    refuse_unknown(body, "rule", "id", "hours", "replaces")
    rule, hours, replaces = body.get("rule"), body.get("hours", 24), body.get("replaces")
    if not isinstance(rule, dict):
        raise ApiError(400, "the rule is missing", details={"rule": "an object with the rule's fields is needed"})
    if not isinstance(hours, int) or isinstance(hours, bool):
        raise ApiError(400, "hours is not valid", details={"hours": "a whole number is needed"})
    if not isinstance(replaces, str | None):
        raise ApiError(400, "replaces is not valid", details={"replaces": "the id of a dry run, or absent"})
    rule = {name: value for name, value in rule.items() if name not in {"id", "version", "reason"}}
    runs = runs_of(request, parts)
    run = await start_dry_run(parts, runs, caller, rule, rule_id=_rule_id(body.get("id")), hours=hours)
    if replaces is not None:
        await runs.cancel(replaces)
    response.headers["Location"] = f"/api/v2/rules/dry-run/{run.id}"
    return await run.told()


@router.get("/dry-run/{run}", response_model=trial_schemas.DryRunReport, responses=schemas.errors(404, away=False))
async def poll(run: RunId, request: Request, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """Return what a dry run has found so far; it is kept for half an hour, in the process that runs it."""
    found = runs_of(request, parts).find(run)
    if found is None:
        raise ApiError(404, f"there is no dry run {run}; it may have been too long ago, or run by another instance")
    return await found.told()


@router.delete("/dry-run/{run}", response_model=trial_schemas.DryRunReport, responses=schemas.errors(404, away=False))
async def cancel(run: RunId, request: Request, parts: Parts, _caller: Editor) -> dict[str, Any]:
    """Stop a dry run and return what it has found."""
    found = await runs_of(request, parts).cancel(run)
    if found is None:
        raise ApiError(404, f"there is no dry run {run}")
    return await found.told()


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
    if asked.event_id is not None and pasted:
        raise ApiError(400, "give an event_id or an event, not both", details={"event": "or event_id, one of them"})
    return await explain_event(parts, event_id=asked.event_id, pasted=pasted)


def _rule_id(value: object) -> int:
    if value is None:
        return NEW
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= ID_MAX:
        raise ApiError(400, "id is not a rule's id", details={"id": f"a whole number from 1 to {ID_MAX}, or absent"})
    return value
