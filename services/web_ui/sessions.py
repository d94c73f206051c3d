"""Sessions of people at a browser: a signed cookie that holds no secret; on the server, which ones were ended."""

import hashlib
import hmac
import secrets
from typing import NamedTuple

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.web_ui.ended_sessions import EndedSessions
from services.web_ui.keyring import Caller, KeyRing

SESSION = "mutt_session"
SIGN_IN = "mutt_sign_in"
SECONDS = 8 * 3600
CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
_ENDED = "session_ended"  # in the scope of a request whose session was signed out


class Session(NamedTuple):
    """Who is signed in; forms and scripts prove with `csrf` that they come from our pages."""

    caller: Caller
    csrf: str

    @property
    def name(self) -> str:
        """Return what the session is remembered by once it has ended, which opens nothing."""
        return hashlib.sha256(self.csrf.encode()).hexdigest()[:32]


class Sessions:
    """Opens and ends sessions. They end with their key, with WEBUI_API_KEY, after eight hours, or signed out."""

    def __init__(self, keyring: KeyRing, ended: EndedSessions, *, insecure: bool) -> None:
        self._keyring = keyring
        self._ended = ended
        self._secure = not insecure

    def start(self, response: Response, presented: str) -> Session:
        """Let a response open a session with a known key; raises LookupError for an unknown one."""
        caller = self._keyring.find(presented)
        if caller is None:
            raise LookupError("the key is not known")
        csrf = secrets.token_urlsafe(18)
        self.set_cookie(response, SESSION, self._signer(SESSION).dumps([self._keyring.mark(presented), csrf]), SECONDS)
        response.delete_cookie(SIGN_IN, path="/sign-in")
        return Session(caller, csrf)

    def of(self, request: HTTPConnection) -> Session | None:
        """Return the session that a request brings, None without one in force."""
        if request.scope.get("state", {}).get(_ENDED):
            return None
        try:
            mark, csrf = self._signer(SESSION).loads(request.cookies.get(SESSION, ""), max_age=SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        caller = self._keyring.marked(mark)
        return None if caller is None else Session(caller, csrf)

    async def is_ended(self, session: Session) -> bool:
        """Tell whether somebody signed this session out."""
        return await self._ended.has(session.name)

    async def end(self, request: HTTPConnection, response: Response) -> None:
        """End a request's session wherever its cookie was copied to, and let the response take it from the browser."""
        session = self.of(request)
        if session is not None:
            await self._ended.add(session.name)
        response.delete_cookie(SESSION, path="/", secure=self._secure, httponly=True, samesite="strict")

    def sign_in_token(self, request: HTTPConnection) -> str:
        """Return the token of a sign-in form: the one that this browser has already, else a new one."""
        held = request.cookies.get(SIGN_IN, "")
        return held if self._is_ours(held) else self._signer(SIGN_IN).dumps(secrets.token_urlsafe(18))

    def keep_sign_in_token(self, response: Response, token: str) -> None:
        """Let the browser hold the token beside the form."""
        self.set_cookie(response, SIGN_IN, token, SECONDS, path="/sign-in")

    def may_sign_in(self, request: HTTPConnection, token: str) -> bool:
        """Tell whether a sign-in form was ours, and in this browser."""
        held = request.cookies.get(SIGN_IN, "")
        return hmac.compare_digest(held.encode(), token.encode()) and self._is_ours(held)

    def set_cookie(self, response: Response, name: str, value: str, seconds: int, path: str = "/") -> None:
        """Set a cookie that no script reads and no other site sends."""
        response.set_cookie(
            name, value, max_age=seconds, path=path, secure=self._secure, httponly=True, samesite="strict"
        )

    def seal(self, purpose: str, value: object) -> str:
        """Return a value as text that only this service can make."""
        return str(self._signer(purpose).dumps(value))

    def unseal(self, purpose: str, text: str, seconds: int) -> object | None:
        """Return what was sealed for the purpose at most so long ago, None for anything else."""
        try:
            found: object = self._signer(purpose).loads(text, max_age=seconds)
        except BadData:
            return None
        return found

    def _is_ours(self, token: str) -> bool:
        return self.unseal(SIGN_IN, token, SECONDS) is not None

    def _signer(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._keyring.signing_key(), salt=purpose)


class SignedOut:
    """Wraps the app; a session that was signed out counts as none in whatever the app does."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look the session up, where the request brings one."""
        if scope["type"] == "http" and SESSION in Headers(scope=scope).get("cookie", ""):
            session = self._sessions.of(HTTPConnection(scope))
            if session is not None and await self._sessions.is_ended(session):
                scope = {**scope, "state": {**scope.get("state", {}), _ENDED: True}}
        await self._app(scope, receive, send)


def is_same(csrf: str, given: str | None) -> bool:
    """Compare CSRF tokens in constant time."""
    return given is not None and hmac.compare_digest(csrf.encode(), given.encode("utf-8", "replace"))
