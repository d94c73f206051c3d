"""/configuration: the dynamic keys, what takes effect and why, and how each came to be so."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from psycopg import sql
from starlette.responses import RedirectResponse, Response

from mutt import words
from mutt.dynamic_keys import ALL, DynamicKey
from mutt.fallbacks import fallback
from services.web_ui.bodies import change_of
from services.web_ui.pages.changes import change_view
from services.web_ui.pages.frame import Form, PageAdmin, PageViewer, User, done, form, parts_of, render
from services.web_ui.replies import ApiError
from services.web_ui.rows import digest
from services.web_ui.rule_queries import history, last_change
from services.web_ui.stored_config import EXTERNAL, TABLE, StoredConfig

_LAST = sql.SQL(
    "SELECT DISTINCT ON (record_id) record_id, changed_at, changed_by FROM config_audit_log"
    " WHERE table_name = %s ORDER BY record_id, id DESC"
)

router = APIRouter(include_in_schema=False)


class _ChangedFirstError(Exception):
    """Somebody changed the key first."""


@router.get("/configuration")
async def configuration(request: Request, _user: PageViewer) -> Response:
    """List every key."""
    parts = parts_of(request)
    await parts.need_redis()
    stored = StoredConfig(parts)
    await stored.record_external(request.state.correlation_id)
    async with parts.database() as queries:
        last = {row["record_id"]: row for row in await queries.fetch("select", _LAST, (TABLE,))}
    settings = await stored.show(*ALL.values())
    context = {
        "settings": [_view(each, parts.environ, last.get(each["key"])) for each in settings],
        "last": last,
        "enabled": parts.settings.dynamic_config_enabled,
    }
    return await render(request, "configuration.html", context)


@router.get("/config")
async def short(_user: PageViewer) -> Response:
    """Lead to the page."""
    return RedirectResponse("/configuration", 303)


@router.get("/configuration/{key}")
async def one_key(key: str, request: Request, user: PageViewer) -> Response:
    """Show one key with its history, and a form for who may change it."""
    return await _page(request, user, _known(key))


@router.post("/configuration/{key}")
async def change_key(key: str, request: Request, user: PageAdmin) -> Response:
    """Set a key, or give it up."""
    known, sent = _known(key), await form(request)
    change = change_of(request, user.caller, {"reason": sent.get("reason").strip() or None})
    text: str | None = None
    if sent.get("do") != "unset":
        try:
            text = str(known.parse(sent.get("value")))
        except ValueError:
            said = f"{sent.get('value')!r:.60} is not possible: {known.allowed()} is needed"
            return await _page(request, user, known, sent=sent, error=said, status=400)
    parts = parts_of(request)

    def check(found: dict[str, Any]) -> None:
        if found["version"] not in {sent.get("version"), digest(text)}:
            raise _ChangedFirstError

    try:
        changed = await StoredConfig(parts).replace(known, text, change, check)
    except _ChangedFirstError:
        return await _page(request, user, known, sent=sent, conflict=True, status=409)
    place = f"/configuration/{key}"
    if not changed:
        return done(request, place, f"{key} is so already.")
    async with parts.database() as queries:
        change_id = await last_change(queries, TABLE, key)
    told = f"{key} is {words.figure(known.parse(text))}." if text is not None else f"{key} is not set any more."
    undo = ("Undo", f"/changes/{change_id}/revert", {"next": place})
    return done(request, place, f"{told} Services follow within 5 s.", undo=undo)


async def _page(
    request: Request,
    user: User,
    key: DynamicKey,
    *,
    sent: Form | None = None,
    error: str = "",
    conflict: bool = False,
    status: int = 200,
) -> Response:
    parts = parts_of(request)
    await parts.need_redis()
    stored = StoredConfig(parts)
    await stored.record_external(request.state.correlation_id)
    async with parts.database() as queries:
        rows = await history(queries, TABLE, key.name)
    (setting,) = await stored.show(key)
    setting = _view(setting, parts.environ, rows[0] if rows else None)
    typed = sent.get("value") if sent else ("" if setting["value"] is None else str(setting["value"]))
    context: dict[str, Any] = {
        "setting": setting,
        "allowed": setting["possible"],
        "changes": [change_view(row, user) for row in rows],
        "typed": typed,
        "reason": sent.get("reason") if sent else "",
        "error": error,
        "conflict": conflict,
        "mine": "not set" if sent and sent.get("do") == "unset" else typed,
        "enabled": parts.settings.dynamic_config_enabled,
        "newest": datetime.fromisoformat(rows[0]["changed_at"]) if rows else None,
    }
    return await render(request, "configuration-key.html", context, status)


def _view(setting: dict[str, Any], environ: Mapping[str, str], last: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a key as the pages show it: figures as people read them, and where each comes from."""
    key = ALL[setting["key"]]
    without, source = fallback(key, environ)
    by = last["changed_by"] if last else ""
    where = _where(key, source)
    if setting["source"] == "redis":
        origin = "set in Redis, directly" if by == EXTERNAL else f"set in Redis by {by}" if by else "set in Redis"
    else:
        origin = where
    if key.choices:
        possible = " or ".join(key.choices)
    else:
        possible = f"{words.figure(key.low or 0)} to {words.figure(key.high or 0)}"
    return setting | {
        "shown": words.figure(setting["effective"]),
        "origin": origin,
        "without": words.figure(without),
        "without_origin": where,
        "possible": possible,
    }


def _where(key: DynamicKey, source: str) -> str:
    """Say what stands behind a value that is not set in Redis."""
    if source == "environment":
        return f"environment variable {key.variable}"
    return f"built-in default of {key.variable}, which is not set" if key.variable else "built-in default"


def _known(key: str) -> DynamicKey:
    if key not in ALL:
        raise ApiError(404, f"There is no configuration key {key[:80]}.")
    return ALL[key]
