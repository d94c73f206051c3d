"""/rules/import and /hosts/import: a file compared first, then taken whole; and the files to take away."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.errors import RuleError
from services.web_ui.api.files import attachment, export_of
from services.web_ui.bodies import change_of
from services.web_ui.imports import (
    HOST_KIND,
    TEAM_KIND,
    Plan,
    apply_lines,
    apply_rules,
    exported_rules,
    preview_lines,
    preview_rules,
    shown_plan,
)
from services.web_ui.pages.frame import Form, PageEditor, PageViewer, User, done, form, parts_of, render
from services.web_ui.replies import ApiError

Lines = Literal["hosts", "teams"]
KINDS = {"hosts": HOST_KIND, "teams": TEAM_KIND}
WORDS = {
    "rules": ("Import rules", "A YAML document, as the export writes it.", "/rules/import", "/rules"),
    "hosts": ("Import development hosts", "CSV, a hostname a line, or JSON.", "/hosts/import/hosts", "/hosts"),
    "teams": ("Import teams", "CSV, hostname and team a line, or JSON.", "/hosts/import/teams", "/hosts#teams"),
}

router = APIRouter(include_in_schema=False)


@router.get("/rules/import")
async def rules_form(request: Request, _user: PageEditor) -> Response:
    """Ask for a file of rules."""
    return await _page(request, "rules")


@router.post("/rules/import")
async def take_rules(request: Request, user: PageEditor) -> Response:
    """Compare it, or do what was shown."""
    return await _take(request, user, "rules")


@router.get("/rules/export.yaml")
async def export_rules(request: Request, _user: PageViewer) -> Response:
    """Return all rules as a file."""
    return attachment(await exported_rules(parts_of(request)), "application/yaml", "mutt-rules.yaml")


@router.get("/hosts/import/{kind}")
async def lines_form(kind: Lines, request: Request, _user: PageEditor) -> Response:
    """Ask for a file of hosts or teams."""
    return await _page(request, kind)


@router.post("/hosts/import/{kind}")
async def take_lines(kind: Lines, request: Request, user: PageEditor) -> Response:
    """Likewise."""
    return await _take(request, user, kind)


@router.get("/hosts/export/{kind}.{suffix}")
async def export_lines(kind: Lines, suffix: Literal["csv", "json"], request: Request, _user: PageViewer) -> Response:
    """Return all hosts or teams as a file."""
    return await export_of(parts_of(request), KINDS[kind], suffix)


async def _take(request: Request, user: User, kind: str) -> Response:
    sent = await form(request)
    document = next((text for text in sent.all("document") if text.strip()), "")
    replace = sent.get("mode") == "replace"
    try:
        if sent.get("do") != "apply":
            return await _page(
                request, kind, sent, document, plan=await _plan(request, kind, document, replace=replace)
            )
        change = change_of(request, user.caller, {"reason": sent.get("reason").strip() or None})
        parts, seal = parts_of(request), sent.get("seal")
        if kind == "rules":
            plan = await apply_rules(parts, document, change, seal, replace=replace)
        else:
            plan = await apply_lines(parts, KINDS[kind], document, change, seal, replace=replace)
    except RuleError as error:
        return await _page(request, kind, sent, document, faults=error.details, status=400)
    except ApiError as error:
        return await _page(request, kind, sent, document, faults={"file": error.message}, status=error.status)
    told = f"Imported: {len(plan.create)} added, {len(plan.update)} changed, {len(plan.delete)} deleted."
    return done(request, WORDS[kind][3], told, link=("See the changes", "/changes"))


async def _plan(request: Request, kind: str, document: str, *, replace: bool) -> Plan:
    if kind == "rules":
        return await preview_rules(parts_of(request), document, replace=replace)
    return await preview_lines(parts_of(request), KINDS[kind], document, replace=replace)


async def _page(
    request: Request,
    kind: str,
    sent: Form | None = None,
    document: str = "",
    *,
    plan: Plan | None = None,
    faults: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    title, hint, action, back = WORDS[kind]
    context: dict[str, Any] = {
        "kind": kind,
        "title": title,
        "hint": hint,
        "action": action,
        "back": back,
        "document": document,
        "mode": sent.get("mode", "merge") if sent else "merge",
        "reason": sent.get("reason") if sent else "",
        "plan": shown_plan(plan, applied=False) if plan else None,
        "total": plan.total if plan else 0,
        "faults": faults or {},
    }
    return await render(request, "import.html", context, status)
