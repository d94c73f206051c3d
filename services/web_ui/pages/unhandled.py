"""/unhandled: what no rule matches, and the way from a pattern to a rule."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.patterns import pattern_of, stretches
from mutt.unmatched import Part, Unmatched, longest_literal, parts
from services.web_ui.context import Context
from services.web_ui.pages import hour_bars
from services.web_ui.pages.frame import PageViewer, parts_of, render, zone_of
from services.web_ui.rule_origins import fields_from
from services.web_ui.unmatched_patterns import hosts_of, hours_of, listed

SIZE = 100
SAMPLE_SHOWN = 2000  # characters
VIEWS = {"": "All", "near": "Near", "alert_sent": "Alert sent"}

router = APIRouter(include_in_schema=False)


@router.get("/unhandled")
async def unhandled_page(request: Request, _user: PageViewer) -> Response:
    """Show the patterns nearest to the threshold first."""
    query = request.query_params
    context_parts = parts_of(request)
    await context_parts.need_redis()
    patterns, overflow = await listed(context_parts)
    view = query.get("view", "")
    view = view if view in VIEWS else ""
    text = query.get("q", "")[:200].strip()
    wanted = [each for each in patterns if (not view or each.state == view) and _holds(each, text)]
    page = max(1, int(number) if (number := query.get("page", "1")).isdecimal() and len(number) < 7 else 1)  # noqa: PLR2004
    start = (page - 1) * SIZE

    def address(**changes: str) -> str:
        given = {"view": view, "q": text, "open": query.get("open", ""), **changes}
        filled = {name: value for name, value in given.items() if value}
        return "/unhandled" + (f"?{urlencode(filled)}" if filled else "")

    shown = wanted[start : start + SIZE]
    opened = next((each for each in shown if each.pattern == query.get("open")), None)
    now, zone = datetime.now(UTC), zone_of(request)
    hours = await hours_of(context_parts, shown, now)
    context: dict[str, Any] = {
        "hosts": None if opened is None else await hosts_of(context_parts, opened),
        "patterns": shown,
        "rule": _rule_of(context_parts, opened),
        "hours": hours,
        "bars": hour_bars.bars,
        "bars_name": lambda counts: hour_bars.name_of(counts, zone, now),
        "by_hour": lambda counts: hour_bars.table(counts, now),
        "total": len(patterns),
        "wanted": len(wanted),
        "views": [(name, words, _count(patterns, name), address(view=name)) for name, words in VIEWS.items()],
        "view": view,
        "q": text,
        "open": query.get("open", ""),
        "counting": context_parts.settings.counting,
        "judging": context_parts.settings.judging,
        "overflow": overflow,
        "parts_of": parts,
        "search_of": _search_of,
        "sample_parts": _sample_parts,
        "pace": lambda item: hour_bars.pace(item, hours.get(item.pattern), zone, now),
        "address": address,
        "newer": address(page=str(page - 1)) if page > 1 else None,
        "older": address(page=str(page + 1)) if len(wanted) > start + SIZE else None,
    }
    return await render(request, "unhandled.html", context)


def _rule_of(parts_: Context, item: Unmatched | None) -> dict[str, Any] | None:
    if item is None or item.template is None or item.sample is None:
        return None
    return fields_from(parts_, item.template, item.sample)


def _holds(item: Unmatched, text: str) -> bool:
    wanted = text.casefold()
    return wanted in (item.template or "").casefold() or wanted in (item.sample or "").casefold()


def _count(patterns: list[Unmatched], view: str) -> int:
    return sum(not view or each.state == view for each in patterns)


def _search_of(item: Unmatched) -> str | None:
    """Return the address of the events that look like the pattern's; None where it has no text of its own."""
    literal = longest_literal(item.template or "")
    if literal is None or '"' in literal:
        return None
    return "/events?" + urlencode({"search": f'handling:unhandled text:"{literal}"', "range": "24h"})


def _sample_parts(item: Unmatched) -> list[Part] | None:
    """Return the sample in stretches; None where it is another pattern's, as after an update of how these are made."""
    if item.sample is None or pattern_of(item.sample).template != item.template:
        return None
    return [Part(*each) for each in stretches(item.sample[:SAMPLE_SHOWN])]
