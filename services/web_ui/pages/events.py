"""/events: the audited events, searched, paged, and followed as they come."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from psycopg.errors import QueryCanceled
from starlette.responses import JSONResponse, RedirectResponse, Response

from mutt.archived import reach
from mutt.handling import normalise_host
from mutt.paging import Position, decode_cursor, encode_cursor, end_of, start_of
from mutt.search_line import RANGES, Word, parse, without
from services.web_ui.archived_months import archived_months
from services.web_ui.audit_queries import AuditQueries, contains
from services.web_ui.context import Context
from services.web_ui.pages.frame import PageViewer, parts_of, render
from services.web_ui.queries import Row

DEFAULT_RANGE = "24h"
WIDER = {"15m": "1h", "1h": "6h", "6h": "24h", "24h": "30d", "7d": "30d"}
NARROWER = {"30d": "24h", "7d": "24h", "24h": "6h", "6h": "1h", "1h": "15m"}
NEWER_MOST = 100
# What no index finds is looked for in a range of time alone.
RANGED = frozenset({"rule", "handling", "text"})

router = APIRouter(include_in_schema=False)


class Asked:
    """A search as its address says it: conditions, range of time, place in the list."""

    def __init__(self, query: Mapping[str, str], now: datetime) -> None:
        self.line = query.get("search", "")[:1000].strip()
        self.words, self.problems = parse(self.line)
        self.range = query.get("range", "")
        self.start_text, self.end_text = query.get("start", "")[:40], query.get("end", "")[:40]
        self.start, self.end = self._moment("start", start_of), self._moment("end", end_of)
        self.after = self._place(query.get("cursor", ""))
        self.now = now
        if self.start or self.end:
            self.range = ""
        elif self.range not in RANGES and self.range != "all":
            self.range = DEFAULT_RANGE if any(word.kind in RANGED for word in self.words) else "all"
        if self.range == "all" and any(word.kind in RANGED for word in self.words):
            self.range = "30d"
            self.problems.append(
                "A search by rule, handling or text needs a range of time: 30 days are looked through."
            )
        if self.range in RANGES:
            self.start = now - RANGES[self.range][1]

    async def settle(self, audit: AuditQueries) -> None:
        """Find out whether a word that looks like a host is one; else it is a text."""
        words: list[Word] = []
        for word in self.words:
            if word.kind == "host" and word.maybe and not await self._is_host(audit, word.value):
                words.append(Word("text", word.value, word.given))
                if self.range == "all":
                    self.range, self.start = DEFAULT_RANGE, self.now - RANGES[DEFAULT_RANGE][1]
            else:
                words.append(word)
        texts = [word for word in words if word.kind == "text"]
        if len(texts) > 1:
            joined = Word("text", " ".join(word.value for word in texts), " ".join(word.given for word in texts))
            words = [word for word in words if word.kind != "text"] + [joined]
        self.words = words

    def filters(self) -> dict[str, Any]:
        """Return the conditions for the audit."""
        found: dict[str, Any] = {}
        for word in self.words:
            match word.kind:
                case "host":
                    found["hostname"] = list(dict.fromkeys((word.value, normalise_host(word.value))))
                case "rule":
                    found["rule_id"] = int(word.value)
                case "handling":
                    found["handling"] = word.value
                case "text":
                    found["text"] = (contains(word.value), contains(word.value))
        times = {"start": self.start, "end": self.end}
        return found | {name: moment for name, moment in times.items() if moment is not None}

    @property
    def reaches_back(self) -> bool:
        """Whether it asks for a time by name."""
        return bool(self.start_text or self.end_text)

    def archive_conditions(self) -> dict[str, str]:
        """Return the options of the archive's search that ask for the same."""
        names = {"host": "hostname", "rule": "rule-id", "handling": "handling", "text": "q"}
        found = {names[word.kind]: word.value for word in self.words if word.kind in names}
        times = {"start": self.start_text if self.start else "", "end": self.end_text if self.end else ""}
        return found | {name: text for name, text in times.items() if text}

    def value(self, kind: str) -> str | None:
        """Return a condition's value."""
        return next((word.value for word in self.words if word.kind == kind), None)

    def address(self, **changes: str | None) -> str:
        """Return this search's address with changes; the place in the list is not kept."""
        given = {
            "search": self.line,
            "range": self.range if self.range != "all" else "",
            "start": self.start_text or "",
            "end": self.end_text or "",
        }
        if "range" in changes:
            given |= {"start": "", "end": ""}
        merged = {name: value for name, value in {**given, **changes}.items() if value}
        return "/events" + (f"?{urlencode(merged)}" if merged else "")

    def chips(self) -> list[tuple[str, str, str]]:
        """Return the conditions as words: what it is, its value, and the address without it."""
        found = [(word.kind, word.value, self.address(search=without(self.line, word.given))) for word in self.words]
        if self.start_text:
            found.append(("from", self.start_text, self.address(start=None)))
        if self.end_text:
            found.append(("until", self.end_text, self.address(end=None)))
        return found

    def _moment(self, name: str, read: Any) -> datetime | None:
        text = self.start_text if name == "start" else self.end_text
        try:
            return read(text) if text else None
        except ValueError as error:
            self.problems.append(f"{name} {error}")
            return None

    def _place(self, cursor: str) -> Position | None:
        try:
            return decode_cursor(cursor) if cursor else None
        except ValueError:
            self.problems.append("The place in the list is not one of this console's: the newest are shown.")
            return None

    async def _is_host(self, audit: AuditQueries, name: str) -> bool:
        return any([await audit.has_host(each) for each in dict.fromkeys((name, normalise_host(name)))])


