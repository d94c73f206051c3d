"""/: whether events flow, and what to do where they do not."""

import gzip
import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.slo import budget_left
from mutt.verdict import judge
from services.web_ui.board import Board
from services.web_ui.pages import flow, rate_chart
from services.web_ui.pages.frame import PageViewer, User, parts_of, render, surroundings, zone_of
from services.web_ui.pages.spark import spark
from services.web_ui.pages.templates import ENVIRONMENT
from services.web_ui.watcher import Watcher

PIECE_SECONDS = 1.0  # a piece is made once for all who ask within it
TAB = {"ok": "Well", "warn": "Warn", "critical": "Critical", "nodata": "Ready"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece as it is sent, and the board that it shows."""

    board: Board
    until: float
    plain: bytes
    packed: bytes
    etag: str


class Pieces:
    """The pieces of the last second: what a hundred browsers ask for is the same for each zone, role and address."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], Piece] = {}

    def find(self, key: tuple[str, ...], board: Board) -> Piece | None:
        """Return a piece that still shows this board."""
        found = self._made.get(key)
        return found if found is not None and found.board is board and time.monotonic() < found.until else None

    def keep(self, key: tuple[str, ...], board: Board, plain: bytes) -> Piece:
        """Keep a piece for those who ask next; what is old goes."""
        now = time.monotonic()
        self._made = {each: piece for each, piece in self._made.items() if now < piece.until}
        etag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
        piece = self._made[key] = Piece(board, now + PIECE_SECONDS, plain, gzip.compress(plain, 6), etag)
        return piece


@router.get("/")
async def dashboard(request: Request, _user: PageViewer, loudest: str = "rule") -> Response:
    """Show the dashboard."""
    context = _context(request, await _board(request))
    return await render(request, "dashboard.html", {**context, "loudest": "host" if loudest == "host" else "rule"})


@router.get("/dashboard/live")
async def live(request: Request, user: PageViewer) -> Response:
    """Return what changes every few seconds: the verdict, the strip and the services, as one small piece."""
    return await _piece(request, user, "dashboard-live.html")


@router.get("/dashboard/charts")
async def charts(request: Request, user: PageViewer, loudest: str = "rule") -> Response:
    """Return what changes every minute."""
    return await _piece(request, user, "dashboard-charts.html", "host" if loudest == "host" else "rule")


async def _piece(request: Request, user: User, template: str, loudest: str = "rule") -> Response:
    board = await _board(request)
    pieces: Pieces = request.app.state.pieces
    key = (template, loudest, str(zone_of(request)), user.role, request.url.hostname or "")
    piece = pieces.find(key, board) or pieces.keep(key, board, _made(request, board, template, loudest))
    headers = {"ETag": piece.etag, "Cache-Control": "no-cache", "Vary": "Cookie"}
    if request.headers.get("if-none-match") == piece.etag:
        return Response(status_code=304, headers=headers)
    body = piece.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = piece.packed, "gzip"
    return Response(body, media_type="application/json", headers=headers)


def _made(request: Request, board: Board, template: str, loudest: str) -> bytes:
    context = _context(request, board)
    html = ENVIRONMENT.get_template(template).render({**surroundings(request, {}), **context, "loudest": loudest})
    verdict = context["verdict"]
    return msgspec.json.encode(
        {
            "html": html,
            "state": verdict.kind,
            "word": TAB[verdict.kind],
            "title": verdict.title,
            "live": context["live"],
        }
    )


async def _board(request: Request) -> Board:
    watcher: Watcher = request.app.state.watcher
    return await watcher.board(patient=True)


def _context(request: Request, board: Board) -> dict[str, Any]:
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
