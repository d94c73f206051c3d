"""/: whether events flow, and what to do where they do not."""

import gzip
import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.slo import budget_left
from mutt.verdict import judge
from services.web_ui.board import Board
from services.web_ui.pages import flow, rate_chart
from services.web_ui.pages.frame import PageViewer, parts_of, render, surroundings, zone_of
from services.web_ui.pages.spark import spark
from services.web_ui.pages.templates import ENVIRONMENT
from services.web_ui.watcher import Watcher

TAB = {"ok": "Well", "warn": "Warn", "critical": "Critical", "nodata": "Ready"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def dashboard(request: Request, _user: PageViewer, loudest: str = "rule") -> Response:
    """Show the dashboard."""
    context = await _context(request)
    return await render(request, "dashboard.html", {**context, "loudest": "host" if loudest == "host" else "rule"})


@router.get("/dashboard/live")
async def live(request: Request, _user: PageViewer) -> Response:
    """Return what changes every few seconds: the verdict, the strip and the services, as one small piece."""
    return await _piece(request, "dashboard-live.html")


@router.get("/dashboard/charts")
async def charts(request: Request, _user: PageViewer, loudest: str = "rule") -> Response:
    """Return what changes every minute."""
    return await _piece(request, "dashboard-charts.html", {"loudest": "host" if loudest == "host" else "rule"})


async def _piece(request: Request, template: str, more: dict[str, Any] | None = None) -> Response:
    context = await _context(request)
    html = ENVIRONMENT.get_template(template).render({**surroundings(request, {}), **context, **(more or {})})
    verdict = context["verdict"]
    body = msgspec.json.encode(
        {
            "html": html,
            "state": verdict.kind,
            "word": TAB[verdict.kind],
            "title": verdict.title,
            "live": context["live"],
        }
    )
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:20]}"', "Cache-Control": "no-cache", "Vary": "Cookie"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 6), "gzip"
    return Response(body, media_type="application/json", headers=headers)


async def _context(request: Request) -> dict[str, Any]:
    watcher: Watcher = request.app.state.watcher
    board = await watcher.board(patient=True)
    now, zone = datetime.now(UTC), zone_of(request)
    verdict = judge(board.facts(), now, zone)
    pictures: dict[str, Any] = {}
    if board.redis is not None and board.redis.counters.ever:
        changes = board.database.changes if board.database else []
        pictures = {
            "wide": rate_chart.hours(board.redis, now, zone, changes, wide=True),
            "narrow": rate_chart.hours(board.redis, now, zone, changes, wide=False),
            "minutes": rate_chart.minutes(board.redis, now, zone),
        }
    return {
        "board": board,
        "verdict": verdict,
        "word": TAB[verdict.kind],
        "stages": flow.stages(board, now, zone),
        "pictures": pictures,
        "sparks": {
            each.component.name: spark(budget_left(each.hours, each.target)) for each in board.levels if each.hours
        },
        "live": _live(board),
        "seen_at": board.redis.at if board.redis else now,
        "database_as_of": board.database_as_of(now),
        "loudest_as_of": board.loudest_as_of(now),
        "first_run": board.never_any and verdict.kind != "critical",
        "database_name": parts_of(request).settings.db.name,
        "redis_at": f"{parts_of(request).settings.redis.host}",
        "newest": 20_000,
    }


def _live(board: Board) -> str:
    if board.redis_refuses:
        return "Redis not readable"
    return "Redis out of reach" if board.redis_silent else "Live"
