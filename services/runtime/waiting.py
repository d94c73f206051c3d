"""While a service waits for its secrets: its ports answer already, and say what it waits for."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mutt.errors import TransientError
from mutt.settings import CommonSettings
from services.logging_utils import get_logger
from services.runtime.health import Health
from services.runtime.http_server import serve
from services.runtime.ops_server import API_VERSION, routes
from services.runtime.own_certificate import OwnCertificate
from services.runtime.secrets import SecretSource, make_source

BACK_OFF_FIRST, BACK_OFF_MOST = 0.25, 5.0  # seconds
RETRY_AFTER = "5"  # seconds, for senders
PORT_VARIABLES = ("SERVER_PORT_", "METRICS_PORT_", "HEALTH_PORT_")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

log = get_logger(__name__)


async def read_secrets(
    settings: CommonSettings,
    environ: Mapping[str, str],
    health: Health,
    registry: CollectorRegistry,
    stopping: asyncio.Event,
    *,
    tls: OwnCertificate | None = None,
) -> SecretSource | None:
    """Return the secrets once they could be read; None when the service has to stop first.

    Raises TransientError after `VAULT_START_TIMEOUT` seconds, and at once what no waiting heals.
    """
    source = make_source(settings.vault, environ)
    try:
        await source.read()
    except TransientError as error:
        told = str(error)
    else:
        return source
    async with _answering(settings, health, registry, tls):
        found = await _wait(source, settings.vault.start_timeout, health, stopping, told)
    # Not before these ports are closed: until the service itself answers there, it is not fit.
    health.problems.pop(source.kind, None)
    return found


async def _wait(
    source: SecretSource, patience: float, health: Health, stopping: asyncio.Event, told: str
) -> SecretSource | None:
    deadline, delay = time.monotonic() + patience, BACK_OFF_FIRST
    log.warning("waiting for the secrets", problem=told, at_most_seconds=patience)
    while True:
        health.problems[source.kind] = f"waiting for the secrets since the start: {told}"
        health.progressed()
        if time.monotonic() >= deadline:
            raise TransientError(f"no secrets within {patience:g} s of the start (VAULT_START_TIMEOUT): {told}")
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(delay, max(0.0, deadline - time.monotonic())))
        if stopping.is_set():
            return None
        try:
            await source.read()
        except TransientError as error:
            if str(error) != told:
                told = str(error)
                log.warning("waiting for the secrets", problem=told)
            delay = min(delay * 2, BACK_OFF_MOST)
        else:
            log.info("the secrets are there")
            return source


@asynccontextmanager
async def _answering(
    settings: CommonSettings, health: Health, registry: CollectorRegistry, tls: OwnCertificate | None
) -> AsyncIterator[None]:
    """Answer on the service's own ports: health, liveness, metrics, and 503 to all else, which senders repeat."""
    app = Starlette(routes=[*routes(health, registry), Route("/{path:path}", _not_yet, methods=METHODS)])
    async with AsyncExitStack() as stack:
        for item in dataclasses.fields(settings):
            variable = item.metadata.get("variable")
            if variable is not None and variable.name.startswith(PORT_VARIABLES):
                port = getattr(settings, item.name)
                await stack.enter_async_context(serve(app, settings.bind_host, port, variable.name, tls=tls))
        yield


async def _not_yet(_request: Request) -> Response:
    headers = {**API_VERSION, "Retry-After": RETRY_AFTER}
    return JSONResponse({"error": "the service waits for its secrets: send again"}, 503, headers)
