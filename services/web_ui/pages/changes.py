"""/changes: who changed what, with the way back; and the history of one rule."""

# ruff: noqa: FAST003  (the id's parameter has another name, since `id` is Python's own)
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.hosts import hostname
from mutt.paging import end_of, start_of
from mutt.record_changes import title
from services.web_ui.api.changes import entry_of
from services.web_ui.api.parameters import ChangeId, RuleId
from services.web_ui.audit_queries import AuditQueries
from services.web_ui.bodies import change_of
from services.web_ui.pages.frame import (
    PageEditor,
    PageViewer,
    User,
    done,
    form,
    local_path,
    parts_of,
    render,
)
from services.web_ui.pages.rule_forms import shown
from services.web_ui.queries import HOSTS, RULES, TEAMS, Row
from services.web_ui.replies import ApiError
from services.web_ui.reverts import NEEDED, Reverted, restore_change, revert_change
from services.web_ui.rule_queries import history
from services.web_ui.stored_config import TABLE as CONFIG
from services.web_ui.stored_config import StoredConfig

PAGE = 50
PAGES_MAX = 10_000
FILTERS = ("changed_by", "table_name", "record_id", "operation")
PLACES = {
    RULES.name: "/rules/{}/history",
    HOSTS.name: "/hosts/{}",
    TEAMS.name: "/hosts/{}",
    CONFIG: "/configuration/{}",
}

router = APIRouter(include_in_schema=False)


@router.get("/changes")
async def changes(request: Request, user: PageViewer) -> Response:
    """List changes, newest first, that the address asks for."""
    parts = parts_of(request)
    asked = {name: request.query_params.get(name, "").strip()[:255] for name in (*FILTERS, "from", "to")}
    problems: list[str] = []
    filters: dict[str, Any] = {name: asked[name] for name in FILTERS if asked[name]}
    for name, key, read in (("from", "changed_start", start_of), ("to", "changed_end", end_of)):
        if asked[name]:
            try:
                filters[key] = read(asked[name])
            except ValueError as error:
                problems.append(f"{name} {error}")
    number = request.query_params.get("page", "1")
    page = min(max(int(number[:6]), 1), PAGES_MAX) if number.isdecimal() else 1
    await StoredConfig(parts).record_external(request.state.correlation_id)
    async with parts.database() as queries:
        rows, total = await AuditQueries(queries).changes(filters, PAGE, (page - 1) * PAGE)
    context = {
        "changes": [change_view(row, user) for row in rows],
        "total": total,
        "asked": asked,
        "chips": [(name, asked[name], _address(asked, **{name: ""})) for name in asked if asked[name]],
        "problems": problems,
        "newer": _address(asked, page=page - 1) if page > 1 else None,
        "older": _address(asked, page=page + 1) if page * PAGE < total else None,
        "tables": [RULES.name, HOSTS.name, TEAMS.name, CONFIG],
    }
    return await render(request, "changes.html", context)


@router.get("/rules/{id}/history")
async def rule_history(rule_id: RuleId, request: Request, user: PageViewer) -> Response:
    """Show what a rule was, version by version."""
    async with parts_of(request).database() as queries:
        rows = await history(queries, RULES.name, str(rule_id))
        row = await queries.one(RULES, rule_id)
    if not rows and row is None:
        raise ApiError(404, f"There is no rule {rule_id}, and there never was one.")
    return await record_page(request, user, (RULES.name, str(rule_id)), rows, row)


@router.get("/hosts/{host}")
async def host_history(host: str, request: Request, user: PageViewer) -> Response:
    """Show what was changed of a host: whether it is a development host, and its team."""
    try:
        name = hostname(host)
    except ValueError as error:
        raise ApiError(404, f"There is no such host: {error}") from None
    async with parts_of(request).database() as queries:
        rows = await history(queries, HOSTS.name, name) + await history(queries, TEAMS.name, name)
    rows.sort(key=lambda row: -row["id"])
    return await record_page(request, user, (HOSTS.name, name), rows, {"hostname": name})


@router.post("/changes/{id}/revert")
async def revert(change_id: ChangeId, request: Request, user: PageEditor) -> Response:
    """Take a change back, and offer to take that back."""
    sent = await form(request)
    change = change_of(request, user.caller, {"reason": sent.get("reason").strip() or None})
    bring = restore_change if sent.get("to") == "after" else revert_change
    finished = await bring(parts_of(request), user.caller, change_id, change)
    return told(request, finished, local_path(sent.get("next") or "/changes"))


def told(request: Request, finished: Reverted, to: str) -> Response:
    """Lead on with what was done and an Undo."""
    undo = None
    if finished.change_id is not None:
        undo = ("Undo", f"/changes/{finished.change_id}/revert", {"next": to})
    if finished.state is None and finished.table == RULES.name and to == f"/rules/{finished.record_id}":
        to = "/rules"
    return done(request, to, finished.message, undo=undo)


async def record_page(
    request: Request, user: User, record: tuple[str, str], rows: list[Row], current: Mapping[str, Any] | None
) -> Response:
    """Show the history of one record, named by its table and id."""
    table, record_id = record
    entries = [change_view(row, user) for row in rows]
    context = {
        "changes": entries,
        "title": title(table, record_id) if table != HOSTS.name else f"host {record_id}",
        "record_id": record_id,
        "current": current,
        "is_rule": table == RULES.name,
        "table_name": table,
    }
    return await render(request, "record-history.html", context)


def change_view(row: Row, user: User) -> dict[str, Any]:
    """Return a change as its template takes it."""
    entry = entry_of(row)
    needed = NEEDED.get(row["table_name"])
    place = PLACES.get(row["table_name"])
    new, old = row["new_values"], row["old_values"]
    return {
        **entry,
        "at": datetime.fromisoformat(row["changed_at"]),
        "title": title(row["table_name"], row["record_id"]),
        "place": place.format(row["record_id"]) if place and row["record_id"] else None,
        "diff": [
            {"field": each["field"], "old": shown(each["field"], each["old"]), "new": shown(each["field"], each["new"])}
            for each in entry["diff"]
        ],
        "can_revert": needed is not None and user.caller.role >= needed,
        "version": (new or old or {}).get("version") if isinstance(new or old or {}, dict) else None,
        "name": (new or old or {}).get("name") if isinstance(new or old or {}, dict) else None,
    }


def _address(asked: Mapping[str, str], **changes: Any) -> str:
    query = {name: value for name, value in {**asked, **changes}.items() if value}
    return "/changes" + (f"?{urlencode(query)}" if query else "")
