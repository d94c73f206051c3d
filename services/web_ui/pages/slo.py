"""/slo: the service levels at full width, with where they come from."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from redis.exceptions import RedisError, ResponseError
from starlette.responses import Response

from mutt import slo
from services.web_ui.pages.frame import PageViewer, render
from services.web_ui.pages.spark import spark
from services.web_ui.service_levels import Level, ServiceLevels

MEANINGS = {
    "ingestor": "the share of events that were accepted, of all that were sent",
    "forwarder": "the share of requests that Moogsoft answered well, of all that were sent to it",
}

router = APIRouter(include_in_schema=False)


@router.get("/slo")
async def slo_page(request: Request, _user: PageViewer) -> Response:
    """Show both service levels."""
    levels: ServiceLevels = request.app.state.levels
    now = datetime.now(UTC)
    problem = ""
    try:
        hours, found = await levels.read(now)
    except ResponseError as error:
        hours, found, problem = 24, [], f"Prometheus does not answer, and Redis refuses: {error}."
    except (RedisError, OSError):
        hours, found, problem = 24, [], "Neither Prometheus nor Redis answers."
    never_any = (await request.app.state.watcher.board()).never_any
    current = now.replace(minute=0, second=0, microsecond=0)
    rows = {}
    for each in found:
        left = slo.budget_left(each.hours or [], each.target)
        rows[each.component.name] = [
            (current - timedelta(hours=back), hour, slo.availability([hour]), share)
            for back, (hour, share) in enumerate(zip(reversed(each.hours or []), reversed(left), strict=True))
        ]
    context = {
        "hours": hours,
        "levels": found,
        "rows": rows,
        "meanings": MEANINGS,
        "problem": problem,
        "never_any": never_any,
        "sentence": _sentence(found, never_any=never_any),
        "sparks": {
            each.component.name: spark(slo.budget_left(each.hours, each.target)) for each in found if each.hours
        },
    }
    return await render(request, "slo.html", context)


def _sentence(levels: list[Level], *, never_any: bool) -> str:
    if not levels:
        return "How the service levels stand is unknown."
    if never_any:
        return "No event came yet, so there is no data."
    over = [each.component.words for each in levels if each.standing.state in (slo.State.WARN, slo.State.CRITICAL)]
    if over:
        return f"{' and '.join(over)} spent more than its error budget."
    if not any(each.standing.availability is not None for each in levels):
        return "Nothing was asked yet, so there is no data."
    return "The error budgets hold."
