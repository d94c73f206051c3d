"""/rules: the list of rules, in the order in which they are tried."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from mutt.handling import Handling
from services.web_ui.pages.frame import PageViewer, parts_of, render
from services.web_ui.queries import Row
from services.web_ui.rule_queries import all_rows

PAGE = 200
STATES = ("active", "off")

router = APIRouter(include_in_schema=False)


@router.get("/rules")
async def list_rules(request: Request, _user: PageViewer) -> Response:
    """Show the rules that the address asks for."""
    async with parts_of(request).database() as queries:
        rows = await all_rows(queries)
    query = request.query_params
    text, handling, state = query.get("q", "").strip()[:200], query.get("handling", ""), query.get("state", "")
    found = [row for row in rows if _is_asked(row, text.casefold(), handling, state)]
    start = int(query.get("start", "0")) if query.get("start", "0").isdecimal() else 0
    context: dict[str, Any] = {
        "rules": found[start : start + PAGE],
        "found": len(found),
        "start": start,
        "page_size": PAGE,
        "total": len(rows),
        "off": sum(not row["is_active"] for row in rows),
        "q": text,
        "handling": handling,
        "state": state,
        "handlings": [str(each) for each in Handling if each not in {Handling.UNHANDLED, Handling.SUPPRESS}],
    }
    return await render(request, "rules.html", context)


def _is_asked(row: Row, text: str, handling: str, state: str) -> bool:
    if handling and row["prod_handling"] != handling:
        return False
    if state in STATES and row["is_active"] != (state == "active"):
        return False
    if not text:
        return True
    if text == str(row["id"]):
        return True
    shown = (row["name"], row["description"], row["match_string"], row["trap_oid"], row["team_assignment"])
    return any(text in (value or "").casefold() for value in shown)
