"""/rules/new and /rules/{id}: a rule typed, foretold, reviewed and saved."""

# ruff: noqa: FAST003  (the id's parameter has another name, since `id` is Python's own)
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from mutt.errors import RuleError
from mutt.record_changes import field_changes
from mutt.rules import FIELDS, validate_rule
from services.web_ui.api.changes import entry_of
from services.web_ui.api.parameters import RuleId
from services.web_ui.api.trials import runs_of
from services.web_ui.bodies import change_of
from services.web_ui.pages import rule_forms
from services.web_ui.pages.dry_run import find_run, run_view
from services.web_ui.pages.frame import Form, PageEditor, PageViewer, User, done, form, parts_of, render, zone_of
from services.web_ui.queries import RULES, Queries, Row
from services.web_ui.replies import ApiError
from services.web_ui.rule_origins import from_event, from_unhandled
from services.web_ui.rule_queries import history, last_change
from services.web_ui.rule_work import NEW, check, start_dry_run

VERSIONS_SHOWN = 3
HOURS = 24

router = APIRouter(include_in_schema=False)


@router.get("/rules/new")
async def new_rule(request: Request, user: PageEditor) -> Response:
    """Show an empty form, or one that would catch a pattern of unmatched messages or the likes of one event."""
    values: dict[str, Any] = dict(rule_forms.NEW)
    origin = None
    if pattern := request.query_params.get("from_unhandled", "")[:64]:
        origin = await from_unhandled(parts_of(request), pattern)
        values |= origin["fields"]
    elif event_id := request.query_params.get("event_id", "")[:64]:
        origin = await from_event(parts_of(request), event_id)
        values |= origin["fields"]
    elif copied := request.query_params.get("copy", ""):
        async with parts_of(request).database() as queries:
            row = await _found(queries, int(copied[:9]) if copied.isdecimal() else 0)
        values |= {name: row[name] for name in FIELDS}
    return await _editor(request, user, None, rule_forms.texts_of(values), origin=origin)


@router.post("/rules/new")
async def post_new(request: Request, user: PageEditor) -> Response:
    """Take the form of a new rule: run it, review it, or save it."""
    return await _take(request, user, NEW)


@router.get("/rules/{id}")
async def edit_rule(rule_id: RuleId, request: Request, user: PageViewer) -> Response:
    """Show a rule with its form, as far as the reader may change it."""
    async with parts_of(request).database() as queries:
        row = await _found(queries, rule_id)
    return await _editor(request, user, row, rule_forms.texts_of(row))


@router.post("/rules/{id}")
async def post_rule(rule_id: RuleId, request: Request, user: PageEditor) -> Response:
    """Take the form of a stored rule."""
    return await _take(request, user, rule_id)


@router.post("/rules/{id}/delete")
async def delete_rule(rule_id: RuleId, request: Request, user: PageEditor) -> Response:
    """Delete a rule and offer to undo that."""
    sent = await form(request)
    parts = parts_of(request)
    async with parts.change("rules") as queries:
        row = await _found(queries, rule_id, lock=True)
        await queries.delete(RULES, row, change_of(request, user.caller, {"reason": sent.get("reason") or None}))
        change_id = await last_change(queries, RULES.name, rule_id)
    undo = ("Undo", f"/changes/{change_id}/revert", {"next": f"/rules/{rule_id}"})
    return done(request, "/rules", f"Rule {rule_id} is deleted.", undo=undo)


async def _take(request: Request, user: User, rule_id: int) -> Response:
    sent = await form(request)
    typed = rule_forms.typed(sent)
    row: Row | None = None
    if rule_id != NEW:
        async with parts_of(request).database() as queries:
            row = await _found(queries, rule_id)
    fields = rule_forms.fields_of(sent)
    do = sent.get("do", "edit")
    if do == "edit":
        return await _editor(request, user, row, typed, sent=sent)
    try:
        values = validate_rule(fields)
    except RuleError as error:
        return await _editor(request, user, row, typed, sent=sent, errors=error.details, status=400)
    if row is not None and sent.get("version") != str(row["version"]):
        return await _editor(request, user, row, typed, sent=sent, conflict=True, status=409)
    if do == "run":
        parts, runs = parts_of(request), runs_of(request, parts_of(request))
        hours = sent.get("hours", str(HOURS))
        run = await start_dry_run(
            parts, runs, user.caller, fields, rule_id=rule_id, hours=int(hours) if hours.isdecimal() else HOURS
        )
        return RedirectResponse(f"/rules/dry-run/{run.id}", 303)
    if do == "review":
        return await _review(request, row, values, typed, sent)
    return await _save(request, user, row, values, sent)


