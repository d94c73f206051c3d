"""/hosts: development hosts, and the hosts whose events go to one team."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from psycopg.errors import UniqueViolation
from starlette.responses import RedirectResponse, Response

from mutt.errors import RuleError
from mutt.handling import normalise_host
from mutt.hosts import validate_host, validate_team
from services.web_ui.bodies import change_of
from services.web_ui.imports import all_lines
from services.web_ui.pages.frame import Form, PageEditor, PageViewer, done, form, parts_of, render
from services.web_ui.queries import HOSTS, TEAMS, Queries, Row, Table
from services.web_ui.replies import ApiError
from services.web_ui.rows import digest
from services.web_ui.rule_queries import TOPICS, history, last_change

SHOWN = 500
KINDS: dict[str, Table] = {"host": HOSTS, "team": TEAMS}

router = APIRouter(include_in_schema=False)


@router.get("/hosts")
async def hosts(request: Request, _user: PageViewer) -> Response:
    """List both."""
    return await _page(request)


@router.get("/teams")
async def teams(_user: PageViewer) -> Response:
    """Lead to where the teams are."""
    return RedirectResponse("/hosts#teams", 303)


@router.post("/hosts/add/{kind}")
async def add(kind: str, request: Request, user: PageEditor) -> Response:
    """Add a development host, or give a host to a team; where it has one, both are shown first."""
    table, sent = _table(kind), await form(request)
    fields: dict[str, Any] = {"hostname": sent.get("hostname").strip() or None}
    if table is TEAMS:
        fields["team_assignment"] = sent.get("team_assignment").strip() or None
    change = change_of(request, user.caller, {"reason": sent.get("reason").strip() or None})
    try:
        values = (validate_team if table is TEAMS else validate_host)(fields)
    except RuleError as error:
        return await _page(request, kind=kind, sent=sent, errors=error.details, status=400)
    name, conflict = values["hostname"], None
    try:
        async with parts_of(request).change(TOPICS[table.name]) as queries:
            row = await queries.one(table, name, lock=True)
            if row is None:
                await queries.insert(table, values, change)
            elif table is TEAMS and row["team_assignment"] != values["team_assignment"]:
                if sent.get("version") == digest(row):
                    await queries.update(table, row, values, change)
                else:
                    conflict = await _conflict(queries, table, row, values["team_assignment"], change.reason)
            else:
                raise UniqueViolation  # noqa: TRY301  (one way to say that it is there)
            change_id = await last_change(queries, table.name, name)
    except UniqueViolation:
        said = {"hostname": f"{name} is listed so already"}
        return await _page(request, kind=kind, sent=sent, errors=said, status=409)
    if conflict is not None:
        return await _page(request, kind=kind, sent=sent, conflict=conflict, status=409)
    told = (
        f"Events of {name} go to {values['team_assignment']}." if table is TEAMS else f"{name} is a development host."
    )
    return done(request, _anchor(table), told, undo=_undo(change_id))


@router.post("/hosts/remove/{kind}")
async def remove(kind: str, request: Request, user: PageEditor) -> Response:
    """Remove an entry and offer to undo that; where it is another by now, both are shown first."""
    table, sent = _table(kind), await form(request)
    name, conflict = normalise_host(sent.get("hostname")), None
    async with parts_of(request).change(TOPICS[table.name]) as queries:
        row = await queries.one(table, name, lock=True)
        if row is None:
            raise ApiError(404, f"{name} is not listed any more.")
        if sent.get("version") == digest(row):
            await queries.delete(table, row, change_of(request, user.caller, {}))
        else:
            conflict = await _conflict(queries, table, row, None, None)
        change_id = await last_change(queries, table.name, name)
    if conflict is not None:
        return await _page(request, conflict=conflict, status=409)
    told = "has no team of its own any more" if table is TEAMS else "is no longer a development host"
    return done(request, _anchor(table), f"{name} {told}.", undo=_undo(change_id))


async def _page(
    request: Request,
    *,
    kind: str = "",
    sent: Form | None = None,
    errors: dict[str, str] | None = None,
    conflict: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    wanted = request.query_params.get("q", "").strip().lower()[:255]
    async with parts_of(request).database() as queries:
        dev, owned = await all_lines(queries, HOSTS), await all_lines(queries, TEAMS)
    found_dev = [row for row in dev if wanted in row["hostname"]]
    found_owned = [row for row in owned if wanted in row["hostname"] or wanted in row["team_assignment"].lower()]
    context = {
        "dev": found_dev[:SHOWN],
        "dev_total": len(dev),
        "dev_found": len(found_dev),
        "teams": found_owned[:SHOWN],
        "teams_total": len(owned),
        "teams_found": len(found_owned),
        "q": wanted,
        "kind": kind,
        "typed": {name: sent.get(name) if sent else "" for name in ("hostname", "team_assignment", "reason")},
        "errors": errors or {},
        "conflict": conflict,
        "version_of": digest,
        "match_short": parts_of(request).settings.judging.host_match_short,
    }
    return await render(request, "hosts.html", context, status)


async def _conflict(queries: Queries, table: Table, row: Row, mine: str | None, reason: str | None) -> dict[str, Any]:
    """Return both versions of an entry: the stored one with who made it, and `mine`, None for a removal."""
    last = await history(queries, table.name, row["hostname"], 1)
    return {
        "kind": "team" if table is TEAMS else "host",
        "hostname": row["hostname"],
        "theirs": row.get("team_assignment", "a development host"),
        "mine": mine,
        "reason": reason or "",
        "by": last[0]["changed_by"] if last else "",
        "at": datetime.fromisoformat(row["updated_at"]),
        "version": digest(row),
    }


def _table(kind: str) -> Table:
    if kind not in KINDS:
        raise ApiError(404, "There are development hosts and teams.")
    return KINDS[kind]


def _anchor(table: Table) -> str:
    return "/hosts#teams" if table is TEAMS else "/hosts"


def _undo(change_id: int | None) -> tuple[str, str, dict[str, str]]:
    return "Undo", f"/changes/{change_id}/revert", {"next": "/hosts"}
