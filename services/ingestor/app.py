"""Everything the ingestor answers that is not an ingest request, as an ordinary ASGI application."""

import os
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mutt.ids import uuid7
from services.ingestor import hec, replies
from services.ingestor.protocol import ROUTES
from services.runtime.health import Health
from services.runtime.ops_server import API_VERSION, routes


def make_app(health: Health, registry: CollectorRegistry, cap: Callable[[], int]) -> Starlette:
    """Return the app: /health, /live, /metrics, Splunk's health, 405 on the ingest paths, 404 elsewhere."""
    ingest = [Route(path.decode(), _unreachable, methods=["POST"]) for path in ROUTES]
    app = Starlette(
        routes=[*routes(health, registry), *hec.health_routes(health, cap), *ingest],
        exception_handlers={HTTPException: _refuse},
    )
    # Senders follow no redirect, they drop what they sent: a 404 tells their operators the right path.
    app.router.redirect_slashes = False
    return app


async def _unreachable(_request: Request) -> Response:
    raise HTTPException(400, "this path takes a POST in plain HTTP/1.1")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for nothing else)
    hint = {405: f"{request.method} is not allowed on {request.url.path}", 404: f"there is no {request.url.path}"}
    message = f"{hint.get(error.status_code, error.detail)}; events go to POST {replies.CURRENT_PATH.decode()}"
    body = replies.error(message, uuid7(time.time_ns() // 1_000_000, os.urandom(10)))
    headers = {**API_VERSION, **(error.headers or {})}
    return Response(body, error.status_code, headers, media_type="application/json")
