"""What the handlers of the API work with, and how they ask for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SilentError

from mutt import keys
from mutt.settings import WebUiSettings
from services.logging_utils import get_logger
from services.postgres_connector import Pool, transaction
from services.runtime.instruments import WebUiInstruments
from services.web_ui.keyring import Caller, KeyRing, Role
from services.web_ui.queries import Queries
from services.web_ui.replies import RETRY_AFTER, SAFE_METHODS, ApiError
from services.web_ui.sessions import CSRF_HEADER, Sessions, is_same
from services.web_ui.wrong_keys import WrongKeys

log = get_logger(__name__)


# Seconds: a person waits in front of this service, and 503 after two says more than a page that hangs.
WAIT = 2.0
# Seconds for all statements of a request; the longest search ends by itself before that.
PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class Context:
    """The service's own parts."""

    settings: WebUiSettings
    instruments: WebUiInstruments
    keyring: KeyRing
    sessions: Sessions
    redis: Redis
    pool: Pool
    environ: Mapping[str, str]
    searches: asyncio.Semaphore
    wrong_keys: WrongKeys

    @asynccontextmanager
    async def database(self, patience: float = PATIENCE) -> AsyncIterator[Queries]:
        """Hold one connection and one transaction, committed at the end, for at most `patience` seconds."""
        async with transaction(self.pool, WAIT, patience) as connection:
            yield Queries(connection, self.instruments.db_query)

    @asynccontextmanager
    async def search(self) -> AsyncIterator[Queries]:
        """Do likewise for what may read long; `searches` leaves connections to those who want something quick."""
        try:
            async with asyncio.timeout(WAIT):
                await self.searches.acquire()
        except TimeoutError:
            message = "as many searches are under way as are done at once: try again in some seconds, or narrow it"
            raise ApiError(503, message, headers=RETRY_AFTER) from None
        try:
            async with self.database() as queries:
                yield queries
        finally:
            self.searches.release()

    @asynccontextmanager
    async def change(self, topic: str) -> AsyncIterator[Queries]:
        """Do likewise, and announce `topic` (`rules`, `hosts` or `teams`) when it is, or may be, committed."""
        changed = False
        try:
            async with self.database() as queries:
                yield queries
                changed = True
        finally:
            # Also behind a commit that failed: it may be the reply that was lost, and who reads again loses nothing.
            if changed:
                await self.announce(topic)

    async def need_redis(self) -> None:
        """Wait for a sign of life of Redis; raises RedisError after WAIT, where a command would wait far longer."""
        try:
            async with asyncio.timeout(WAIT):
                await self.redis.ping()
        except TimeoutError:
            raise SilentError(f"no answer within {WAIT:g} s") from None

    async def announce(self, name: str) -> None:
        """Tell every service that something changed; without Redis they find out at their next timed reload."""
        try:
            await self.redis.publish(keys.CONFIG_UPDATES, name)
        except (RedisError, OSError) as error:
            log.critical(
                "a change could not be announced; where it is committed, it takes effect at the next timed reload",
                topic=name,
                error=f"{type(error).__name__}: {error}",
            )


_header = APIKeyHeader(name="X-API-KEY", auto_error=False, description="An API key of the web UI")


async def context(request: Request) -> Context:
    """Return the app's context."""
    found: Context = request.app.state.context
    return found


@dataclass(frozen=True, slots=True)
class Needs:
    """A dependency that lets callers of at least this role pass, by key or by session."""

    role: Role

    async def __call__(self, request: Request, key: Annotated[str | None, Security(_header)]) -> Caller:
        """Return who calls; raises ApiError 401 and 403."""
        parts = await context(request)
        found = parts.keyring.find(key) if key else _of_session(request, parts)
        if found is None:
            if key:
                note_wrong_key(request, parts)
            problem = "the API key is not known" if key else "an API key is needed"
            raise ApiError(
                401, f"{problem}; send it in the header X-API-KEY", headers={"WWW-Authenticate": "X-API-KEY"}
            )
        if found.role < self.role:
            raise ApiError(403, too_little(found, self.role))
        return found


def note_wrong_key(request: Request, parts: Context) -> int:
    """Note that a request brought a wrong key; returns the seconds in which a person there should not try again."""
    return parts.wrong_keys.met(request.client.host if request.client else "")


def too_little(caller: Caller, needed: Role) -> str:
    """Return why a caller may not do something."""
    return f"key {caller.name!r} has the role {caller.role.name.lower()}; this needs {needed.name.lower()}"


def _of_session(request: Request, parts: Context) -> Caller | None:
    """Return who is signed in; raises ApiError 403 where another site may have sent the request."""
    session = parts.sessions.of(request)
    if session is None:
        return None
    if request.method not in SAFE_METHODS and not is_same(session.csrf, request.headers.get(CSRF_HEADER)):
        raise ApiError(403, f"with a session, {request.method} needs the header {CSRF_HEADER} with the page's token")
    return session.caller


Parts = Annotated[Context, Depends(context)]
Viewer = Annotated[Caller, Depends(Needs(Role.VIEWER))]
Operator = Annotated[Caller, Depends(Needs(Role.OPERATOR))]
Editor = Annotated[Caller, Depends(Needs(Role.EDITOR))]
Admin = Annotated[Caller, Depends(Needs(Role.ADMIN))]
