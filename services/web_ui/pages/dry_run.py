"""Dry runs as pages: the report alone, which the editor fetches, and a page of its own without JavaScript."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from mutt.caught import NO_RULE
from mutt.explaining import matched_span
from mutt.page_tally import FOLDED_MAX
from mutt.rules import Rule
from services.web_ui.api.trials import runs_of
from services.web_ui.dry_runs import Run
from services.web_ui.pages.frame import PageEditor, form, parts_of, render, show, zone_of
from services.web_ui.pages.page_charts import pages_chart
from services.web_ui.pages.rule_forms import fields_of_rule, texts_of
from services.web_ui.replies import ApiError
from services.web_ui.rule_queries import caught_events

SAMPLES_SHOWN = 8
PAGE = 100
NEAR_SHOWN = 5
CLIP = 400  # characters of a message

router = APIRouter(include_in_schema=False)


@router.get("/rules/dry-run/{run}")
async def page(run: str, request: Request, _user: PageEditor) -> Response:
    """Show a run; with `part=report` only what changes, for the editor to put in place."""
    found = _run(request, run)
    context: dict[str, Any] = {"run": await run_view(found, zone_of(request))}
    if request.query_params.get("part") == "report":
        return show(request, "dry-run-part.html", context, {})
    fields = texts_of(fields_of_rule(found.rule))
    version = found.rule.version - 1
    return await render(
        request, "dry-run.html", {**context, "rule_id": found.rule.id, "fields": fields, "base": version}
    )


@router.get("/rules/dry-run/{run}/caught")
async def caught(run: str, request: Request, _user: PageEditor) -> Response:
    """List the events that the rule would catch, of all or of those that are now another rule's."""
    found, query = _run(request, run), request.query_params
    asked = query.get("from", "")
    origin = int(asked[:10]) if asked.isdecimal() else NO_RULE if asked == "none" else None
    total = found.caught.count(origin)
    start = min(int(query["start"][:6]) if query.get("start", "").isdecimal() else 0, total)
    async with parts_of(request).database() as queries:
        rows = await caught_events(queries, found.caught.page(start, PAGE, origin), found.since, found.until)
    report = await found.told()
    context = {
        "run": report,
        "rule_id": found.rule.id,
        "rows": [{**row, **_cut(row["message"], found.rule)} for row in rows],
        "origin": asked if origin is not None else "",
        "start": start,
        "total": total,
        "page_size": PAGE,
    }
    return await render(request, "dry-run-caught.html", context)


@router.post("/rules/dry-run/{run}/stop")
async def stop(run: str, request: Request, _user: PageEditor) -> Response:
    """Stop a run and show what it has."""
    await form(request)
    await runs_of(request, parts_of(request)).cancel(run)
    return RedirectResponse(f"/rules/dry-run/{run}", 303)


def find_run(request: Request, run_id: str) -> Run | None:
    """Return a run that this process keeps."""
    return runs_of(request, parts_of(request)).find(run_id) if run_id else None


async def run_view(run: Run, zone: tzinfo) -> dict[str, Any]:
    """Return a report as its template takes it: times as times, messages cut where the match is."""
    report = await run.told()
    most = max((move["events"] for move in report["moves"]), default=1)
    near = report["near_misses"]
    return {
        **report,
        "read_back_to": _time(report["read_back_to"]),
        "since": _time(report["since"]),
        "until": _time(report["until"]),
        "rule_id": run.rule.id,
        "chart": pages_chart(report, zone),
        "most": most,
        "samples_shown": [_sample(each, run.rule) for each in report["samples"][:SAMPLES_SHOWN]],
        "near_shown": [_sample(each, None) for each in near["samples"][:NEAR_SHOWN]],
        "listed": run.caught.count(),
        "folded_max": FOLDED_MAX,
    }


def _sample(sample: Mapping[str, Any], rule: Rule | None) -> dict[str, Any]:
    return {**sample, "at": _time(sample["at"]), **_cut(sample["message"], rule)}


def _cut(message: str, rule: Rule | None) -> dict[str, Any]:
    start, end = (rule and matched_span(rule, message)) or (0, 0)
    from_ = max(0, start - 60) if len(message) > CLIP else 0
    return {
        "cut": from_ > 0,
        "before": message[from_:start],
        "match": message[start:end],
        "after": message[end : max(end, from_ + CLIP)],
    }


def _run(request: Request, run_id: str) -> Run:
    found = find_run(request, run_id)
    if found is None:
        raise ApiError(404, "This dry run is not kept any more, or another instance runs it. Run it again.")
    return found


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