async def _save(request: Request, user: User, row: Row | None, values: dict[str, Any], sent: Form) -> Response:
    change = change_of(request, user.caller, {"reason": sent.get("reason").strip() or None})
    conflict = False
    async with parts_of(request).change("rules") as queries:
        if row is None:
            saved = await queries.insert(RULES, values, change)
        else:
            locked = await _found(queries, row["id"], lock=True)
            conflict = sent.get("version") != str(locked["version"])
            if conflict or all(locked[name] == value for name, value in values.items()):
                saved = locked
            else:
                saved = await queries.update(RULES, locked, values, change)
        change_id = await last_change(queries, RULES.name, saved["id"])
    if conflict:
        return await _editor(request, user, saved, rule_forms.typed(sent), sent=sent, conflict=True, status=409)
    place = f"/rules/{saved['id']}"
    if row is not None and saved["version"] == row["version"]:
        return done(request, place, f"Rule {saved['id']} is as it was: nothing in it was changed.")
    told = "is saved" if row is None else f"is saved as version {saved['version']}"
    undo = ("Undo", f"/changes/{change_id}/revert", {"next": "/rules" if row is None else place})
    return done(request, place, f"Rule {saved['id']} {told}. It holds at once.", undo=undo)


async def _review(
    request: Request, row: Row | None, values: dict[str, Any], typed: Mapping[str, str], sent: Form
) -> Response:
    before = None if row is None else {name: row[name] for name in FIELDS}
    changes = [
        (each.field, rule_forms.shown(each.field, each.old), rule_forms.shown(each.field, each.new))
        for each in field_changes(before, values)
    ]
    run = find_run(request, sent.get("run"))
    same = run is not None and rule_forms.fields_of_rule(run.rule) == values
    context = {
        "row": row,
        "typed": typed,
        "changes": changes,
        "reason": sent.get("reason"),
        "base": sent.get("version"),
        "run": await run_view(run, zone_of(request)) if run is not None and same else None,
        "action": f"/rules/{row['id']}" if row else "/rules/new",
    }
    return await render(request, "rule-review.html", context)


async def _editor(
    request: Request,
    user: User,
    row: Row | None,
    typed: Mapping[str, str],
    *,
    sent: Form | None = None,
    errors: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
    conflict: bool = False,
    status: int = 200,
) -> Response:
    fields = rule_forms.fields_of(Form(list(typed.items())))
    rule_id = row["id"] if row else NEW
    async with parts_of(request).database() as queries:
        checked = await check(queries, parts_of(request), fields, rule_id)
        versions = await history(queries, RULES.name, str(rule_id), VERSIONS_SHOWN) if row else []
    run = find_run(request, sent.get("run") if sent else "") if user.can("editor") else None
    compared = []
    if conflict and row is not None:
        texts = rule_forms.texts_of(row)
        compared = [(name, texts[name], typed[name]) for name in FIELDS if texts[name] != typed[name]]
    context = {
        "row": row,
        "rule_id": rule_id,
        "typed": typed,
        "was": rule_forms.changed(typed, row),
        "errors": errors or {},
        "hints": checked["hints"] if errors else {},
        "checked": checked,
        "versions": [{**entry_of(each), "version": (each["new_values"] or {}).get("version")} for each in versions],
        "reason": sent.get("reason") if sent else "",
        "run": await run_view(run, zone_of(request)) if run else None,
        "options": rule_forms.OPTIONS,
        "origin": origin,
        "conflict": conflict,
        "compared": compared,
        "hours": sent.get("hours", str(HOURS)) if sent else str(HOURS),
        "action": f"/rules/{rule_id}" if row else "/rules/new",
    }
    return await render(request, "rule-editor.html", context, status)


async def _found(queries: Queries, rule_id: int, *, lock: bool = False) -> Row:
    row = await queries.one(RULES, rule_id, lock=lock)
    if row is None:
        raise ApiError(404, f"There is no rule {rule_id}. Its history, if it had one, is at /rules/{rule_id}/history.")
    return row
