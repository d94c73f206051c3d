"""The way to Moogsoft: pooled connections; every wait ends, redirects are refused, TLS is verified."""

import asyncio
import base64
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from mutt.answers import CONNECTION, TIMED_OUT, Outcome, Verdict, classify, printable, unanswered
from mutt.settings import MoogForwarderSettings
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.moog_forwarder.session import Reply, Session
from services.runtime.secrets import SecretSource
from services.runtime.trust import authorities

API_KEY = "MOOG_API_KEY"
CA_VARIABLE = "MOOG_CA_CERT_PATH"
# Plain answers: their start is read, and one that is compressed may say unread that it took nothing.
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "MUTT/2.5",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
REREAD_PAUSE = 1.0  # seconds between two readings of the secrets, however many answers ask for one

log = get_logger(__name__)


class Answer(NamedTuple):
    """One request's end; `status` is None where there was no answer."""

    outcome: Outcome
    status: int | None
    seconds: float
    auth: str | None


class Sent(NamedTuple):
    """A request that is under way."""

    reply: asyncio.Future[Reply]
    began: float
    auth: str | None


class _Head(NamedTuple):
    """The head of requests by the key that they carry; None where no header can carry it."""

    key: str | None
    auth: str | None
    head: bytes | None


class UnsendableError(OSError):
    """The request cannot be made at all; the text says why."""


class Webhook:
    """Posts bodies to `MOOG_WEBHOOK_URL`; never raises for what Moogsoft or the network does."""

    def __init__(self, settings: MoogForwarderSettings, secrets: SecretSource) -> None:
        self._settings = settings
        self._secrets = secrets
        parts = urlsplit(settings.webhook_url)
        self._server = Server("Moogsoft", f"{parts.hostname}:{parts.port or 443}", "MOOG_WEBHOOK_URL", CA_VARIABLE)
        self._lock = asyncio.Lock()
        self._reread_at = -REREAD_PAUSE
        self._head: _Head | None = None  # of the last request
        context = authorities(settings.ca_cert_path, CA_VARIABLE)
        self._session = Session(settings.webhook_url, HEADERS, settings.webhook_timeout, context)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def authorization(self) -> str | None:
        """Return what the header carries now: made at the time of sending, so that no secret ever waits in a queue."""
        key = self._secrets.get(API_KEY)
        if key is None:
            return None
        match self._settings.auth_scheme:
            case "Basic":
                return "Basic " + base64.b64encode(key.encode()).decode()
            case "none":
                return key
            case scheme:
                return f"{scheme} {key}"

    def post(self, body: bytes, *, traceparent: str | None = None) -> Sent:
        """Send one request; once its reply is done, `answer` says what came of it."""
        began = time.perf_counter()
        key = self._secrets.get(API_KEY)
        if self._head is None or self._head.key != key:
            self._head = self._head_of(key)
        head = self._head.head
        if head is None:
            reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            reply.set_exception(UnsendableError(f"{API_KEY} holds characters that a header cannot carry"))
        else:
            traced = b"" if traceparent is None else f"traceparent: {traceparent}\r\n".encode()
            reply = self._session.post(head + traced, body)
        return Sent(reply, began, self._head.auth)

    def answer(self, sent: Sent) -> Answer:
        """Return what came of a request that is done."""
        outcome, status = self._outcome(sent.reply)
        return Answer(outcome, status, time.perf_counter() - sent.began, sent.auth)

    async def has_new_key(self, used: str | None) -> bool:
        """Read the secrets again after a refusal and tell whether the key is another than `used`."""
        async with self._lock:
            if self.authorization() == used and time.monotonic() - self._reread_at >= REREAD_PAUSE:
                await self._secrets.refresh()
                self._reread_at = time.monotonic()
        return self.authorization() != used

    def _head_of(self, key: str | None) -> "_Head":
        auth = self.authorization()
        if auth is None:
            return _Head(key, auth, self._session.head({}))
        is_possible = auth.isascii() and auth.isprintable()
        return _Head(key, auth, self._session.head({self._settings.auth_header: auth}) if is_possible else None)

    def _outcome(self, done: asyncio.Future[Reply]) -> tuple[Outcome, int | None]:
        try:
            reply = done.result()
        except UnsendableError as error:
            return Outcome(Verdict.MISCONFIGURED, "config", str(error)), None
        except TimeoutError:
            return unanswered(TIMED_OUT, f"no answer within {self._settings.webhook_timeout:g} s"), None
        except OSError as error:
            problem = explain(str(error), self._server)
            return unanswered(CONNECTION, problem or f"{type(error).__name__}: {printable(str(error))}"), None
        now = datetime.now(UTC)
        return classify(reply.status, retry_after=reply.retry_after, now=now, body=reply.body), reply.status
