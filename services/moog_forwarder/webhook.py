"""The way to Moogsoft: pooled connections; every wait ends, redirects are refused, TLS is verified."""

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from mutt.answers import CONNECTION, TIMED_OUT, Outcome, Verdict, classify, printable, unanswered
from mutt.settings import MoogForwarderSettings
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.moog_forwarder.connection import Reply
from services.moog_forwarder.session import Session
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


class Sent:
    """A request; `then` is called with it once it has ended, after so many `seconds`."""

    __slots__ = ("auth", "began", "reply", "seconds", "then")

    def __init__(self, then: Callable[[Any], object]) -> None:
        self.then = then
        self.began = self.seconds = 0.0
        self.auth: str | None = None
        self.reply: Reply | Exception | None = None

    def heard(self, reply: Reply | Exception) -> None:
        """Take its end."""
        self.reply = reply
        self.seconds = time.perf_counter() - self.began
        self.then(self)


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
        self._known: tuple[Reply, Outcome] | None = None  # the last answer that took its alerts
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

    def post(self, sent: Sent, body: bytes, *, traceparent: str | None = None) -> None:
        """Send one request; `outcome` says what came of it when it has ended."""
        sent.began = time.perf_counter()
        key = self._secrets.get(API_KEY)
        if self._head is None or self._head.key != key:
            self._head = self._head_of(key)
        sent.auth = self._head.auth
        head = self._head.head
        if head is None:
            sent.heard(UnsendableError(f"{API_KEY} holds characters that a header cannot carry"))
        else:
            if traceparent is not None:
                head += f"traceparent: {traceparent}\r\n".encode()
            self._session.post(head, body, sent.heard)

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

    def outcome(self, sent: Sent) -> tuple[Outcome, int | None]:
        """Return what came of a request that has ended, and the status of its answer, None without one."""
        match sent.reply:
            case Reply() as reply:
                if self._known is not None and self._known[0] == reply:
                    return self._known[1], reply.status
                now = datetime.now(UTC)
                outcome = classify(reply.status, retry_after=reply.retry_after, now=now, body=reply.body)
                if outcome.is_success:
                    self._known = reply, outcome
                return outcome, reply.status
            case UnsendableError() as error:
                return Outcome(Verdict.MISCONFIGURED, "config", str(error)), None
            case TimeoutError():
                return unanswered(TIMED_OUT, f"no answer within {self._settings.webhook_timeout:g} s"), None
            case OSError() as error:
                problem = explain(str(error), self._server)
                return unanswered(CONNECTION, problem or f"{type(error).__name__}: {printable(str(error))}"), None
            case error:
                raise RuntimeError("a request failed") from error
