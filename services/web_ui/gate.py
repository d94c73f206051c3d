"""What every request passes on its way in and out: its ids, the old paths, the version headers, the metrics."""

import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mutt.ids import is_uuid
from services.logging_utils import get_logger
from services.runtime.instruments import WebUiInstruments

API, OLD_API = "/api/v2/", "/api/v1/"
# Under /api/v1/ this one is current, and /api/v2/ is its other name.
CURRENT_UNDER_OLD = frozenset({"slo"})
OPS_PATHS = frozenset({"/health", "/live", "/metrics"})
UNMATCHED = "unmatched"
# What a browser has to hold to: nothing from elsewhere, nothing inline, in no frame, no address told to others.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

log = get_logger(__name__)


class Gate:
    """Wraps the app; whatever the app raises becomes a 500 that names the correlation id and nothing else."""

    def __init__(self, app: ASGIApp, instruments: WebUiInstruments) -> None:
        self._app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope, deprecated = _current_path(scope)
        correlation_id = _correlation_id(Headers(scope=scope))
        scope["state"] = {**scope.get("state", {}), "correlation_id": correlation_id}
        started = time.perf_counter()
        status = 0

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-API-Version"] = "v2.5"
                headers["X-Correlation-ID"] = correlation_id
                headers.update(SECURITY)
                headers.setdefault("Cache-Control", "no-store")
                if deprecated:
                    headers["X-API-Deprecated"] = "true"
            await send(message)

        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            try:
                await self._app(scope, receive, reply)
            except Exception:
                log.exception("a request failed", method=scope["method"], path=scope["path"])
                if not status:
                    body = {"error": "something went wrong here; the log has it", "correlation_id": correlation_id}
                    await JSONResponse(body, 500)(scope, receive, reply)
            finally:
                if scope["path"] not in OPS_PATHS:
                    self._count(scope, status, time.perf_counter() - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = getattr(scope.get("route"), "path", UNMATCHED)
        self._instruments.requests.labels(endpoint, str(status or 499)).inc()
        self._instruments.latency.labels(endpoint).observe(seconds)


def _current_path(scope: Scope) -> tuple[dict[str, Any], bool]:
    """Return the scope under the current path, and whether the old one was used."""
    path: str = scope["path"]
    if not path.startswith(OLD_API):
        return dict(scope), False
    rest = path.removeprefix(OLD_API)
    raw: bytes = scope.get("raw_path") or path.encode()
    renamed = {"path": API + rest, "raw_path": raw.replace(OLD_API.encode(), API.encode(), 1)}
    return {**scope, **renamed}, rest not in CURRENT_UNDER_OLD


def _correlation_id(headers: Headers) -> str:
    given = headers.get("x-correlation-id")
    return given.lower() if is_uuid(given) else str(uuid.uuid4())
