"""The way to Moogsoft: one pooled client; every wait ends, redirects are refused, TLS is verified."""

import asyncio
import base64
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp

from mutt.answers import CONNECTION, TIMED_OUT, Outcome, Verdict, classify, printable, unanswered
from mutt.settings import MoogForwarderSettings
from mutt.tls_faults import Server, explain
from services.logging_utils import get_logger
from services.runtime.secrets import SecretSource
from services.runtime.trust import authorities

API_KEY = "MOOG_API_KEY"
CA_VARIABLE = "MOOG_CA_CERT_PATH"
ANSWER_MOST = 64 * 1024  # bytes read of an answer; a longer one costs its connection
REREAD_PAUSE = 1.0  # seconds between two readings of the secrets, however many answers ask for one

log = get_logger(__name__)


class Answer(NamedTuple):
    """One request's end; `status` is None where there was no answer."""

    outcome: Outcome
    status: int | None
    seconds: float
    auth: str | None


class Webhook:
    """Posts bodies to `MOOG_WEBHOOK_URL`; never raises for what Moogsoft or the network does."""

    def __init__(self, settings: MoogForwarderSettings, secrets: SecretSource) -> None:
        self._settings = settings
        self._secrets = secrets
        parts = urlsplit(settings.webhook_url)
        self._server = Server("Moogsoft", f"{parts.hostname}:{parts.port or 443}", "MOOG_WEBHOOK_URL", CA_VARIABLE)
        self._lock = asyncio.Lock()
        self._reread_at = -REREAD_PAUSE
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.concurrency, ssl=authorities(settings.ca_cert_path, CA_VARIABLE)
            ),
            timeout=aiohttp.ClientTimeout(total=settings.webhook_timeout),
            # Plain answers: their start is read, and one that is compressed may say unread that it took nothing.
            headers={"Content-Type": "application/json", "User-Agent": "MUTT/2.5", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

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

    async def post(self, body: bytes, *, traceparent: str | None = None) -> Answer:
        """Send one request."""
        began = time.perf_counter()
        auth = self.authorization()
        outcome, status = await self._post(body, auth, traceparent)
        return Answer(outcome, status, time.perf_counter() - began, auth)

    async def has_new_key(self, used: str | None) -> bool:
        """Read the secrets again after a refusal and tell whether the key is another than `used`."""
        async with self._lock:
            if self.authorization() == used and time.monotonic() - self._reread_at >= REREAD_PAUSE:
                await self._secrets.refresh()
                self._reread_at = time.monotonic()
        return self.authorization() != used

    async def _post(self, body: bytes, auth: str | None, traceparent: str | None) -> tuple[Outcome, int | None]:
        if self._session is None:
            raise RuntimeError("the webhook is used outside of its context")
        if auth is not None and not (auth.isascii() and auth.isprintable()):
            message = f"{API_KEY} holds characters that a header cannot carry"
            return Outcome(Verdict.MISCONFIGURED, "config", message), None
        headers = {} if auth is None else {self._settings.auth_header: auth}
        if traceparent is not None:
            headers["traceparent"] = traceparent
        try:
            async with self._session.post(
                self._settings.webhook_url, data=body, headers=headers, allow_redirects=False
            ) as response:
                start = await _start(response)
                retry_after = response.headers.get("Retry-After")
                now = datetime.now(UTC)
                return classify(response.status, retry_after=retry_after, now=now, body=start), response.status
        except TimeoutError:
            return unanswered(TIMED_OUT, f"no answer within {self._settings.webhook_timeout:g} s"), None
        except (aiohttp.ClientError, OSError) as error:
            problem = explain(str(error), self._server)
            return unanswered(CONNECTION, problem or f"{type(error).__name__}: {printable(str(error))}"), None


async def _start(response: aiohttp.ClientResponse) -> bytes:
    """Return the start of an answer's body; the status counts whatever becomes of the body."""
    data = b""
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        while len(data) < ANSWER_MOST and (chunk := await response.content.read(ANSWER_MOST - len(data))):
            data += chunk
    return data
