"""What every page has: who reads it, its surroundings, its forms, and what it says of the change just made."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.web_ui.context import Context, note_wrong_key
from services.web_ui.keyring import Caller, Role
from services.web_ui.pages import navigation
from services.web_ui.pages.templates import ENVIRONMENT
from services.web_ui.replies import SAFE_METHODS, ApiError
from services.web_ui.sessions import CSRF_FIELD, Session, is_same
from services.web_ui.watcher import Watcher

NOTE = "mutt_note"
NOTE_SECONDS = 60
ZONE, THEME, KEYS = "mutt_zone", "mutt_theme", "mutt_keys"
FORM_MAX = 8 * 1024 * 1024  # bytes
FORM_SECONDS = 60.0
FIELDS_MAX = 20_000
GZIP_FROM = 1000  # bytes
HANG_UP = {"Connection": "close"}


@dataclass(frozen=True, slots=True)
class User:
    """Who reads a page."""

    caller: Caller
    csrf: str

    @property
    def name(self) -> str:
        """Return the name of the key."""
        return self.caller.name

    @property
    def role(self) -> str:
        """Return the role's word."""
        return self.caller.role.name.lower()

    def can(self, role: str) -> bool:
        """Tell whether the user may do what `operator`, `editor` or `admin` may."""
        return self.caller.role >= Role[role.upper()]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was sent: texts by name, uploaded files as text too."""

    fields: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a field, as browsers mean it."""
        return next((value for key, value in reversed(self.fields) if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key == name]

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.fields)


class SignInNeededError(Exception):
    """A page was asked for without a session."""


def parts_of(request: Request) -> Context:
    """Return the service's parts."""
    found: Context = request.app.state.context
    return found


def user_of(request: Request) -> User | None:
    """Return who is signed in, or whose key reads a page; forms are for sessions alone."""
    session: Session | None = parts_of(request).sessions.of(request)
    if session is not None:
        return User(session.caller, session.csrf)
    key = request.headers.get("x-api-key")
    caller = parts_of(request).keyring.find(key) if key and request.method in SAFE_METHODS else None
    return None if caller is None else User(caller, "")


def require_page(role: Role) -> Callable[[Request], Awaitable[User]]:
    """Return a dependency: without a session it leads to the sign-in, below the role it says what is needed."""

    async def user(request: Request) -> User:
        found = user_of(request)
        if found is None:
            if request.headers.get("x-api-key") and request.method in SAFE_METHODS:
                note_wrong_key(request, parts_of(request))
            raise SignInNeededError
        if found.caller.role < role:
            needed = role.name.lower()
            raise ApiError(403, f"{found.name} has the role {found.role}; this page needs {needed}.")
        return found

    return user


PageViewer = Annotated[User, Depends(require_page(Role.VIEWER))]
PageOperator = Annotated[User, Depends(require_page(Role.OPERATOR))]
PageEditor = Annotated[User, Depends(require_page(Role.EDITOR))]
PageAdmin = Annotated[User, Depends(require_page(Role.ADMIN))]


async def form(request: Request) -> Form:
    """Return the form that a page's reader sent; raises ApiError 403 where it is not from one of our pages."""
    sent = await read_form(request)
    user = user_of(request)
    if user is None or not is_same(user.csrf, sent.get(CSRF_FIELD)):
        raise ApiError(403, "This form is not from this session's page: open the page again and send it from there.")
    return sent


async def read_form(request: Request) -> Form:
    """Return a form's fields whoever sent it; raises ApiError 408, 411 or 413."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise ApiError(411, "The form came without its length.")
    if int(length) > FORM_MAX:
        raise ApiError(413, f"The form is larger than {FORM_MAX // 1024 // 1024} MiB.")
    try:
        async with asyncio.timeout(FORM_SECONDS):
            data: FormData = await request.form(max_files=20, max_fields=FIELDS_MAX, max_part_size=FORM_MAX)
    except TimeoutError:
        raise ApiError(408, f"The form did not arrive within {FORM_SECONDS:g} s.", headers=HANG_UP) from None
    fields: list[tuple[str, str]] = []
    for name, value in data.multi_items():
        text = (await value.read()).decode("utf-8-sig", "replace") if isinstance(value, UploadFile) else value
        fields.append((name, text))
    return Form(fields)


async def render(
    request: Request, template: str, context: Mapping[str, Any] | None = None, status: int = 200
) -> Response:
    """Return a page; its template finds in addition what the frame offers (see `surroundings`)."""
    watcher: Watcher = request.app.state.watcher
    counts = navigation.counts(await watcher.board(), datetime.now(UTC))
    return show(request, template, context or {}, counts, status)


def show(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    counts: Mapping[str, navigation.Count],
    status: int = 200,
) -> Response:
    """Return a page without asking anything of anybody."""
    note = _note(request)
    text = ENVIRONMENT.get_template(template).render({**surroundings(request, counts), "note": note, **context})
    response = HTMLResponse(text, status)
    response.headers["Vary"] = "Cookie, Accept-Encoding"
    if len(response.body) >= GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        response.body = gzip.compress(response.body, 5)
        response.headers.update({"Content-Encoding": "gzip", "Content-Length": str(len(response.body))})
    if note is not None:
        response.delete_cookie(NOTE)
    return response


def surroundings(request: Request, counts: Mapping[str, navigation.Count]) -> dict[str, Any]:
    """Return what base.html and the macros need."""
    user = user_of(request)
    theme = request.cookies.get(THEME)
    return {
        "request": request,
        "user": user,
        "csrf": user.csrf if user else "",
        "nav": navigation.items(counts, request.url.path),
        "path": request.url.path,
        "here": here(request),
        "now": datetime.now(UTC),
        "zone": zone_of(request),
        "theme": theme if theme in ("light", "dark") else "auto",
        "keys": request.cookies.get(KEYS) != "off",
    }


def here(request: Request) -> str:
    """Return the address of this page with its query, as it stands in links."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def zone_of(request: Request) -> tzinfo:
    """Return the zone that the reader's browser told, else UTC."""
    name = request.cookies.get(ZONE, "")
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def local_path(text: str | None) -> str:
    """Return a path of this console, `/` for whatever could lead elsewhere."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable() or "\\" in text:
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


def done(
    request: Request,
    to: str,
    text: str,
    *,
    kind: str = "ok",
    undo: tuple[str, str, Mapping[str, str]] | None = None,
    link: tuple[str, str] | None = None,
) -> Response:
    """Lead to a page that says once what was done.

    `kind` is ok, warn or critical; `undo` a button (words, where it posts to, fields); `link` words and address.
    """
    response = RedirectResponse(quote(to, safe="/?&=#%:,.+@~!$'()*;[]-_"), 303)
    sessions = parts_of(request).sessions
    sealed = sessions.seal(NOTE, {"kind": kind, "text": text[:1000], "undo": undo, "link": link})
    sessions.set_cookie(response, NOTE, sealed, NOTE_SECONDS)
    return response


def _note(request: Request) -> dict[str, Any] | None:
    found = request.cookies.get(NOTE)
    note = parts_of(request).sessions.unseal(NOTE, found, NOTE_SECONDS) if found else None
    return note if isinstance(note, dict) else None