@router.get("/events")
async def events_page(request: Request, _user: PageViewer) -> Response:
    """Show a page of events, newest first."""
    asked = Asked(request.query_params, datetime.now(UTC))
    wanted = asked.value("id")
    if wanted is not None:
        return RedirectResponse(f"/events/{wanted}", 303)
    parts = parts_of(request)
    size = parts.settings.audit_log_page_size
    rows: list[Row] = []
    stopped, newest, left = False, None, None
    try:
        async with parts.search() as queries:
            audit = AuditQueries(queries)
            await asked.settle(audit)
            rows = await audit.rows(asked.filters(), size + 1, after=asked.after)
            host = asked.value("host")
            if not rows and host is not None:
                newest = await audit.newest(normalise_host(host))
            if asked.reaches_back or len(rows) <= size:
                left = reach(await archived_months(queries, asked.start, asked.end), asked.archive_conditions())
    except QueryCanceled:
        stopped = True
    shown = rows[:size]
    older = encode_cursor(_position(shown[-1])) if len(rows) > size else None
    context = {
        "search": asked.line,
        "asked": asked,
        "ranges": RANGES,
        "rows": shown,
        "stopped": stopped,
        "newest": newest,
        "left": left,
        "wider": WIDER.get(asked.range),
        "narrower": NARROWER.get(asked.range),
        "older": asked.address(cursor=older) if older else None,
        "newer": asked.address() if asked.after else None,
        "top": encode_cursor(_position(shown[0])) if shown else encode_cursor(Position(asked.now, _LAST)),
        "live_query": asked.address().partition("?")[2],
    }
    return await render(request, "events.html", context, 503 if stopped else 200)


@router.get("/events/newer")
async def count_newer(request: Request, _user: PageViewer) -> Response:
    """Count what came in front of a place in a search, for the pill."""
    asked = Asked(request.query_params, datetime.now(UTC))
    if asked.after is None:
        return JSONResponse({"newer": 0, "most": NEWER_MOST}, 400)
    return JSONResponse({"newer": await _newer(parts_of(request), asked, asked.after), "most": NEWER_MOST})


async def _newer(parts: Context, asked: Asked, than: Position) -> int:
    async with parts.search() as queries:
        audit = AuditQueries(queries)
        await asked.settle(audit)
        filters = {name: value for name, value in asked.filters().items() if name != "start"}
        return await audit.count_newer(filters, than, NEWER_MOST)


_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def _position(row: Row) -> Position:
    return Position(row["event_timestamp"], row["event_id"])
