"""Signing in and out, and a reader's own preferences."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import RedirectResponse, Response

from services.logging_utils import get_logger
from services.web_ui.context import note_wrong_key
from services.web_ui.pages.frame import (
    KEYS,
    THEME,
    Form,
    PageViewer,
    SignInNeededError,
    form,
    here,
    local_path,
    parts_of,
    read_form,
    show,
    user_of,
)
from services.web_ui.replies import SAFE_METHODS, ApiError, refuse
from services.web_ui.sessions import CSRF_FIELD

UNREAD = "hidden:"  # in front of the names of a form that waits while its author signs in
YEAR = 365 * 86_400

router = APIRouter(include_in_schema=False)
log = get_logger(__name__)


@router.get("/sign-in")
async def sign_in_page(request: Request, next: str = "/") -> Response:  # noqa: A002  (the name in the address)
    """Show the form; whoever is signed in already goes on."""
    if user_of(request) is not None:
        return RedirectResponse(local_path(next), 303)
    return _ask(request, {"next": local_path(next)})


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Open a session, and go on to where the reader was going, or to the form that waited."""
    sent = await read_form(request)
    sessions = parts_of(request).sessions
    context = {"next": local_path(sent.get("next")), "action": _action(sent), "waiting": _waiting(sent)}
    if not sessions.may_sign_in(request, sent.get(CSRF_FIELD)):
        problem = "This form was open for too long, or cookies are off. Nothing typed is lost: sign in again."
        return _ask(request, context | {"problem": problem}, 403)
    address = request.client.host if request.client else ""
    response: Response = RedirectResponse(str(context["next"]), 303)
    if context["action"]:
        response = Response()
    try:
        session = sessions.start(response, sent.get("key").strip())
    except LookupError:
        if wait := note_wrong_key(request, parts_of(request)):
            problem = f"This key is not known, and too many such keys came from {address}. Try again in {wait} s."
            return _ask(request, context | {"problem": problem}, 429, {"Retry-After": str(wait)})
        problem = "This key is not known. Keys are those of WEBUI_API_KEY and WEBUI_API_KEYS; a retired one is refused."
        return _ask(request, context | {"problem": problem}, 401)
    log.info("signed in", name=session.caller.name, role=session.caller.role.name.lower(), address=address)
    if not context["action"]:
        return response
    page = show(request, "signed-in.html", context | {"csrf": session.csrf, "name": session.caller.name}, {})
    page.raw_headers.extend(header for header in response.raw_headers if header[0] == b"set-cookie")
    return page


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session, here and wherever its cookie was copied to."""
    if user_of(request) is not None:
        await form(request)
    response = RedirectResponse("/sign-in", 303)
    await parts_of(request).sessions.end(request, response)
    return response


@router.post("/preferences")
async def keep_preferences(request: Request, _user: PageViewer) -> Response:
    """Keep the theme and whether single keys act, in this browser."""
    sent = await form(request)
    response = RedirectResponse(local_path(sent.get("next")), 303)
    sessions = parts_of(request).sessions
    if (theme := sent.get("theme")) in ("auto", "light", "dark"):
        sessions.set_cookie(response, THEME, theme, YEAR)
    if (keys := sent.get("keys")) in ("on", "off"):
        sessions.set_cookie(response, KEYS, keys, YEAR)
    return response


def install(app: FastAPI) -> None:
    """Lead to the sign-in from every page without a session, and show errors as pages."""
    app.state.error_page = error_page
    app.add_exception_handler(SignInNeededError, _lead_to_sign_in)
    app.include_router(router)


def error_page(
    request: Request,
    status: int,
    message: str,
    details: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
) -> Response:
    """Return an error as a page."""
    context = {"status": status, "message": message, "details": details or {}}
    response = show(request, "error.html", context, {}, status)
    response.headers.update(dict(headers or {}))
    return response


async def _lead_to_sign_in(request: Request, _error: Exception) -> Response:
    """Ask for the key first; a form that came too late is kept in the page, so that nothing typed is lost."""
    if request.method in SAFE_METHODS:
        return RedirectResponse(f"/sign-in?next={quote(here(request), safe='/')}", 303)
    if _from_elsewhere(request):
        return RedirectResponse("/sign-in?next=/", 303)
    try:
        sent = await read_form(request)
    except ApiError as error:
        return refuse(request, error.status, error.message)
    waiting = [(name, value) for name, value in sent.fields if name != CSRF_FIELD]
    problem = "Signed out after 8 h. Nothing typed is lost: sign in, then send it."
    return _ask(request, {"action": here(request), "waiting": waiting, "problem": problem}, 401)


def _from_elsewhere(request: Request) -> bool:
    """Tell whether another site made the browser send this: its fields must not wait for a signature."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _ask(
    request: Request, context: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    sessions = parts_of(request).sessions
    token = sessions.sign_in_token(request)
    defaults = {"next": "/", "action": "", "waiting": [], "problem": "", "unread": UNREAD, "token": token}
    response = show(request, "sign-in.html", defaults | dict(context), {}, status)
    response.headers.update(dict(headers or {}))
    sessions.keep_sign_in_token(response, token)
    return response


def _action(sent: Form) -> str:
    return local_path(sent.get("action")) if sent.get("action") else ""


def _waiting(sent: Form) -> list[tuple[str, str]]:
    return [(name.removeprefix(UNREAD), value) for name, value in sent.fields if name.startswith(UNREAD)]
