"""What was changed of one record, and the way back."""

# ruff: noqa: FAST003  (the id's parameter has another name, since `id` is Python's own)
from typing import Any

from fastapi import APIRouter, Request

from mutt.dynamic_keys import ALL
from mutt.record_changes import field_changes, summary
from services.web_ui import schemas, trial_schemas
from services.web_ui.api.hosts import path_host
from services.web_ui.api.parameters import ChangeId, ConfigKey, Host, RuleId
from services.web_ui.bodies import change_of, read_object, refuse_unknown
from services.web_ui.context import Context, Editor, Parts, Viewer
from services.web_ui.queries import HOSTS, RULES, TEAMS, Row
from services.web_ui.replies import ApiError
from services.web_ui.reverts import Reverted, restore_change, revert_change, revert_rule
from services.web_ui.rule_queries import history
from services.web_ui.stored_config import TABLE as CONFIG

router = APIRouter(prefix="/api/v2", tags=["history"])


@router.get("/rules/{id}/history", response_model=trial_schemas.History, responses=schemas.errors(400, 404))
async def rule_history(rule_id: RuleId, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """List the changes of a rule, deleted ones included, newest first."""
    return await _history(parts, RULES.name, str(rule_id), f"there is no rule {rule_id}, and never was one")


@router.get("/dev-hosts/{hostname}/history", response_model=trial_schemas.History, responses=schemas.errors(404))
async def host_history(hostname: Host, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """List when a host became a development host, and when it ceased to be one."""
    name = path_host(hostname)
    return await _history(parts, HOSTS.name, name, f"{name} was never a development host")


@router.get("/teams/{hostname}/history", response_model=trial_schemas.History, responses=schemas.errors(404))
async def team_history(hostname: Host, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """List the changes of a host's team."""
    name = path_host(hostname)
    return await _history(parts, TEAMS.name, name, f"{name} never had a team of its own")


@router.get("/config/{key}/history", response_model=trial_schemas.History, responses=schemas.errors(404))
async def config_history(key: ConfigKey, parts: Parts, _caller: Viewer) -> dict[str, Any]:
    """List the changes of a dynamic key."""
    if key not in ALL:
        raise ApiError(404, f"there is no dynamic key {key}; there are {', '.join(ALL)}")
    return await _history(parts, CONFIG, key, None)


@router.post(
    "/rules/{id}/revert",
    response_model=trial_schemas.Reverted,
    responses=schemas.errors(404, 409),
    openapi_extra=trial_schemas.REVERT_RULE,
)
async def revert_to_version(rule_id: RuleId, request: Request, parts: Parts, caller: Editor) -> dict[str, Any]:
    """Bring a rule back to one of its versions, a deleted one too; that is a new, recorded change."""
    body = await read_object(request)
    change = change_of(request, caller, body)
    refuse_unknown(body, "version")
    version = body.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ApiError(400, "the version is missing", details={"version": "a whole number is needed"})
    return _shown(await revert_rule(parts, caller, rule_id, version, change))


@router.post(
    "/config-audit/{id}/revert",
    response_model=trial_schemas.Reverted,
    responses=schemas.errors(404, 409),
    openapi_extra=trial_schemas.REVERT_CHANGE,
)
async def revert_one_change(change_id: ChangeId, request: Request, parts: Parts, caller: Editor) -> dict[str, Any]:
    """Bring what a change touched back to what it was before it, or to what it made of it.

    Rules, hosts and teams need an editor, configuration keys an admin.
    """
    body = await read_object(request) if _has_body(request) else {}
    change = change_of(request, caller, body)
    refuse_unknown(body, "to")
    to = body.get("to", "before")
    if to not in ("before", "after"):
        raise ApiError(400, "to is not valid", details={"to": "before or after"})
    bring = revert_change if to == "before" else restore_change
    return _shown(await bring(parts, caller, change_id, change))


def entry_of(row: Row) -> dict[str, Any]:
    """Return a change with what differs in it."""
    diff = field_changes(row["old_values"], row["new_values"])
    return {**row, "summary": summary(diff, row["operation"]), "diff": [each._asdict() for each in diff]}


async def _history(parts: Context, table: str, record_id: str, absent: str | None) -> dict[str, Any]:
    async with parts.database() as queries:
        rows = await history(queries, table, record_id)
    if not rows and absent is not None:
        raise ApiError(404, absent)
    return {"changes": [entry_of(row) for row in rows]}


def _shown(done: Reverted) -> dict[str, Any]:
    return {"message": done.message, "change_id": done.change_id, "state": done.state}


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
